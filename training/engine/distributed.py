"""The processes of one training run: a single one, or several started by ``torchrun``."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch

# Its functions take the default group as it is when they are defined, and DistributedDataParallel
# imports them: done late, they hold the group past its end.
import torch.distributed.nn
from torch import Tensor, distributed

from training.model.device import choose_device

_PATIENCE = timedelta(hours=1)
"""What processes wait for the slowest one, such as the one that writes a checkpoint."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train together."""

    rank: int
    size: int
    device: torch.device
    hosts: distributed.ProcessGroup | None = None
    """The same processes, for tensors in main memory; None is the default group."""

    @property
    def main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag, whether it holds in any process; every process must call this."""
        if self.size == 1:
            return flags
        # On the host, so that nobody waits for a device that is busy.
        held = torch.tensor([float(flag) for flag in flags])
        distributed.all_reduce(held, op=distributed.ReduceOp.MAX, group=self.hosts)
        return tuple(bool(value) for value in held.tolist())

    def gather(self, value: Any) -> list[Any]:
        """The value of every process, in order of rank; every process must call this."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value, group=self.hosts)
        return values

    def take_over(self, tensors: Iterable[Tensor]) -> None:
        """Copies the main process's parameters or buffers; every process must call this."""
        if self.size > 1:
            for value in tensors:
                distributed.broadcast(value.detach(), 0)

    def barrier(self) -> None:
        """Waits until every process is here."""
        if self.size > 1:
            distributed.barrier()


@contextmanager
def process_group(device: str) -> Iterator[ProcessGroup]:
    """Joins the processes that ``torchrun`` started, or stands alone without it.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; with several processes each takes the
            CUDA device of its local rank.

    Raises:
        ActisegError: If CUDA is asked for but not available.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else None
    chosen = choose_device(device, local_rank)
    if size == 1:
        yield ProcessGroup(0, 1, chosen)
        return
    cuda = chosen.type == "cuda"
    distributed.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    try:
        hosts = distributed.new_group(backend="gloo", timeout=_PATIENCE) if cuda else None
        yield ProcessGroup(distributed.get_rank(), size, chosen, hosts)
    finally:
        last_user = distributed.group.WORLD
        distributed.destroy_process_group()
        # The group's threads end with its last user. One that still runs when the interpreter
        # ends can abort the process, and with it a run that is done.
        gc.collect()
        # Not the collector: it would wait for these threads with the interpreter's lock held, which
        # they need for what they still hold of Python's.
        del last_user
