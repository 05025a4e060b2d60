"""The folder of a demonstration: what is removed before it begins anew is a demonstration's."""

from __future__ import annotations

import shutil
from pathlib import Path

from training.files.claims import require_free

_MARK = ".demonstration"
"""Lies in the folder of one that has begun."""
_RESULT = "summary.json"
"""Lies in the folder of one that has ended."""


def clear(out: Path) -> None:
    """Removes an earlier demonstration, so that one that fails leaves none of its results.

    Args:
        out: Folder of the demonstration.

    Raises:
        ActisegError: The folder holds something else.
    """
    if not any((out / name).is_file() for name in (_MARK, _RESULT)):
        require_free(out, "a demonstration")
    if out.exists():
        shutil.rmtree(out)


def begin(out: Path) -> None:
    """Makes the folder of a demonstration, which `clear` may remove whatever becomes of it."""
    out.mkdir(parents=True)
    (out / _MARK).touch()
