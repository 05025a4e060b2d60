"""Reads splits: sequences, their frames and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.layout import sequence_name
from training.files.disk import read_json
from training.files.errors import ActisegError

_JOIN = PROMPT_TEMPLATE.format(object="", narration="")
_FLAGS = ("redundant", "missing", "other")


@dataclass(frozen=True)
class ObjectPrompt:
    """One object of a clip and the prompt that asks for it."""

    object_id: int
    """Value in the label images."""
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


def load_clips(split_file: Path) -> list[Clip]:
    """Reads a split, in the form of `ImageSets/SPLIT.json` or of an expression file.

    Raises:
        ActisegError: If the file is missing or has neither form.
    """
    content = read_json(split_file)
    try:
        if isinstance(content, dict):
            return [_clip_of_expressions(*item) for item in content["videos"].items()]
        return [_clip_of_record(record) for record in content]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ActisegError(
            f"{split_file}: neither a list of sequences (ImageSets/SPLIT.json) nor an expression"
            f" file with `videos` ({type(error).__name__}: {error})"
        ) from error


def _clip_of_record(record: Mapping[str, Any]) -> Clip:
    narration = str(record["narration"])
    return Clip(
        sequence=sequence_name(
            int(record["seq_id"]), record["video"], record["verb"], record["noun"]
        ),
        frames=tuple(Path(name).stem for name in record["sparse_frames"]),
        objects=tuple(
            ObjectPrompt(
                object_id=int(object_id),
                name=entry["name"],
                class_id=int(entry["class_id"]),
                expression=PROMPT_TEMPLATE.format(object=entry["name"], narration=narration),
                positive=bool(entry["positive"]),
            )
            for object_id, entry in record["object_classes"].items()
        ),
        narration=narration,
        flagged=any(record.get(flag) for flag in _FLAGS),
    )


def _clip_of_expressions(sequence: str, content: Mapping[str, Any]) -> Clip:
    objects = []
    narration = None
    for position, entry in enumerate(content["expressions"].values(), start=1):
        name, joined, action = entry["exp"].partition(_JOIN)
        narration = action if joined else narration
        class_id, positive = entry.get("class_id"), entry.get("positive")
        objects.append(
            ObjectPrompt(
                object_id=int(entry.get("obj_id", position)),
                name=name,
                class_id=None if class_id is None else int(class_id),
                expression=entry["exp"],
                positive=None if positive is None else bool(positive),
            )
        )
    frames = tuple(str(name).removesuffix(".jpg") for name in content["frames"])
    return Clip(sequence, frames, tuple(objects), narration, flagged=False)


def validation_split(data: Path) -> str:
    """Name of the split that a network is validated on: the human-checked one where there is one.

    Args:
        data: Folder in the ActionVOS layout.
    """
    return "val_human" if (data / "ImageSets" / "val_human.json").is_file() else "val"
