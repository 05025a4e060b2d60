"""Which objects are in contact with a hand: from the hand-object files, or from VISOR itself.

VISOR's annotations say of each hand which object it holds (`in_contact_object`). The hand-object
files (`visor_hos_SPLIT.json`) that ActionVOS's preparation reads were made from that by VISOR-HOS;
`annotated_contacts` follows its rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import HANDS
from training.data.labels import ANNOTATED_HEIGHT, ANNOTATED_WIDTH, Contacts, Int32, polygon
from training.data.tree import Problem
from training.files.disk import read_json

Source = Literal["official", "annotations"]

_CONTACT_CATEGORY = 2
"""The published files mark hands with 1 and objects in contact with 2."""
_GLOVES = frozenset(
    {"oven glove", "gloves", "rubber glove", "left glove", "right glove", "glove"}
)  # fmt: skip
_NOTHING = frozenset({"hand-not-in-contact", "glove-not-in-contact"})
_UNKNOWN = frozenset({"none-of-the-above", "inconclusive"})
_CHECKED_SPLITS = ("val", "test")
"""In these, VISOR-HOS leaves out frames where a contact is not known."""
_REACH = 10
"""Largest distance of a part that counts as held (pixels of 1920x1080, steps along the axes):
VISOR-HOS dilates hand and part by five steps each."""


@dataclass(frozen=True)
class HandObjects:
    """What a hand-object file says."""

    contacts: dict[str, Contacts]
    """By VISOR frame name; frames with hands only count as frames without hand-object data."""
    broken: dict[str, Problem]
    """Frames whose contacts are unusable."""
    frames: frozenset[str]
    """All frames that it speaks of."""


def read_contacts(path: Path) -> HandObjects:
    """Reads the objects in contact of every frame of a hand-object file.

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
    return HandObjects(contacts, problems, frozenset(file_names.values()))


def check_contact(annotation: Mapping[str, Any]) -> None:
    """Refuses what can be no contact; every value of the published annotations can.

    Raises:
        ValueError: Naming the field and its value.
    """
    held = annotation.get("in_contact_object")
    if held is not None and not isinstance(held, str | int):
        raise ValueError(f"in_contact_object is {held!r}, not the id of an object")
    worn = annotation.get("on_which_hand")
    listed = worn if isinstance(worn, list) else [worn]
    if worn is not None and not all(isinstance(hand, str) for hand in listed):
        raise ValueError(f"on_which_hand is {worn!r}, not a list of hands")


def says_contacts(annotations: Iterable[Mapping[str, Any]]) -> bool:
    """Whether a frame's annotations say what its hands hold."""
    return any("in_contact_object" in annotation for annotation in annotations)


def unknown_objects(annotations: Sequence[Mapping[str, Any]]) -> list[str]:
    """Ids in contact that no object of the frame has."""
    ids = {str(annotation.get("id")) for annotation in annotations}
    named = (_held(annotation) for annotation in annotations)
    return [held for held in named if held is not None and held not in ids]


def annotated_contacts(annotations: Sequence[Mapping[str, Any]], split: str) -> Contacts | None:
    """Objects in contact with a hand in one frame, from VISOR's own annotations.

    A worn glove belongs to its hand, or is the hand where that is not seen, and what it holds the
    hand holds. Of an object in several parts only those count that a hand reaches. The validation
    split has no contacts in frames where a hand's contact is not known.

    Args:
        annotations: The frame's objects, with valid polygons.
        split: `train`, `val` or `test`.

    Returns:
        The contacts; None if there are none, as for a frame without hand-object data.
    """
    if split in _CHECKED_SPLITS and any(map(_is_unknown, annotations)):
        return None
    by_id = {str(annotation.get("id")): annotation for annotation in annotations}
    seen = {annotation["name"] for annotation in annotations}
    boxes, shapes = [], []
    for annotation in annotations:
        worn = _worn_on(annotation)
        if annotation["name"] not in HANDS and (not worn or seen & worn):
            continue
        hand = list(annotation["segments"])
        held = by_id.get(_held(annotation) or "")
        if held is not None and annotation["name"] in _worn_on(held):
            hand += held["segments"]
            held = by_id.get(_held(held) or "")
        if held is None:
            continue
        parts = _reached(_outlines(held["segments"]), [outline for _, outline in _outlines(hand)])
        if parts:
            corners = np.concatenate([outline for _, outline in parts])
            (left, top), (right, bottom) = corners.min(axis=0), corners.max(axis=0)
            boxes.append((int(left), int(top), int(right - left), int(bottom - top)))
            # The files hold two decimals, which the preparation then truncates.
            rounded = ([[round(x, 2), round(y, 2)] for x, y in points] for points, _ in parts)
            shapes.append(tuple(map(polygon, rounded)))
    return Contacts(tuple(boxes), tuple(shapes)) if boxes else None


def _held(annotation: Mapping[str, Any]) -> str | None:
    """Id of the object that a hand or glove holds; None if it holds none or none is known."""
    held = annotation.get("in_contact_object")
    return None if held is None or held in _NOTHING | _UNKNOWN else str(held)


def _worn_on(annotation: Mapping[str, Any]) -> set[str]:
    """Hands that a glove is worn on; empty for everything else."""
    worn = annotation.get("on_which_hand")
    if annotation["name"] not in _GLOVES or not isinstance(worn, list):
        return set()
    # Some lists of two have a hand misspelt.
    return set(HANDS) if len(worn) == len(HANDS) else set(worn)


def _is_unknown(annotation: Mapping[str, Any]) -> bool:
    """Whether it is not known what a hand, or a glove on a hand, holds."""
    contact = annotation.get("in_contact_object")
    if annotation["name"] in HANDS:
        return contact in _UNKNOWN
    worn = annotation.get("on_which_hand")
    if annotation["name"] not in _GLOVES or worn is None:
        return False
    return contact in _UNKNOWN or len(_worn_on(annotation)) == len(HANDS)


def _outlines(segments: Iterable[Any]) -> list[tuple[Any, Int32]]:
    """Polygons that have an area, as annotated and truncated to pixels."""
    return [(points, polygon(points)) for points in segments if len(points) >= 3]


def _reached(parts: Sequence[tuple[Any, Int32]], hand: Sequence[Int32]) -> list[tuple[Any, Int32]]:
    """The parts that come within reach of a hand's filled outlines."""
    if not parts or not hand:
        return []
    corners = np.concatenate(hand)
    limits = np.array([ANNOTATED_WIDTH, ANNOTATED_HEIGHT])
    low = np.clip(corners.min(axis=0) - _REACH, 0, limits)
    size = np.clip(corners.max(axis=0) + _REACH + 1, 0, limits) - low
    if not size.all():
        return []
    shape = int(size[1]), int(size[0])
    # One pixel more at each side: a distance needs a hand pixel, and a hand outside has none.
    outside = np.ones(shape, np.uint8)
    cv2.fillPoly(outside, [outline - low.astype(np.int32) for outline in hand], 0)
    if outside.all():
        return []
    near = cv2.distanceTransform(outside, cv2.DIST_L1, 3) <= _REACH
    reached = []
    for part in parts:
        filled = np.zeros(shape, np.uint8)
        cv2.fillPoly(filled, [part[1] - low.astype(np.int32)], 1)
        if (near & (filled > 0)).any():
            reached.append(part)
    return reached
