"""Reads splits: sequences, their frames and prompts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import PROMPT_TEMPLATE, parse_prompt
from training.data.layout import is_plain_name, sequence_name, split_file, video_of
from training.files.disk import read_json

UInt8 = npt.NDArray[np.uint8]

REVIEW_FLAGS = ("redundant", "missing", "other")
"""A clip with one of these flags was rejected by the human check of the split."""
OBJECT_FACTS = frozenset({"name", "class_id", "positive"})
"""What a split says about each object at least."""
_RECORD = ("seq_id", "video", "verb", "noun", "object_classes")
"""What a split says about each clip at least."""


@dataclass(frozen=True)
class ObjectPrompt:
    """One object of a clip and the prompt that asks for it."""

    object_id: int
    """Value in the label images."""
    output_label: int
    """Value in predicted label images: the same, or in expression files the position, as in the
    official inference (even where ``obj_id`` differs)."""
    name: str
    class_id: int | None
    expression: str
    positive: bool | None
    """Whether the object is active; None if the file does not say."""


@dataclass(frozen=True)
class Clip:
    """One sequence of a split."""

    sequence: str
    """Folder name."""
    frames: tuple[str, ...]
    """Frame names without suffix."""
    objects: tuple[ObjectPrompt, ...]
    narration: str | None
    flagged: bool
    """Marked redundant, missing or other by the human check; not evaluated."""
    video: str
    """Recording that it is of."""

    @property
    def expressions(self) -> list[str]:
        """The prompts."""
        return [entry.expression for entry in self.objects]

    @property
    def labels(self) -> UInt8:
        """Value of the background and of each object in the label images, uint8 [1 + P]."""
        return np.array([0, *(entry.object_id for entry in self.objects)], np.uint8)

    @property
    def positive(self) -> dict[int, bool]:
        """Whether each object is active, by its id; False where that is not known."""
        return {entry.object_id: bool(entry.positive) for entry in self.objects}


def record_name(record: Mapping[str, Any]) -> str:
    """Folder name of a clip in the form of ``ImageSets/SPLIT.json``."""
    return sequence_name(int(record["seq_id"]), record["video"], record["verb"], record["noun"])


def positive_ids(record: Mapping[str, Any]) -> list[int]:
    """Labels of the objects that a clip in that form calls positive."""
    return [int(key) for key, entry in record["object_classes"].items() if entry["positive"]]


def read_split(path: Path, facts: Set[str] = OBJECT_FACTS) -> list[dict[str, Any]]:
    """Reads ``ImageSets/SPLIT.json`` as it is.

    Args:
        path: The file.
        facts: What must be known of every object.

    Raises:
        ActisegError: If the file is missing, no JSON, not of that form or lists a clip twice; names
            the clip.
    """
    return _checked(path, read_json(path), facts)


def load_clips(split_file: Path) -> list[Clip]:
    """Reads the clips of a split, in the form of `ImageSets/SPLIT.json` or of an expression file.

    Raises:
        ActisegError: If the file is missing, has neither form or lists a clip twice.
    """
    content = read_json(split_file)
    try:
        if isinstance(content, dict):
            return [_clip_of_expressions(*item) for item in content["videos"].items()]
        return [_clip_of_record(record) for record in _checked(split_file, content, OBJECT_FACTS)]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ActisegError(
            f"{split_file}: neither a list of clips (ImageSets/SPLIT.json) nor an expression"
            f" file with `videos` ({type(error).__name__}: {error})"
        ) from error


def clip_files(clips: Iterable[Clip], folders: Mapping[Path, str]) -> Iterator[Path]:
    """Files of clips' frames, in their order.

    Args:
        clips: The clips.
        folders: Folders that hold one for each sequence, and the suffix of the files there.
    """
    for clip in clips:
        for frame in clip.frames:
            for folder, suffix in folders.items():
                yield folder / clip.sequence / f"{frame}{suffix}"


def require_files(clips: Iterable[Clip], folders: Mapping[Path, str], split: Path) -> None:
    """Refuses clips of which a file is missing; see `clip_files`.

    Raises:
        ActisegError: Naming the first, and the split file that lists it.
    """
    for file in clip_files(clips, folders):
        if not file.is_file():
            raise ActisegError(f"{file}: not found; {split} lists it")


def evenly_spread(clips: Sequence[Clip], count: int | None) -> list[Clip]:
    """`count` clips, evenly spread; all of them if there are no more, or if it is None."""
    if count is None or count >= len(clips):
        return list(clips)
    return [clips[index] for index in np.linspace(0, len(clips) - 1, count).round().astype(int)]


def _checked(path: Path, records: Any, facts: Set[str]) -> list[dict[str, Any]]:
    if not isinstance(records, list):
        raise ActisegError(
            f"{path}: is not a list of clips, as ImageSets/SPLIT.json is; expression files do not "
            "say all that is needed here"
        )
    places: dict[str, int] = {}
    for number, record in enumerate(records, start=1):
        problem = _problem(record, facts)
        if problem:
            raise ActisegError(
                f"{path}, clip {number}: {problem}; expected {', '.join(_RECORD)} with "
                f"{', '.join(sorted(facts))} of each object id from 1 to 255, as ImageSets has"
            )
        name = record_name(record)
        if (first := places.setdefault(name, number)) != number:
            # Whoever goes by names would count it once, and others twice.
            raise ActisegError(
                f"{path}: clips {first} and {number} are both {name}; remove one of them"
            )
    return records


def _clip_of_record(record: Mapping[str, Any]) -> Clip:
    narration = str(record["narration"])
    return Clip(
        sequence=record_name(record),
        frames=tuple(Path(name).stem for name in record["sparse_frames"]),
        objects=tuple(
            ObjectPrompt(
                object_id=int(object_id),
                output_label=int(object_id),
                name=entry["name"],
                class_id=int(entry["class_id"]),
                expression=PROMPT_TEMPLATE.format(object=entry["name"], narration=narration),
                positive=bool(entry["positive"]),
            )
            for object_id, entry in record["object_classes"].items()
        ),
        narration=narration,
        flagged=any(record.get(flag) for flag in REVIEW_FLAGS),
        video=str(record["video"]),
    )


def _clip_of_expressions(sequence: str, content: Mapping[str, Any]) -> Clip:
    objects = []
    narration = None
    for position, entry in enumerate(content["expressions"].values(), start=1):
        name, narration = parse_prompt(entry["exp"]) or (entry["exp"], narration)
        class_id, positive = entry.get("class_id"), entry.get("positive")
        objects.append(
            ObjectPrompt(
                object_id=int(entry.get("obj_id", position)),
                output_label=position,
                name=name,
                class_id=None if class_id is None else int(class_id),
                expression=entry["exp"],
                positive=None if positive is None else bool(positive),
            )
        )
    frames = tuple(str(name).removesuffix(".jpg") for name in content["frames"])
    # Predictions are written under these names.
    for name in (sequence, *frames):
        if not is_plain_name(name):
            raise ValueError(f"{name!r} is no plain name, without a folder")
    return Clip(sequence, frames, tuple(objects), narration, False, video_of(sequence))


def validation_split(data: Path) -> str:
    """Name of the split that a network is validated on: the human-checked one where there is one.

    Args:
        data: Folder in the ActionVOS layout.
    """
    return "val_human" if split_file(data, "val_human").is_file() else "val"


def _problem(record: Any, facts: Set[str]) -> str:
    """What keeps a record from being a clip of a split; empty if nothing does."""
    if not isinstance(record, dict):
        return f"is {type(record).__name__}, not an object"
    missing = [name for name in _RECORD if name not in record]
    if missing:
        return f"{missing[0]} is missing"
    if not _is_integer(record["seq_id"]):
        return f"seq_id is {record['seq_id']!r}"
    for field in ("video", "verb", "noun"):
        if not is_plain_name(record[field]):  # it becomes part of a folder's name
            return f"{field} is {record[field]!r}"
    if not isinstance(record["object_classes"], dict):
        return "object_classes is no object"
    for key, entry in record["object_classes"].items():
        if not _is_integer(key) or not 0 < int(key) < 256:
            return f"object id {key!r} is no label"
        if not isinstance(entry, dict) or not entry.keys() >= facts:
            return f"object {key} is {entry!r}"
        if "class_id" in facts and not _is_integer(entry["class_id"]):
            return f"class_id of object {key} is {entry['class_id']!r}"
        for field in ("name", "clean_name"):
            # Only noisy splits have clean names.
            if field in entry and "name" in facts and not _is_text(entry[field]):
                return f"{field} of object {key} is {entry[field]!r}"
        if entry["positive"] not in (0, 1):
            return f"positive of object {key} is {entry['positive']!r}, not 0 or 1"
    return ""


def _is_integer(value: Any) -> bool:
    """Whether a number is whole, or a text that holds one."""
    return type(value) is int or (isinstance(value, str) and value.strip().isdecimal())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)
