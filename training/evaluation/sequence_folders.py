"""Finding the folder of a split's sequences."""

from __future__ import annotations

import glob
from pathlib import Path

from training.files.errors import ActisegError


def sequence_root(folder: Path, sequence: str) -> Path:
    """The folder that holds a sequence: ``folder`` itself or its only subfolder that does.

    So both ``Annotations_Sparse`` and ``Annotations_Sparse/val`` name the annotations of ``val``.

    Raises:
        ActisegError: neither holds the sequence, or several subfolders do.
    """
    if not folder.is_dir():
        raise ActisegError(f"no folder {folder}")
    if (folder / sequence).is_dir():
        return folder
    holders = sorted(path.parent for path in folder.glob(f"*/{glob.escape(sequence)}"))
    if len(holders) != 1:
        found = ", ".join(str(path) for path in holders) or "nothing"
        raise ActisegError(
            f"{folder} should hold one folder per sequence, such as {sequence}; "
            f"looking one level deeper found {found}"
        )
    return holders[0]
