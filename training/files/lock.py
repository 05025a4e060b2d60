"""A lock on a file that lives as long as any process of the work, however each of them ends.

`filelock` would do for one process. Here the processes that are started for the work inherit the
lock with its descriptor, so that it holds while any of them lives on after its parent was killed;
`filelock` neither gives out its descriptor nor lets a child inherit it.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_POLL_SECONDS = 0.2


@contextmanager
def locked(
    path: Path, patience: float = 0.0, stopping: Callable[[], bool] = lambda: False
) -> Iterator[int | None]:
    """Locks a file, which is made and stays.

    Args:
        path: The file, on storage that all processes concerned share.
        patience: Seconds to wait for another process.
        stopping: True ends the waiting.

    Yields:
        The descriptor of the locked file, to be passed on to processes (`pass_fds`), or None if
        another process still holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + patience
    try:
        while not (taken := _try(descriptor)) and time.monotonic() < until and not stopping():
            time.sleep(_POLL_SECONDS)
        yield descriptor if taken else None
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; looking takes it for a moment."""
    if not path.exists():
        return False
    with locked(path) as descriptor:
        return descriptor is None


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
