"""Small pictures of masks, errors and uncertain pixels over a frame."""

from __future__ import annotations

import io
from collections.abc import Set

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from actiseg_ros.overlay import color_of

UInt8 = NDArray[np.uint8]
BoolMap = NDArray[np.bool_]

WIDTH = 400
"""Pixels of a picture."""
_INACTIVE = (150, 150, 150)
ERROR_COLOURS = {
    "right": (0, 158, 115),
    "missed": (0, 114, 178),
    "too much": (213, 94, 0),
    "wrong object": (204, 121, 167),
}
"""What the colours of an error map mean, RGB."""
UNCERTAIN_COLOUR = (230, 40, 160)


def jpeg(picture: UInt8, width: int = WIDTH) -> bytes:
    """An RGB picture as a JPEG of the given width."""
    height = round(picture.shape[0] * width / picture.shape[1])
    buffer = io.BytesIO()
    Image.fromarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)).save(
        buffer, "JPEG", quality=82
    )
    return buffer.getvalue()


def draw_masks(frame: UInt8, labels: UInt8, positive: Set[int]) -> UInt8:
    """Active objects in colours, the others grey.

    Args:
        frame: RGB, uint8 [H, W, 3].
        labels: uint8 [H, W].
        positive: Labels of the active objects.
    """
    colours = np.zeros((256, 3), np.uint8)
    for label in range(1, 256):
        colours[label] = color_of(label) if label in positive else _INACTIVE
    return _paint(frame, labels > 0, colours[labels])


def draw_errors(frame: UInt8, truth: UInt8, predicted: UInt8, positive: Set[int]) -> UInt8:
    """Where a prediction is right and how it is wrong, in `ERROR_COLOURS`.

    Only active objects should be drawn, so what is drawn on an inactive one is too much.

    Args:
        frame: RGB, uint8 [H, W, 3].
        truth: Clean labels, uint8 [H, W].
        predicted: uint8 [H, W].
        positive: Labels of the active objects.
    """
    wanted = np.where(np.isin(truth, sorted(positive)), truth, np.uint8(0))
    drawn = predicted > 0
    kinds = {
        "right": drawn & (predicted == wanted),
        "missed": ~drawn & (wanted > 0),
        "too much": drawn & (wanted == 0),
        "wrong object": drawn & (wanted > 0) & (predicted != wanted),
    }
    colours = np.zeros_like(frame)
    for kind, where in kinds.items():
        colours[where] = ERROR_COLOURS[kind]
    return _paint(frame, drawn | (wanted > 0), colours)


def draw_uncertain(frame: UInt8, uncertain: BoolMap) -> UInt8:
    """Uncertain pixels, given on any grid, over the greyed frame."""
    height, width = frame.shape[:2]
    grid = uncertain.astype(np.uint8)
    where = cv2.resize(grid, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    colours = np.full_like(frame, UNCERTAIN_COLOUR)
    return _paint(frame, where, colours, strength=0.85)


def _paint(frame: UInt8, where: BoolMap, colours: UInt8, strength: float = 0.7) -> UInt8:
    """Colours over a greyed frame."""
    grey = cv2.cvtColor(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    mixed = cv2.addWeighted(grey, 1 - strength, colours, strength, 0)
    return np.asarray(np.where(where[..., None], mixed, grey), np.uint8)
