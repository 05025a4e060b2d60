"""Annotated pictures, whatever tool they come from."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from training.data.tree import Problem

Bool = npt.NDArray[np.bool_]

ACTIVE_NAMES = frozenset({"in use", "active", "used", "is active"})
"""Attributes that say whether an object takes part in the action, blanks and underscores alike."""
_YES = frozenset({True, "true", "yes", "1"})
_NO = frozenset({False, "false", "no", "0"})
MAX_SIDE = 20_000
"""Largest width and height of an annotated picture, pixels."""


@dataclass(frozen=True)
class Instance:
    """One annotated object of one picture.

    Attributes:
        name: As the annotation tool has it.
        rle: Its pixels, in COCO's compressed run-length form, of the picture's size.
        active: Whether it takes part in the action; None if nobody said.
        side: ``left`` or ``right`` if an attribute says so; else empty.
        where: What to call it in messages, for example ``annotation 17``.
    """

    name: str
    rle: Mapping[str, Any]
    active: bool | None
    side: str
    where: str

    def pixels(self) -> Bool:
        """Its pixels, bool [H, W]."""
        return np.asarray(mask_tools().decode(self.rle), np.bool_)


@dataclass(frozen=True)
class AnnotatedPicture:
    """A picture with its objects, the lowest first where they overlap.

    Attributes:
        file: Its name as the annotations have it.
        width: Its width as the annotations have it, pixels.
        height: Its height, pixels.
        instances: Its objects in the order of the file.
        source: File that says all this.
    """

    file: str
    width: int
    height: int
    instances: tuple[Instance, ...]
    source: str


@dataclass
class Annotations:
    """All that was annotated, and what of it cannot be used."""

    pictures: list[AnnotatedPicture] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def mask_tools() -> ModuleType:
    """The reader of COCO's shapes, ``pycocotools.mask``.

    Raises:
        ActisegError: It is not installed.
    """
    try:
        from pycocotools import mask
    except ImportError as error:
        raise ActisegError(
            "annotations are read with pycocotools: "
            "pip install '.[annotation]' in the project's folder"
        ) from error
    found: ModuleType = mask
    return found


def is_finite(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number that fits into a float."""
    return type(value) in (int, float) and abs(value) <= sys.float_info.max


def polygons_rle(polygons: Sequence[Sequence[float]], width: int, height: int) -> Mapping[str, Any]:
    """The pixels in any of several polygons.

    Args:
        polygons: x and y in turn, pixels; at least three corners each.
        width: The picture's width.
        height: The picture's height.

    Raises:
        ValueError: A polygon has too few corners, or one that lies far outside of the picture.
    """
    for flat in polygons:
        if len(flat) < 6 or len(flat) % 2:
            raise ValueError(f"a polygon has {len(flat)} numbers; it needs x, y of 3 corners")
        if not all(map(is_finite, flat)):
            raise ValueError("a polygon has a coordinate that is no finite number")
        reach = width + height
        if any(not -reach <= value <= 2 * reach for value in flat):
            raise ValueError("a polygon has a corner far outside of the picture")
    tools = mask_tools()
    rle: Mapping[str, Any] = tools.merge(
        tools.frPyObjects([[float(value) for value in flat] for flat in polygons], height, width)
    )
    return rle


def check_covers(rle: Mapping[str, Any]) -> Mapping[str, Any]:
    """The shape itself.

    Raises:
        ValueError: It covers no pixel.
    """
    if not mask_tools().area(rle):
        raise ValueError("covers no pixel of the picture; outline it again")
    return rle


def pixels_rle(pixels: Bool) -> Mapping[str, Any]:
    """Run-length form of a map of pixels, bool [H, W]."""
    rle: Mapping[str, Any] = mask_tools().encode(np.asfortranarray(pixels, np.uint8))
    return rle


def said_of(attributes: Iterable[tuple[Any, Any]]) -> tuple[bool | None, str]:
    """What attributes of an object say: whether it is in use, and on which side it is.

    Args:
        attributes: Names and values; a name may come several times.

    Raises:
        ValueError: An attribute has a value that cannot be understood, or contradicts another one.
    """
    active: bool | None = None
    side = ""
    for name, value in attributes:
        plain = " ".join(str(name).lower().replace("_", " ").replace("-", " ").split())
        given = value.strip().lower() if isinstance(value, str) else value
        if plain in ACTIVE_NAMES and given not in (None, ""):
            if isinstance(given, (list, dict)) or given not in _YES | _NO:
                raise ValueError(f"attribute {name!r} is {value!r}, neither true nor false")
            if active not in (None, given in _YES):
                raise ValueError(f"its attributes contradict each other about {name!r}")
            active = given in _YES
        if plain in ("side", "hand side", "hand") and given in ("left", "right"):
            side = str(given)
    return active, side


def check_size(width: Any, height: Any) -> tuple[int, int]:
    """Width and height of a picture as an annotation file has them.

    Raises:
        ValueError: They are none.
    """
    for side in (width, height):
        if type(side) is not int or not 0 < side <= MAX_SIDE:
            raise ValueError(f"the picture's size is {width!r}x{height!r}, not two whole numbers")
    return width, height
