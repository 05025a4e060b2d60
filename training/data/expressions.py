"""The expression files of the ActionVOS layout, derived from a split file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.splits import record_name


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
