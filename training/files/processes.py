"""Work on several cores: one way to start processes and to take their results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any, TypeVar

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def in_processes(
    work: Callable[[_Job], _Result],
    jobs: Sequence[_Job],
    workers: int | None = None,
    *,
    worth: bool = True,
    chunk: int = 1,
    begin: Callable[..., object] | None = None,
    arguments: Sequence[Any] = (),
) -> Iterator[_Result]:
    """Results of all jobs in their order, from several processes if that pays.

    Processes are spawned, not forked: the thread pools of OpenCV and PyTorch do not survive a fork.

    Args:
        work: What is done with a job; a function of a module.
        jobs: What is sent to it.
        workers: Processes; None is one for each core, 1 works in this process.
        worth: Whether the work takes longer than starting processes.
        chunk: Jobs that are sent at once.
        begin: Called first in each process that is started.
        arguments: For `begin`.
    """
    workers = min(workers or usable_cores(), len(jobs))
    if workers <= 1 or not worth:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), begin, tuple(arguments)) as pool:
        yield from pool.map(work, jobs, chunksize=chunk)
