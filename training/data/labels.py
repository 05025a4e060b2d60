"""Label and weight maps of the ActionVOS layout from polygons and hand-object contacts.

Every VISOR frame is rasterised once (`render_frame`); each action that contains it then combines
the stored shapes (`label_map`, `weight_map`). Shapes are filled at the 1920x1080 of the polygons
and sampled down afterwards: all later steps act on single pixels, so sampling first gives the same
pixels as sampling last, at a fifth of the work.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from actiseg_ros.prompts import HANDS

Bool = npt.NDArray[np.bool_]
Int32 = npt.NDArray[np.int32]
UInt8 = npt.NDArray[np.uint8]

ANNOTATED_WIDTH, ANNOTATED_HEIGHT = 1920, 1080
WIDTH, HEIGHT = 854, 480

WEIGHT_OTHER, WEIGHT_CUE, WEIGHT_NEGATIVE = 1, 2, 3
"""Stored weights; a narrated object (2) doubles to 4 where a hand-object box lies over it."""


@dataclass(frozen=True)
class Entity:
    """One annotated object of one frame."""

    name: str
    class_id: int
    polygons: tuple[Int32, ...]
    """Corners, int32 [N, 2] each, x before y, in pixels of 1920x1080."""


@dataclass(frozen=True)
class Contacts:
    """Objects in contact with a hand in one frame (category 2 of the hand-object file)."""

    boxes: tuple[tuple[int, int, int, int], ...]
    """x, y, width, height in pixels of 1920x1080; ends exclusive."""
    shapes: tuple[tuple[Int32, ...], ...]
    """Polygons of each object in contact."""


@dataclass(frozen=True)
class _Shape:
    """An object's shape before others cover it, cropped to its bounding box at 854x480."""

    rows: slice
    columns: slice
    pixels: Bool


@dataclass(frozen=True)
class RenderedFrame:
    """What the actions of one frame share. Arrays have 480x854 pixels."""

    entities: tuple[Entity, ...]
    top: UInt8
    """1 + index of the entity that is seen, 0 where there is none; uint8 [480, 854]."""
    shapes: tuple[_Shape, ...]
    touching: tuple[bool, ...]
    """Per entity: its uncovered shape has a pixel in a hand-object box."""
    seen_in_box: frozenset[str]
    """Names with a visible pixel in a hand-object box."""
    in_box: Bool | None
    """Union of the hand-object boxes; None if the frame has no hand-object data."""
    in_contact: Bool | None
    """Union of the shapes in contact; None if the frame has no hand-object data."""


def polygon(points: Any) -> Int32:
    """Corners of a polygon, truncated toward zero as the official preparation does.

    Args:
        points: Pairs of x and y; none at all stands for the single pixel (0, 0).

    Raises:
        ValueError: If it is not a list of pairs of finite numbers.
    """
    if isinstance(points, list) and not points:
        return np.zeros((1, 2), np.int32)
    try:
        corners = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError("a polygon is not a list of [x, y] pairs") from error
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError(f"a polygon has shape {list(corners.shape)}; expected [N, 2]")
    if not (np.abs(corners) < 2**31).all():  # also refuses NaN
        raise ValueError("a polygon has a coordinate that is not a finite 32-bit number")
    return corners.astype(np.int32)


@lru_cache(maxsize=1)
def nearest_indices() -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Source row and column of every row and column of a 1920x1080 map sampled to 854x480.

    Taken from Pillow itself, because its rounding differs from floor((i + 0.5) * scale) in two
    columns.
    """
    ramp = np.arange(ANNOTATED_WIDTH, dtype=np.int32)
    columns = Image.fromarray(ramp[None, :]).resize((WIDTH, 1), Image.Resampling.NEAREST)
    rows = Image.fromarray(ramp[:ANNOTATED_HEIGHT, None]).resize(
        (1, HEIGHT), Image.Resampling.NEAREST
    )
    return np.array(rows)[:, 0].astype(np.intp), np.array(columns)[0].astype(np.intp)


def render_frame(entities: Sequence[Entity], contacts: Contacts | None) -> RenderedFrame:
    """Rasterises the objects and contacts of one frame.

    Args:
        entities: Objects in the order of the annotation file; later ones cover earlier ones.
        contacts: Hand-object data of the frame, if it has any.
    """
    top, scratch = _canvases()
    top.fill(0)
    scratch.fill(0)
    boxes = [] if contacts is None else [_region(box) for box in contacts.boxes]
    shapes: list[_Shape] = []
    touching: list[bool] = []
    for index, entity in enumerate(entities):
        if entity.polygons:
            cv2.fillPoly(top, entity.polygons, index + 1)
            cv2.fillPoly(scratch, entity.polygons, 1)
        extent = _extent(entity.polygons)
        touching.append(any(scratch[_overlap(extent, box)].any() for box in boxes))
        shapes.append(_sampled(scratch, extent))
        scratch[extent] = 0
    visible = {index for box in boxes for index in _values(top[box]) if index}
    in_box = in_contact = None
    if contacts is not None:
        in_box = np.zeros((HEIGHT, WIDTH), np.bool_)
        for box in boxes:
            in_box[_sampled_extent(box)] = True
        for polygons in contacts.shapes:
            cv2.fillPoly(scratch, polygons, 1)
        in_contact = _sampled_map(scratch).astype(np.bool_)
    return RenderedFrame(
        entities=tuple(entities),
        top=_sampled_map(top),
        shapes=tuple(shapes),
        touching=tuple(touching),
        seen_in_box=frozenset(entities[index - 1].name for index in visible),
        in_box=in_box,
        in_contact=in_contact,
    )


def object_classes(
    frames: Iterable[RenderedFrame], noun_classes: AbstractSet[int]
) -> dict[int, dict[str, Any]]:
    """Action-aware labels of a sequence: which objects count as active (ActionVOS, Sec. 3).

    Args:
        frames: The sequence's frames.
        noun_classes: Class ids of all nouns of the narration.

    Returns:
        Object id (1, 2, … in alphabetical order of the names) to `name`, `class_id` and the flags
        `handbox` (seen in a hand-object box in any frame; always set for hands), `narration` (its
        class is narrated) and `positive` (either of the two), each 0 or 1.
    """
    classes: dict[str, int] = {}
    handled: set[str] = set(HANDS)
    for frame in frames:
        handled |= frame.seen_in_box
        for entity in frame.entities:
            if entity.polygons:
                classes[entity.name] = entity.class_id
    labelled = {}
    for object_id, name in enumerate(sorted(classes), start=1):
        handbox, narration = name in handled, classes[name] in noun_classes
        labelled[object_id] = {
            "name": name,
            "class_id": classes[name],
            "handbox": int(handbox),
            "narration": int(narration),
            "positive": int(handbox or narration),
        }
    return labelled


def label_map(frame: RenderedFrame, ids: Mapping[str, int]) -> UInt8:
    """Label image of a frame, uint8 [480, 854].

    Args:
        frame: The rasterised frame.
        ids: Object id of each name in the sequence.
    """
    table = np.zeros(256, np.uint8)
    for index, entity in enumerate(frame.entities):
        table[index + 1] = ids.get(entity.name, 0)
    return np.asarray(cv2.LUT(frame.top, table), np.uint8)


def weight_map(
    frame: RenderedFrame, narrated: AbstractSet[str], negative: AbstractSet[str]
) -> UInt8:
    """Action-guided weights of a frame, uint8 [480, 854] (ActionVOS, Sec. 3).

    Narrated objects are 2. Other objects are 3 if they touch no hand-object box; in a frame without
    hand-object data, if they are negative in the whole sequence. Objects are drawn in file order,
    and one that gets no weight leaves what lies below. Values in hand-object boxes double, what is
    still empty inside a shape in contact becomes 2, and the rest 1.

    Args:
        frame: The rasterised frame.
        narrated: Names whose class is narrated.
        negative: Names of the sequence's negative objects.
    """
    weights = np.zeros((HEIGHT, WIDTH), np.uint8)
    has_contacts = frame.in_box is not None
    for entity, shape, touching in zip(frame.entities, frame.shapes, frame.touching, strict=True):
        if entity.name in narrated:
            value = WEIGHT_CUE
        elif (not touching) if has_contacts else entity.name in negative:
            value = WEIGHT_NEGATIVE
        else:
            continue
        weights[shape.rows, shape.columns][shape.pixels] = value
    if frame.in_box is not None and frame.in_contact is not None:
        np.multiply(weights, 2, out=weights, where=frame.in_box)
        np.copyto(weights, WEIGHT_CUE, where=(weights == 0) & frame.in_contact)
    return np.maximum(weights, WEIGHT_OTHER)


@lru_cache(maxsize=1)
def _canvases() -> tuple[UInt8, UInt8]:
    """Two 1920x1080 maps to draw on, kept because fresh pages cost more than drawing."""
    shape = (ANNOTATED_HEIGHT, ANNOTATED_WIDTH)
    return np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)


def _region(box: tuple[int, int, int, int]) -> tuple[slice, slice]:
    """Pixels of a box. A negative start counts from the far edge, as in the official arrays."""
    x, y, width, height = box
    rows = slice(y, y + height).indices(ANNOTATED_HEIGHT)
    columns = slice(x, x + width).indices(ANNOTATED_WIDTH)
    return slice(*rows[:2]), slice(*columns[:2])


def _extent(polygons: Sequence[Int32]) -> tuple[slice, slice]:
    """Bounding box of polygons, borders included, inside the frame."""
    if not polygons:
        return slice(0, 0), slice(0, 0)
    corners = np.concatenate(polygons)
    low = corners.min(axis=0).clip(min=0)
    high = (corners.max(axis=0) + 1).clip(min=0)
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _overlap(one: tuple[slice, slice], other: tuple[slice, slice]) -> tuple[slice, slice]:
    """What two extents have in common."""
    rows, columns = (
        slice(max(a.start, b.start), max(a.start, b.start, min(a.stop, b.stop)))
        for a, b in zip(one, other, strict=True)
    )
    return rows, columns


def _values(pixels: UInt8) -> list[int]:
    """The values that occur."""
    if not pixels.size:
        return []
    counts = cv2.calcHist([np.ascontiguousarray(pixels)], [0], None, [256], [0, 256])
    return np.flatnonzero(counts).tolist()


def _sampled_map(pixels: UInt8) -> UInt8:
    """A whole 1920x1080 map sampled to 854x480."""
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((WIDTH, HEIGHT), Image.Resampling.NEAREST))


def _sampled_extent(extent: tuple[slice, slice]) -> tuple[slice, slice]:
    """The 854x480 samples that fall into an extent of the 1920x1080 map."""
    rows, columns = nearest_indices()
    first, last = (np.searchsorted(rows, end) for end in (extent[0].start, extent[0].stop))
    left, right = (np.searchsorted(columns, end) for end in (extent[1].start, extent[1].stop))
    return slice(int(first), int(last)), slice(int(left), int(right))


def _sampled(pixels: UInt8, extent: tuple[slice, slice]) -> _Shape:
    """The part of a 1920x1080 map in an extent, sampled to 854x480."""
    rows, columns = nearest_indices()
    own_rows, own_columns = _sampled_extent(extent)
    narrow = pixels[:, extent[1]]  # rows are copied, so only as wide as needed
    cropped = narrow[rows[own_rows]][:, columns[own_columns] - extent[1].start]
    return _Shape(own_rows, own_columns, cropped > 0)
