"""Digests of many files that are not read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 of names and sizes: tells other files apart without reading them.

    Args:
        folder: what the names are relative to.
        files: below it; that one is not there counts as well.
    """
    listed = (f"{file.relative_to(folder)}\0{_size(file)}\n" for file in files)
    return hashlib.sha256("".join(listed).encode()).hexdigest()


def _size(file: Path) -> int | str:
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return "absent"
