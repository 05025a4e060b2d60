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

    Raises:
        ActisegError: A file is there already: people's work is not replaced.
    """
    files = [folder / PurePosixPath(picture.file).with_suffix(".json") for picture in pictures]
    for path in files:
        if path.exists():
            raise ActisegError(f"{path}: is there already; move it away, or choose another --out")
    for path, picture in zip(files, pictures, strict=True):
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
        write_text(path, json.dumps(content, ensure_ascii=False, indent=2))
