"""LabelMe's files: one JSON beside each picture."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import Any

import cv2
import numpy as np

from actiseg_ros.errors import ActisegError
from training.data.own.annotated import (
    AnnotatedPicture,
    Annotations,
    Instance,
    check_covers,
    check_size,
    is_finite,
    mask_tools,
    pixels_rle,
    polygons_rle,
    said_of,
)
from training.data.tree import Problem
from training.files.disk import read_json

_CIRCLE_CORNERS = 64


def read_labelme(folder: Path, images: Path) -> Annotations:
    """Reads all LabelMe files of a folder and of those below it.

    Shapes with the same label and group are one object. Flags of a shape (`in use`) are its
    attributes.

    Args:
        folder: Folder of the JSON files.
        images: Folder of the pictures, in the same folders below it as their JSON files.

    Returns:
        The pictures, and a problem for each shape or file that cannot be used.

    Raises:
        ActisegError: There is no such file.
    """
    found = Annotations()
    files = [path for path in sorted(folder.rglob("*.json")) if path.is_file()]
    for path in files:
        try:
            content = read_json(path)
            if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
                continue  # some other JSON file, such as a manifest
            found.pictures.append(_picture(path, content, found, folder, images))
        except (ActisegError, ValueError, OSError) as error:
            what = str(error).removeprefix(f"{path}: ")
            found.problems.append(Problem(str(path), what))
    if not found.pictures and not found.problems:
        raise ActisegError(f"{folder}: has no LabelMe file (JSON with `shapes`)")
    return found


def _picture(
    path: Path, content: Mapping[str, Any], found: Annotations, folder: Path, images: Path
) -> AnnotatedPicture:
    file = content.get("imagePath")
    if not isinstance(file, str) or not file.strip():
        raise ValueError(f"imagePath is {file!r}")
    width, height = check_size(content.get("imageWidth"), content.get("imageHeight"))
    instances: dict[Any, Instance] = {}
    for place, shape in enumerate(content["shapes"], start=1):
        try:
            instance = _instance(shape, f"shape {place}", width, height)
        except ValueError as error:
            found.problems.append(Problem(str(path), f"shape {place}: {error}"))
            continue
        group = shape.get("group_id")
        key = place if group is None else (instance.name, str(group))
        if key in instances:
            whole = mask_tools().merge([instances[key].rle, instance.rle])
            active = _either(instances[key].active, instance.active)
            instance = Instance(instance.name, whole, active, instance.side, instance.where)
        instances[key] = instance
    name = _name(PureWindowsPath(file), path.parent, folder, images)
    return AnnotatedPicture(name, width, height, tuple(instances.values()), str(path))


def _name(given: PureWindowsPath, beside: Path, folder: Path, images: Path) -> str:
    """Name of a picture below the folder of the pictures.

    Args:
        given: As LabelMe has it: relative to its file, or a path of the machine that it ran on.
        beside: Folder of LabelMe's file.
        folder: Folder of all of LabelMe's files.
        images: Folder of the pictures.
    """
    elsewhere = bool(given.anchor)
    own = given.name if elsewhere else given.as_posix()
    below = Path(os.path.relpath(beside / own, folder)).as_posix()
    if (images / below).is_file():
        return below
    # What names another folder than the pictures have is refused where it is looked for.
    return given.as_posix() if elsewhere or (images / own).is_file() else below


def _either(one: bool | None, other: bool | None) -> bool | None:
    return other if one is None else one or bool(other)


def _instance(shape: Any, where: str, width: int, height: int) -> Instance:
    if not isinstance(shape, dict):
        raise ValueError("is no object")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise ValueError(f"its label is {label!r}")
    flags = shape.get("flags")
    active, side = said_of(flags.items() if isinstance(flags, dict) else ())
    try:
        rle = check_covers(_outline(shape, width, height))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{label!r}: {error}") from error
    return Instance(label, rle, active, side, where)


def _outline(shape: Mapping[str, Any], width: int, height: int) -> Mapping[str, Any]:
    kind = shape.get("shape_type") or "polygon"
    points = shape.get("points")
    if not isinstance(points, list) or not all(
        isinstance(point, list) and len(point) == 2 and all(map(is_finite, point))
        for point in points
    ):
        raise ValueError("its points are no list of [x, y], finite numbers each")
    if kind == "polygon":
        return polygons_rle([[value for point in points for value in point]], width, height)
    if kind in ("rectangle", "circle", "mask") and len(points) == 2:
        (left, top), (right, bottom) = points
        if kind == "rectangle":
            corners = [left, top, right, top, right, bottom, left, bottom]
            return polygons_rle([corners], width, height)
        if kind == "circle":
            turn = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
            radius = float(np.hypot(right - left, bottom - top))
            ring = np.stack([left + radius * np.cos(turn), top + radius * np.sin(turn)], axis=1)
            return polygons_rle([ring.ravel().tolist()], width, height)
        return _mask(shape, round(left), round(top), width, height)
    raise ValueError(f"a {kind} has no area; draw a polygon, rectangle, circle or mask")


def _mask(
    shape: Mapping[str, Any], left: int, top: int, width: int, height: int
) -> Mapping[str, Any]:
    """The pixels of a mask, stored as a small PNG and the place of its corner."""
    try:
        stored = base64.b64decode(shape["mask"], validate=True)
    except (binascii.Error, KeyError, TypeError) as error:
        raise ValueError("its mask is no PNG in base64") from error
    part = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_GRAYSCALE) if stored else None
    if part is None:
        raise ValueError("its mask is no readable PNG")
    rows, columns = part.shape
    if not (0 <= left <= width - columns and 0 <= top <= height - rows):
        raise ValueError("its mask reaches out of the picture")
    pixels = np.zeros((height, width), np.bool_)
    pixels[top : top + rows, left : left + columns] = part > 0
    return pixels_rle(pixels)
