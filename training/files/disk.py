"""Files that are written whole or not at all, and the error of a full disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from training.files.errors import ActisegError


@contextmanager
def full_disk_explained(path: Path, content: str) -> Iterator[None]:
    """Turns the error of a full disk, or of an exhausted quota, into one that says what to do.

    Args:
        path: file or folder that is written.
        content: what is written there.

    Raises:
        ActisegError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ActisegError(
            f"{path}: disk full while writing {content}; free space and run again with --resume"
        ) from error


def write_whole(path: Path, content: bytes | memoryview) -> None:
    """Writes a file beside `path` and renames it, so that `path` is always complete.

    Args:
        path: the file; its folder exists.
        content: its bytes.

    Raises:
        ActisegError: If the disk is full; a former file is then still there.
    """
    kept = "the former file is intact" if path.exists() else "there was no former file"
    temporary = path.with_name(path.name + ".partial")
    try:
        with full_disk_explained(path, f"{len(content) / 1e6:.1f} MB ({kept})"):
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
