"""Reads the hand-object files: which objects are in contact with a hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training.data.labels import Contacts, polygon
from training.data.layout import read_json
from training.data.tree import Problem
from training.files.errors import ActisegError

_CONTACT_CATEGORY = 2
"""The published files mark hands with 1 and objects in contact with 2."""


def read_contacts(path: Path) -> tuple[dict[str, Contacts], dict[str, Problem]]:
    """Reads the objects in contact of every frame of a hand-object file.

    Frames that have hands only count as frames without hand-object data.

    Returns:
        Contacts by VISOR frame name, and a problem for each frame whose contacts are unusable.

    Raises:
        ActisegError: If the file is missing or not in COCO layout.
    """
    content = read_json(path)
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    shapes: dict[str, list[tuple[Any, ...]]] = {}
    problems: dict[str, Problem] = {}
    try:
        file_names = {image["id"]: image["file_name"] for image in content["images"]}
        for annotation in content["annotations"]:
            if annotation["category_id"] != _CONTACT_CATEGORY:
                continue
            frame = file_names[annotation["image_id"]]
            try:
                x, y, width, height = (int(value) for value in annotation["bbox"])
                outlines = tuple(
                    polygon([flat[i : i + 2] for i in range(0, len(flat), 2)])
                    for flat in annotation["segmentation"]
                    if flat
                )
            except (TypeError, ValueError) as error:
                what = f"annotation {annotation.get('id')} of {frame} is unusable ({error})"
                problems.setdefault(frame, Problem(str(path), what))
                continue
            boxes.setdefault(frame, []).append((x, y, width, height))
            shapes.setdefault(frame, []).append(outlines)
    except (KeyError, TypeError) as error:
        raise ActisegError(f"{path}: not in COCO layout (missing {error})") from error
    contacts = {
        frame: Contacts(tuple(boxes[frame]), tuple(shapes[frame]))
        for frame in boxes
        if frame not in problems
    }
    return contacts, problems
