"""The folder of a demonstration: what is removed before it begins anew is a demonstration's."""

from __future__ import annotations

import shutil
from pathlib import Path

from actiseg_ros.errors import ActisegError
from training.files.claims import require_free
from training.files.disk import read_json

_MARK = ".demonstration"
"""Lies in the folder of one that has begun."""
_RESULT = "summary.json"
"""Lies in the folder of one that has ended."""
_TELLS = frozenset({"decisions", "own_bundle_in_the_lab"})
"""Either is in the summary of a demonstration, and hardly in that of anything else."""


def clear(out: Path) -> None:
    """Removes an earlier demonstration, so that one that fails leaves none of its results.

    Args:
        out: Folder of the demonstration.

    Raises:
        ActisegError: The folder holds something else.
    """
    if not _is_ours(out):
        require_free(out, "a demonstration")
    if out.exists():
        shutil.rmtree(out)


def _is_ours(out: Path) -> bool:
    """Whether a folder holds a demonstration that has begun, or the summary of one."""
    if (out / _MARK).is_file():
        return True
    try:
        told = read_json(out / _RESULT)
    except ActisegError:
        return False
    return isinstance(told, dict) and not _TELLS.isdisjoint(told)


def begin(out: Path) -> None:
    """Makes the folder of a demonstration, which `clear` may remove whatever becomes of it."""
    out.mkdir(parents=True)
    (out / _MARK).touch()
