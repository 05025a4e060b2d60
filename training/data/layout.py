"""The ActionVOS layout: names of its folders and sequences."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError

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


def split_file(data: Path, split: str) -> Path:
    """List of a split's clips below the root of the ActionVOS layout."""
    return data / "ImageSets" / f"{split}.json"


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


def sequence_name(seq_id: int, video: str, verb: str, noun: str) -> str:
    """Folder name of a sequence; verbs and nouns keep their hyphens and colons."""
    return f"{seq_id:08d}_{video}_{verb}_{noun}"


def video_of(sequence: str) -> str:
    """Video of a sequence named NUMBER_PARTICIPANT_VIDEO_VERB_NOUN, as EPIC-KITCHENS names them."""
    return "_".join(sequence.split("_")[1:3])


def verb_of(sequence: str) -> str:
    """Verb of a sequence named NUMBER_PARTICIPANT_VIDEO_VERB_NOUN; empty if it has none."""
    return "".join(sequence.split("_")[3:4])


def is_plain_name(name: Any) -> bool:
    """Whether a text names a file or folder of its own, and nothing above or below it."""
    return isinstance(name, str) and name not in ("", ".", "..") and not set(name) & set("/\\\0")


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
