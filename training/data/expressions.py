"""The files of a split in the ActionVOS layout: its clips, and what is derived from them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.splits import record_name
from training.files.disk import write_json


def objects_category(sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Content of `SPLIT_objects_category.json`: category, class id and flag of every object."""
    return {
        "videos": {
            record_name(sequence): {
                "objects": {
                    object_id: {
                        "category": entry["name"],
                        "positive": entry["positive"],
                        "class_id": entry["class_id"],
                    }
                    for object_id, entry in sequence["object_classes"].items()
                }
            }
            for sequence in sequences
        }
    }


def meta_expressions(sequences: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Content of `SPLIT_meta_expressions_promptaction.json`: one prompt per object, in id order."""
    return {
        "videos": {
            record_name(sequence): {
                "expressions": {
                    str(position): {
                        "exp": PROMPT_TEMPLATE.format(
                            object=entry["name"], narration=sequence["narration"]
                        ),
                        "obj_id": str(object_id),
                        "positive": entry["positive"],
                        "class_id": entry["class_id"],
                    }
                    for position, (object_id, entry) in enumerate(
                        sequence["object_classes"].items()
                    )
                },
                "frames": [name.replace(".jpg", "") for name in sequence["sparse_frames"]],
            }
            for sequence in sequences
        }
    }


def write_split(data: Path, split: str, records: Sequence[dict[str, Any]]) -> None:
    """Writes ``ImageSets/SPLIT.json`` and its two expression files.

    Args:
        data: Folder in the ActionVOS layout.
        split: Name of the split.
        records: Its clips.
    """
    for name, content in (
        (f"{split}.json", records),
        (f"{split}_objects_category.json", objects_category(records)),
        (f"{split}_meta_expressions_promptaction.json", meta_expressions(records)),
    ):
        write_json(data / "ImageSets" / name, content, indent=None)
