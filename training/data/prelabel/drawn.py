"""Labels of pictures in the forms that annotation tools import: COCO, or LabelMe's files."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from training.files.disk import write_text

Form = Literal["coco", "labelme"]
Bool = npt.NDArray[np.bool_]

_LEAST_PIXELS = 30
"""Smaller specks are no object that people would outline."""
_SLACK = 1.0
"""Pixels that a polygon may lie off the mask's border, so that it has few corners to move."""


@dataclass(frozen=True)
class DrawnObject:
    """One object as a model sees it.

    Attributes:
        name: Of the object.
        pixels: bool [H, W] of the picture's size.
        active: Whether it takes part in the action; None if the model does not say.
        score: How sure the model is that it is there, in [0, 1].
    """

    name: str
    pixels: Bool
    active: bool | None
    score: float


@dataclass(frozen=True)
class DrawnPicture:
    """A picture and what was drawn on it.

    Attributes:
        file: Name of the picture below its folder.
        width: Pixels.
        height: Pixels.
        objects: Its objects.
    """

    file: str
    width: int
    height: int
    objects: tuple[DrawnShape, ...]


@dataclass(frozen=True)
class DrawnShape:
    """An object as polygons, x and y in turn, pixels; its area in pixels."""

    name: str
    polygons: tuple[tuple[float, ...], ...]
    area: int
    active: bool | None
    score: float


def outlined(found: Sequence[DrawnObject]) -> tuple[DrawnShape, ...]:
    """Outlines of objects; holes are filled, and specks are left out."""
    shapes = []
    for item in found:
        contours, _ = cv2.findContours(
            item.pixels.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE
        )
        polygons = []
        for contour in contours:
            if cv2.contourArea(contour) < _LEAST_PIXELS:
                continue
            points = cv2.approxPolyDP(contour, _SLACK, True)[:, 0]
            if len(points) >= 3:
                polygons.append(tuple(float(value) for value in points.ravel()))
        if polygons:
            area = int(np.count_nonzero(item.pixels))
            shapes.append(DrawnShape(item.name, tuple(polygons), area, item.active, item.score))
    return tuple(shapes)


def labelme_file(folder: Path, picture: str) -> Path:
    """LabelMe's file of a picture, beside it."""
    return folder / PurePosixPath(picture).with_suffix(".json")


def refuse_taken(out: Path, pictures: Sequence[str], form: Form) -> None:
    """Refuses to write where something is: people's work is not replaced.

    Args:
        out: COCO file, or folder for LabelMe's files.
        pictures: Names of the pictures below their folder.
        form: Which of both.

    Raises:
        ActisegError: A file is there already, or two pictures would share one.
    """
    owners: dict[Path, str] = {}
    for picture in pictures:
        path = out if form == "coco" else labelme_file(out, picture)
        if path.exists():
            raise ActisegError(f"{path}: is there already; move it away, or choose another --out")
        if form == "labelme" and owners.setdefault(path, picture) != picture:
            raise ActisegError(
                f"{path}: {owners[path]} and {picture} would share it; rename one of them"
            )


def write_coco(path: Path, pictures: Sequence[DrawnPicture], names: Sequence[str]) -> None:
    """Writes one COCO file (instances) for all pictures.

    Args:
        path: File to write.
        pictures: In the order of their ids.
        names: Categories, also of what was found nowhere.
    """
    categories = {name: key for key, name in enumerate(sorted(set(names)), start=1)}
    annotations: list[dict[str, Any]] = []
    for key, picture in enumerate(pictures, start=1):
        for item in picture.objects:
            corners = np.concatenate([np.reshape(p, (-1, 2)) for p in item.polygons])
            (x0, y0), (x1, y1) = corners.min(0).tolist(), corners.max(0).tolist()
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": key,
                    "category_id": categories[item.name],
                    "segmentation": [list(polygon) for polygon in item.polygons],
                    "area": item.area,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "iscrowd": 0,
                    "score": round(item.score, 4),
                    "attributes": {} if item.active is None else {"in use": item.active},
                }
            )
    content = {
        "images": [
            {"id": key, "file_name": p.file, "width": p.width, "height": p.height}
            for key, p in enumerate(pictures, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": key, "name": name} for name, key in categories.items()],
    }
    write_text(path, json.dumps(content, ensure_ascii=False))


def write_labelme(folder: Path, pictures: Sequence[DrawnPicture]) -> None:
    """Writes a file beside each picture, as LabelMe does.

    Args:
        folder: Folder of the pictures.
        pictures: What to write.
    """
    for picture in pictures:
        shapes = [
            {
                "label": item.name,
                "points": [list(point) for point in np.reshape(polygon, (-1, 2)).tolist()],
                "group_id": number if len(item.polygons) > 1 else None,
                "shape_type": "polygon",
                "flags": {} if item.active is None else {"in use": item.active},
            }
            for number, item in enumerate(picture.objects, start=1)
            for polygon in item.polygons
        ]
        content: dict[str, Any] = {
            "version": "5.5.0",
            "flags": {},
            "shapes": shapes,
            "imagePath": PurePosixPath(picture.file).name,
            "imageData": None,
            "imageHeight": picture.height,
            "imageWidth": picture.width,
        }
        path = labelme_file(folder, picture.file)
        write_text(path, json.dumps(content, ensure_ascii=False, indent=2))
