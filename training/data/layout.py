"""The ActionVOS layout: names of its folders and sequences, and how its files are written."""

from __future__ import annotations

import json
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


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ActisegError: If it is missing or is not JSON.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise ActisegError(f"{path}: not found") from error
    except (OSError, ValueError) as error:
        raise ActisegError(f"{path}: not readable as JSON ({error})") from error


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file that appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(content)
    temporary.replace(path)
