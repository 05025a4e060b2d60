"""Draws masks, uncertain pixels and the decision on an image, for people to look at."""

from __future__ import annotations

import colorsys
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.state import Decision
from actiseg_ros.vision.label_map import extent
from actiseg_ros.vision.segmenter import Segmentation

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_GO, _NO_GO, _WHITE = (20, 130, 50), (170, 30, 30), (255, 255, 255)
_MASK_WEIGHT = 0.5
_HATCH_PERIOD = 6


def color_of(label: int) -> tuple[int, int, int]:
    """RGB colour of a label from 1 on; neighbours differ clearly (golden-ratio hues)."""
    hue = (0.33 + label * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def warm_up() -> None:
    """Has OpenCV load its font, which takes longer than a picture."""
    _write(np.zeros((16, 16, 3), np.uint8), "0", (0, 15), 0.3, _WHITE)


def draw_overlay(
    rgb: npt.NDArray[np.uint8],
    segmentation: Segmentation | None,
    decision: Decision,
    uncertain: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.uint8]:
    """Draws one picture.

    Args:
        rgb: uint8 [H, W, 3].
        segmentation: Result for this image, its labels of the image's size; None draws none.
        decision: Decision for the banner.
        uncertain: bool [H, W] or the mask grid's [h, w], drawn as white hatching.

    Returns:
        uint8 [H, W, 3], a new array.
    """
    picture = np.ascontiguousarray(rgb).copy()
    if segmentation is not None:
        _draw_masks(picture, segmentation)
        if uncertain is not None:
            _hatch(picture, uncertain)
        _draw_names(picture, segmentation, decision.target)
    _draw_banner(picture, decision, segmentation.prompt.narration if segmentation else "")
    return picture


def _draw_masks(picture: npt.NDArray[np.uint8], segmentation: Segmentation) -> None:
    labels = segmentation.labels
    x, y, width, height = cv2.boundingRect(labels)
    if not width:
        return
    table = np.zeros((1, 256, 3), np.uint8)
    for label in range(1, len(segmentation.prompt.names) + 1):
        table[0, label] = color_of(label)
    inside = (slice(y, y + height), slice(x, x + width))
    area = np.ascontiguousarray(labels[inside])
    tint = cv2.LUT(cv2.cvtColor(area, cv2.COLOR_GRAY2RGB), table)
    mixed = cv2.addWeighted(picture[inside], 1 - _MASK_WEIGHT, tint, _MASK_WEIGHT, 0)
    cv2.copyTo(mixed, area, picture[inside])


def _hatch(picture: npt.NDArray[np.uint8], uncertain: npt.NDArray[np.bool_]) -> None:
    height, width = picture.shape[:2]
    area = uncertain.astype(np.uint8)
    if area.shape != (height, width):
        area = cv2.resize(area, (width, height), interpolation=cv2.INTER_NEAREST)
    x, y, width, height = cv2.boundingRect(area)
    if width:
        inside = (slice(y, y + height), slice(x, x + width))
        white = np.full_like(picture[inside], 255)
        cv2.copyTo(white, area[inside] & _stripes(*area.shape)[inside], picture[inside])


@lru_cache(maxsize=4)
def _stripes(height: int, width: int) -> npt.NDArray[np.uint8]:
    """Diagonal stripes, uint8 [height, width] of 0 and 1."""
    tile = (np.add.outer(np.arange(_HATCH_PERIOD), np.arange(_HATCH_PERIOD)) % _HATCH_PERIOD) < 2
    times = (height // _HATCH_PERIOD + 1, width // _HATCH_PERIOD + 1)
    return np.ascontiguousarray(np.tile(tile.astype(np.uint8), times)[:height, :width])


def _draw_names(picture: npt.NDArray[np.uint8], segmentation: Segmentation, target: str) -> None:
    scale = _text_scale(picture)
    for index, name in enumerate(segmentation.prompt.names):
        found = extent(segmentation.labels, index + 1)
        if found is None:
            continue
        x, y = found.x, found.y
        text = f"{_ascii(name)} {segmentation.active[index]:.2f}"
        place = (x, max(y - 4, round(40 * scale)))
        _write(picture, text, place, scale, color_of(index + 1))
        if name == target:
            corner = (x + found.width - 1, y + found.height - 1)
            cv2.rectangle(picture, (x, y), corner, _WHITE, max(1, round(2 * scale)))


def _draw_banner(picture: npt.NDArray[np.uint8], decision: Decision, narration: str) -> None:
    scale = _text_scale(picture)
    line = max(10, round(30 * scale))
    height = min(picture.shape[0], 2 * line + line // 3)
    picture[:height] = cv2.addWeighted(
        picture[:height], 0.35, np.full_like(picture[:height], _banner_color(decision)), 0.65, 0
    )
    state = "GO" if decision.go else "NO-GO"
    reasons = ", ".join(str(reason) for reason in decision.reasons)
    first = f"{state}  {_ascii(decision.target)}  {reasons}".rstrip()
    second = (
        f"p {_number(decision.p_uncertainty)}/{_number(decision.p_limit)}  "
        f"n {_number(decision.n_uncertainty)}/{_number(decision.n_limit)}  {_ascii(narration)}"
    )
    for row, text in enumerate((first, second), start=1):
        _write(picture, text, (line // 3, row * line), scale, _WHITE)


def _banner_color(decision: Decision) -> tuple[int, int, int]:
    return _GO if decision.go else _NO_GO


def _number(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "-"


def _text_scale(picture: npt.NDArray[np.uint8]) -> float:
    return max(0.3, min(picture.shape[1] / 1100, picture.shape[0] / 500))


def _ascii(text: str) -> str:
    """OpenCV's fonts have ASCII only and draw question marks for each other byte."""
    return text.encode("ascii", "replace").decode()[:80]


def _write(
    picture: npt.NDArray[np.uint8],
    text: str,
    place: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
) -> None:
    # The same thickness for text and shadow: in OpenCV 5 it changes the width of the letters.
    thickness = max(1, round(1.6 * scale))
    shadow = (place[0] + 1, place[1] + 1)
    cv2.putText(picture, text, shadow, _FONT, scale, (0, 0, 0), thickness, cv2.LINE_AA)
    cv2.putText(picture, text, place, _FONT, scale, color, thickness, cv2.LINE_AA)
