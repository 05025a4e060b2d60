"""The ActionVOS layout: names of its folders and sequences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.files.errors import ActisegError

IMAGES, LABELS, WEIGHTS = "JPEGImages_Sparse", "Annotations_Sparse", "Weights_Sparse"
"""Each holds SPLIT/SEQUENCE/FRAME.jpg or .png."""


def image_folder(data: Path, split_file: Path) -> str:
    """Folder of a split's pictures: the longest beginning of its name that has one.

    `val_human.json` and `train_rate60.json` use the pictures of `val` and `train`.

    Raises:
        ActisegError: If no folder fits.
    """
    stem = split_file.stem
    folders = [path.name for path in (data / IMAGES).glob("*") if path.is_dir()]
    fitting = [name for name in folders if stem == name or stem.startswith(f"{name}_")]
    if not fitting:
        raise ActisegError(
            f"{data / IMAGES}: no folder for {split_file.name}; there are {sorted(folders)}"
        )
    return max(fitting, key=len)


def sequence_name(seq_id: int, video: str, verb: str, noun: str) -> str:
    """Folder name of a sequence; verbs and nouns keep their hyphens and colons."""
    return f"{seq_id:08d}_{video}_{verb}_{noun}"


def whole_number(value: Any) -> int:
    """A whole number as tables and JSON files have it: 323, 323.0 or a text of either.

    Raises:
        ValueError: If it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(f"{value!r} is no whole number")
    try:
        return int(value) if isinstance(value, int) else _exact(float(value))
    except (OverflowError, ValueError):
        raise ValueError(f"{value!r} is no whole number") from None


def _exact(value: float) -> int:
    if value != int(value):
        raise ValueError
    return int(value)
