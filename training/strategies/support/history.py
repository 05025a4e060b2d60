"""What a strategy remembers for each pixel between epochs, in memory-mapped files.

One array of values for each key (sequence, object id, frame), at the stride of the mask logits and
without the padding of the batch in which it was met. Keys and sizes are those that training meets,
so clips may differ in size.

A folder on storage that all processes of the run share holds

- ``base``: the histories as they were when the epoch began; only read while it lasts;
- ``log-R``: what process R has updated since.

A process sees the base and its own log, so the result never depends on which process is faster.
When the next epoch begins, the main process copies the logs into the base, in order of rank (of
processes that met the same key, the lowest rank counts), and removes them. Until then nothing is
overwritten, so a checkpoint only says how many batches each log holds: a resumed run cuts the logs
there. Copying a log can be repeated, so it may be interrupted too.

Cost: ``base`` takes values x bytes, the logs up to as much again at the end of an epoch, and
between two epochs both are read or written once. Checkpoints grow by four numbers.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, distributed

from actiseg_ros.errors import ActisegError
from training.data.clips import Batch
from training.model import MASK_STRIDE
from training.strategies.support.history_files import (
    Array,
    Entry,
    Key,
    Log,
    files,
    mapped,
    read_index,
    room,
    write_index,
)

FORMAT = 1


class Recalled(NamedTuple):
    """The histories of a batch's pixels."""

    values: Tensor
    """float32 [P, T, h, w]; 0 where nothing is remembered yet, and on padding."""
    visits: Tensor
    """Updates behind these values, int64 [P, T, 1, 1]."""


class PixelHistory:
    """Values for each pixel of each (sequence, object, frame), updated at most once an epoch.

    Every process of a run has one, and all call `begin_epoch` and `update` equally often.

    Args:
        folder: Where the files lie; made if it is missing.
        dtype: NumPy's name of the values' type; they are rounded to it.
        of_samples: Remember the pixels of each sample's frames (which must be drawn once, see
            `ClipDataset`) instead of those of each frame, whatever sample it is in.
    """

    def __init__(self, folder: Path, dtype: npt.DTypeLike, *, of_samples: bool = False) -> None:
        self.folder, self._of_samples = folder, of_samples
        self._dtype = np.dtype(dtype)
        self._run: str | None = None
        self._epoch, self._updates, self._processes = -1, 0, 1
        self._base: dict[Key, Entry] = {}
        self._values: Array = np.empty(0, self._dtype)
        self._log: Log | None = None

    def begin_epoch(self, epoch: int) -> None:
        """Makes the former epoch's updates the base of this one, or goes on within this one.

        Raises:
            ActisegError: If files are missing, cut short, damaged or of another run, if the disk
                is full, or if another number of processes goes on within an epoch.
        """
        if self._log is not None:
            if epoch == self._epoch:
                return
            self._log.close()
        rank, size = _place()
        _wait()  # until the logs of all processes are complete
        if rank == 0 and self._run is None:
            self._start_anew()
        elif rank == 0 and epoch != self._epoch:
            self._merge()
        _wait()
        merged_epoch, _ = self._read_base()
        if epoch != self._epoch:
            self._epoch, self._updates, self._processes = epoch, 0, size
        elif merged_epoch >= epoch:
            raise self._ahead(merged_epoch)
        elif self._updates and size != self._processes:
            raise ActisegError(
                f"{self.folder}: {self._processes} processes began this epoch and {size} would go "
                f"on; resume with {self._processes}, since each has its own part of the histories"
            )
        self._log = self._open_log(rank)

    def recall(self, batch: Batch, size: tuple[int, int], device: torch.device) -> Recalled:
        """What is remembered of a batch's pixels.

        Args:
            batch: Names the pixels of its P prompts of T frames.
            size: h and w of the mask logits.
            device: Where the result is wanted.

        Raises:
            ActisegError: If a picture had another size when it was met before.
        """
        prompts, times = len(batch.object_ids), len(batch.frame_names[0])
        values = np.zeros((prompts, times, *size), self._dtype)
        visits = np.zeros((prompts, times, 1, 1), np.int64)
        for place, key, (height, width) in _pixels(batch, self._of_samples):
            entry = self._entry(key)
            if entry is None:
                continue
            if (entry.height, entry.width) != (height, width):
                raise ActisegError(
                    f"{self.folder}: frame {key[2]} of {key[0]} had {entry.height}x{entry.width} "
                    f"cells and has {height}x{width} now; histories of pixels need the same "
                    "picture in every epoch (same input size, no spatial augmentation)"
                )
            values[place][:height, :width] = self._read(key, entry).reshape(height, width)
            visits[place] = entry.visits
        return Recalled(
            torch.from_numpy(values).to(device, non_blocking=True).float(),
            torch.from_numpy(visits).to(device, non_blocking=True),
        )

    def update(self, batch: Batch, values: Tensor, *, again: bool = False) -> Recalled:
        """Remembers new values, once an epoch for each key, and says what is remembered now.

        Of a frame that a sample repeats the first one counts; a key that this process has already
        updated in this epoch keeps its values unless `again`.

        Args:
            batch: Names the pixels.
            values: float [P, T, h, w].
            again: Whether a key may be updated several times in an epoch.

        Raises:
            ActisegError: If the disk is full.
        """
        if self._log is None:
            raise RuntimeError("begin_epoch comes before update")
        rounded = values.detach().cpu().numpy().astype(self._dtype)
        fresh: dict[Key, tuple[Array, int]] = {}
        for place, key, (height, width) in _pixels(batch, self._of_samples):
            if key not in fresh and (again or key not in self._log.entries):
                before = self._entry(key)
                fresh[key] = rounded[place][:height, :width], 1 + (before.visits if before else 0)
        self._log.append(fresh)
        self._updates += 1
        return self.recall(batch, (values.shape[-2], values.shape[-1]), values.device)

    def state_dict(self) -> dict[str, Any]:
        """Which part of the files belongs to this moment; this process's own are safe afterwards.

        Every process calls this after the same batch; all answers are the same.
        """
        if self._log is not None:
            self._log.sync()
        return {
            "run": self._run,
            "epoch": self._epoch,
            "updates": self._updates,
            "processes": self._processes,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to what `state_dict` gave; files are opened when the epoch begins."""
        self._run, self._epoch = state["run"], state["epoch"]
        self._updates, self._processes = state["updates"], state["processes"]
        if self._log is not None:
            self._log.close()
            self._log = None

    def _entry(self, key: Key) -> Entry | None:
        own = self._log.entries.get(key) if self._log is not None else None
        return own or self._base.get(key)

    def _read(self, key: Key, entry: Entry) -> Array:
        if self._log is not None and key in self._log.entries:
            return self._log.read(entry)
        return self._values[entry.offset : entry.end]

    def _open_log(self, rank: int) -> Log:
        """The log of a process in the present epoch, cut to the batches that count."""
        header = self._header() | {"epoch": self._epoch, "rank": rank}
        return Log(self.folder / f"log-{rank}", self._dtype, header, self._updates)

    def _header(self) -> dict[str, Any]:
        return {"format": FORMAT, "run": self._run, "dtype": self._dtype.name}

    def _start_anew(self) -> None:
        """Removes what an earlier run left, and makes an empty base."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in [*self.folder.glob("log-*"), *self.folder.glob("base.*")]:
            path.unlink()
        self._run = secrets.token_hex(8)
        values, index = files(self.folder / "base")
        with room(self.folder):
            values.touch()
            write_index(index, self._header() | {"epoch": -1, "updates": 0}, {})

    def _read_base(self) -> tuple[int, int]:
        """Maps the base; returns the epoch whose updates it has last taken in, and their number."""
        values, path = files(self.folder / "base")
        expected = self._header()
        if self._run is None:  # another process has just begun the run
            del expected["run"]
        index = read_index(path, expected)
        self._run = index.header["run"]
        self._base = index.entries
        self._values = mapped(values, self._dtype, index.end)
        return index.header["epoch"], index.header["updates"]

    def _merge(self) -> None:
        """Copies the former epoch's logs into the base, unless that was done before."""
        epoch, updates = self._read_base()
        if (epoch, updates) == (self._epoch, self._updates):
            return
        if epoch >= self._epoch:
            raise self._ahead(epoch)
        if not self._updates:
            return
        values, path = files(self.folder / "base")
        entries, taken, end = dict(self._base), set[Key](), len(self._values)
        with room(self.folder):
            with values.open("rb+") as file:
                for rank in range(self._processes):
                    log = self._open_log(rank)
                    for key, entry in log.entries.items():
                        if key in taken:
                            continue
                        offset = entries[key].offset if key in entries else end
                        entries[key] = replace(entry, offset=offset)
                        end = max(end, entries[key].end)
                        file.seek(offset * self._dtype.itemsize)
                        file.write(log.read(entry).tobytes())
                    taken |= log.entries.keys()
                    log.close()
                file.flush()
                os.fsync(file.fileno())
            header = self._header() | {"epoch": self._epoch, "updates": self._updates}
            write_index(path, header, entries)
        for log_file in self.folder.glob("log-*"):
            log_file.unlink()

    def _ahead(self, epoch: int) -> ActisegError:
        return ActisegError(
            f"{self.folder}: the histories have gone on to the end of epoch {epoch + 1}, past the "
            f"checkpoint in epoch {self._epoch + 1}; start anew with another --out"
        )


def _pixels(
    batch: Batch, of_samples: bool
) -> Iterator[tuple[tuple[int, int], Key, tuple[int, int]]]:
    """Prompt and frame index, key, and the rows and columns of mask cells without padding."""
    sizes = [
        (-(-height // MASK_STRIDE), -(-width // MASK_STRIDE))
        for height, width in batch.sizes.tolist()
    ]
    clips = batch.clip_of_prompt.tolist()
    for prompt, names in enumerate(batch.frame_names):
        for time, frame in enumerate(names):
            if of_samples:
                frame = f"{batch.start_frames[prompt]}+{time}"
            key = batch.sequences[prompt], batch.object_ids[prompt], frame
            yield (prompt, time), key, sizes[clips[prompt]]


def _place() -> tuple[int, int]:
    """Rank of this process and number of processes."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def _wait() -> None:
    """Waits for all processes."""
    if _place()[1] > 1:
        distributed.barrier()
