"""Batches of an epoch: which samples, in which order, and the processes that read them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from actiseg_ros.errors import ActisegError
from training.data.clips import Batch, ClipDataset, Sample, collate
from training.engine.stop_signals import STOP_SIGNALS
from training.files.processes import usable_cores


def epoch_batches(
    samples: int, batch_size: int, *, seed: int, epoch: int, rank: int = 0, processes: int = 1
) -> list[list[int]]:
    """Shuffles the samples of one epoch into the batches of one process.

    All processes get equally many full batches; the samples that do not fill a round of batches
    are left out of this epoch (another epoch leaves out others). A set smaller than one round is
    repeated to fill it.

    Returns:
        Indices of samples, `batch_size` in each batch; a pure function of the arguments, so that a
        resumed run meets the same batches.
    """
    order = np.random.default_rng((seed, epoch)).permutation(samples)
    round_size = batch_size * processes
    rounds = max(1, samples // round_size)
    order = np.resize(order, rounds * round_size)  # repeats a set that is too small
    shares = order.reshape(rounds, processes, batch_size)
    return [[int(index) for index in batch] for batch in shares[:, rank]]


def reading_processes() -> int:
    """Processes that read ahead for each one that trains, by the cores of the machine.

    One core stays with each training process; more than eight readers serve no network here.
    """
    cores = usable_cores()
    trainers = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))  # set by torchrun
    return min(8, max(1, cores // trainers - 1))


def load_windows(
    dataset: ClipDataset,
    batches: list[list[int]],
    size: int,
    *,
    workers: int | None,
    pin_memory: bool,
) -> Iterator[list[Batch]]:
    """Reads batches in accumulation windows; the last window may be shorter.

    Args:
        dataset: where the samples come from.
        batches: their indices.
        size: batches of a window.
        workers: processes that read ahead; 0 reads in this one, None takes `reading_processes`.
        pin_memory: place batches in page-locked memory.

    Raises:
        ActisegError: If a sample cannot be read.
    """
    loader = DataLoader(
        _Readable(dataset),
        batch_sampler=batches,
        num_workers=reading_processes() if workers is None else workers,
        collate_fn=_collated,
        worker_init_fn=_prepare_worker,
        pin_memory=pin_memory,
        # Its own generator: making a loader must not draw from the one that dropout uses.
        generator=torch.Generator().manual_seed(0),
    )
    window: list[Batch] = []
    for batch in loader:
        if isinstance(batch, ActisegError):
            raise batch
        window.append(batch)
        if len(window) == size:
            yield window
            window = []
    if window:
        yield window


@contextmanager
def lack_of_memory_explained() -> Iterator[None]:
    """Within, memory that ran out ends the run with what to do about it.

    PyTorch tells of a reading process that the kernel has killed wherever the training is just
    then, by a signal.

    Raises:
        ActisegError: If a device's memory ran out, or a reading process was killed.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        told = str(error).partition("\n")[0].partition(". ")[0]
        raise ActisegError(
            f"the device's memory ran out ({told}); lower --batch-size and raise --accumulate by "
            "the same factor, in another --out"
        ) from error
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise ActisegError(
            f"a data loading process died ({error}); often memory ran out: lower --workers, and "
            "continue with --resume"
        ) from error


class _Readable(Dataset["Sample | ActisegError"]):
    """Samples, or why they cannot be read.

    An exception that a worker raises would come with its traceback, in a text.
    """

    def __init__(self, dataset: ClipDataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample | ActisegError:
        try:
            return self._dataset[index]
        except ActisegError as error:
            return error


def _collated(samples: list[Sample | ActisegError]) -> Batch | ActisegError:
    for sample in samples:
        if isinstance(sample, ActisegError):
            return sample
    return collate([sample for sample in samples if not isinstance(sample, ActisegError)])


def _prepare_worker(index: int) -> None:
    """Leaves signals to the whole group to the training process, and takes one thread."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    # But for its parent's own, by which one that got no other word is ended. Threads that are
    # begun later block the signal as well.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, name="end", daemon=True).start()
    torch.set_num_threads(1)


def _end_with_parent() -> None:
    parent = os.getppid()
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
