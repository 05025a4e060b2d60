"""Files of arrays that grow, each with an index of what lies where.

``NAME.values`` holds numbers and nothing else; ``NAME.jsonl`` says in its first line what they
are, and then, in the order of the numbers, one list of entries in each line:
``[sequence, object id, frame, height, width, visits]``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from training.files.disk import full_disk_explained, replacing

Key = tuple[str, int, str]
"""Sequence, object id and frame."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Entry:
    """Where an array lies in a file of values, and how often it was updated."""

    offset: int
    """In elements from the beginning of the file."""
    height: int
    width: int
    visits: int

    @property
    def end(self) -> int:
        """Offset of what comes next."""
        return self.offset + self.height * self.width


@dataclass(frozen=True)
class Index:
    """What an index says."""

    header: dict[str, Any]
    entries: dict[Key, Entry]
    end: int
    """Elements of the values that it describes."""
    length: int
    """Bytes of the index itself."""


class Log:
    """Arrays of this epoch, appended batch by batch.

    Args:
        stem: Path of both files without their endings.
        dtype: Type of the values.
        header: What the first line must say, or will.
        batches: Keep the first so many batches of an existing log and cut the rest; 0 begins anew.

    Raises:
        ActisegError: If the existing log is damaged, cut short or another's, or the disk is full.
    """

    def __init__(
        self, stem: Path, dtype: np.dtype[Any], header: Mapping[str, Any], batches: int
    ) -> None:
        self._dtype = dtype
        self._values_path, self._index_path = files(stem)
        if batches == 0:
            with room(stem.parent):
                self._values_path.write_bytes(b"")
                self._index_path.write_text(_line(header), encoding="utf-8")
        index = read_index(self._index_path, header, batches)
        self._map = mapped(self._values_path, dtype, index.end)
        self.entries, self._end = index.entries, index.end
        os.truncate(self._index_path, index.length)
        os.truncate(self._values_path, index.end * dtype.itemsize)
        self._values = self._values_path.open("ab")
        self._index = self._index_path.open("ab")

    def append(self, arrays: Mapping[Key, tuple[Array, int]]) -> None:
        """Adds a batch: the array [height, width] and the visits of each key, perhaps none.

        Raises:
            ActisegError: If the disk is full.
        """
        added: dict[Key, Entry] = {}
        with room(self._values_path.parent):
            for key, (values, visits) in arrays.items():
                self._values.write(np.ascontiguousarray(values).tobytes())
                height, width = values.shape
                added[key] = Entry(self._end, height, width, visits)
                self._end = added[key].end
            self._values.flush()
            self._index.write(_line(_rows(added)).encode())
            self._index.flush()
        self.entries |= added

    def read(self, entry: Entry) -> Array:
        """The values of an entry, flat."""
        if entry.end > len(self._map):
            self._map = mapped(self._values_path, self._dtype, self._end)
        return self._map[entry.offset : entry.end]

    def sync(self) -> None:
        """Returns when everything is safe on the disk.

        Raises:
            ActisegError: If the disk is full.
        """
        with room(self._values_path.parent):
            os.fsync(self._values.fileno())
            os.fsync(self._index.fileno())

    def close(self) -> None:
        """Closes both files."""
        self._values.close()
        self._index.close()


def files(stem: Path) -> tuple[Path, Path]:
    """Paths of the values and of their index."""
    return stem.with_name(stem.name + ".values"), stem.with_name(stem.name + ".jsonl")


def read_index(path: Path, expected: Mapping[str, Any], lines: int | None = None) -> Index:
    """Reads an index.

    Args:
        path: Its file.
        expected: What its first line must say; it may say more.
        lines: Read so many lines of entries; None reads all.

    Raises:
        ActisegError: If it is missing, damaged, cut short or not the one that is expected.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ActisegError(
            f"{path} is missing: a run with pixel histories resumes with the files that it wrote, "
            "on storage that all its processes share; start anew with another --out"
        ) from error
    rows = content.splitlines(keepends=True)
    if lines is not None:
        if len(rows) < 1 + lines:
            raise ActisegError(
                f"{path} is cut short: {len(rows) - 1} batches, but the checkpoint counts {lines}; "
                "start anew with another --out"
            )
        rows = rows[: 1 + lines]
    entries: dict[Key, Entry] = {}
    end = 0
    try:
        header = dict(json.loads(rows[0]))
        for row in rows[1:]:
            for sequence, object_id, frame, height, width, visits in json.loads(row):
                entry = Entry(end, int(height), int(width), int(visits))
                entries[str(sequence), int(object_id), str(frame)] = entry
                end = entry.end
    except (ValueError, TypeError, IndexError) as error:
        raise ActisegError(
            f"{path}: not an index of pixel histories, or damaged ({error}); start anew with "
            "another --out"
        ) from error
    for name, value in expected.items():
        if header.get(name) != value:
            raise ActisegError(
                f"{path}: {name} is {header.get(name)}, not {value}: these histories belong to "
                "another run or checkpoint; start anew with another --out"
            )
    return Index(header, entries, end, sum(map(len, rows)))


def write_index(path: Path, header: Mapping[str, Any], entries: Mapping[Key, Entry]) -> None:
    """Writes an index of entries in the order of their offsets, and renames it into place."""
    with (
        replacing(path, durable=True) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        file.write(_line(header))
        file.writelines(_line(_rows({key: entry})) for key, entry in entries.items())


def mapped(path: Path, dtype: np.dtype[Any], length: int) -> Array:
    """The first elements of a file of values as a read-only memory map.

    Raises:
        ActisegError: If the file is missing or cut short.
    """
    size = path.stat().st_size if path.exists() else -1
    if size < length * dtype.itemsize:
        what = "is missing" if size < 0 else f"is cut short: {size} bytes"
        raise ActisegError(
            f"{path} {what}, but its index describes {length * dtype.itemsize} bytes; "
            "start anew with another --out"
        )
    return np.memmap(path, dtype, "r", shape=(length,)) if length else np.empty(0, dtype)


def room(folder: Path) -> AbstractContextManager[None]:
    """Turns a full disk into an ActisegError that says what to do."""

    def content() -> str:
        held = sum(path.stat().st_size for path in folder.glob("*.values"))
        return (
            f"pixel histories ({held / 1e9:.1f} GB so far; they need up to twice the size of "
            "base.values after the first epoch)"
        )

    return full_disk_explained(folder, content)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")) + "\n"


def _rows(entries: Mapping[Key, Entry]) -> Sequence[Sequence[str | int]]:
    return [[*key, entry.height, entry.width, entry.visits] for key, entry in entries.items()]
