"""Whether a folder can be written, asked before the work and not after it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from actiseg_ros.errors import ActisegError


def require_writable(folder: Path) -> None:
    """Refuses a folder into which no file can be written; it need not be there yet.

    Raises:
        ActisegError: It, or the nearest folder above it that is there, cannot be written.
    """
    try:
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise ActisegError(
            f"{folder}: cannot be written ({error.strerror}); choose another --out"
        ) from error
