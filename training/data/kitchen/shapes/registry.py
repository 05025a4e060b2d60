"""The table of looks, and the sprite that a look draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.painter import RESOLUTION, Painter, Polygon
from training.data.surfaces.looks import Color

_PAD = 12
SILHOUETTE = np.array([[4.0, 0.0, -4.0 * _PAD], [0.0, 4.0, -4.0 * _PAD]])
"""Affine matrix from a silhouette's pixels to canvas pixels."""
_SIZES = (1.1, 1.45)
"""Range of instance sizes relative to the drawing."""

Drawer = Callable[[np.random.Generator, str], Painter]


@dataclass(frozen=True)
class Stance:
    """How instances of a noun lie on the worktop.

    Attributes:
        spin: Largest rotation from upright in degrees; 180 for things that lie flat.
        height: How far it rises over the worktop in scene pixels (decides its shadow).
        flat: Whether other things may stand on it; flat things are drawn first.
    """

    spin: float
    height: float
    flat: bool = False


@dataclass(frozen=True)
class Look:
    """How a noun is drawn, and how it lies."""

    draw: Drawer
    stance: Stance


@dataclass(frozen=True)
class Sprite:
    """One drawn instance in its own frame: scene pixels around its origin.

    Attributes:
        rgb: float32 [h, w, 3], BGR, 0 to 255.
        alpha: float32 [h, w], 0 to 1.
        outline: Closed contours around alpha > 0.5; even-odd filling keeps its holes.
        grip: Where a hand holds it; None = at the edge that is nearest to the hand.
        radius: Half of the larger side of the bounding box.
        stance: How it lies.
        origin: The sprite's own origin on its canvas, scene pixels from the upper left corner.
        pixel: Scene pixels per canvas pixel.
    """

    rgb: NDArray[np.float32]
    alpha: NDArray[np.float32]
    outline: tuple[Polygon, ...]
    grip: tuple[float, float] | None
    radius: float
    stance: Stance
    origin: tuple[float, float]
    pixel: float

    @cached_property
    def silhouette(self) -> NDArray[np.float32]:
        """Alpha at a quarter of the canvas size with a margin, for shadows; see SILHOUETTE."""
        small = cv2.resize(self.alpha, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
        return np.pad(small, _PAD)


LOOKS: dict[str, Look] = {}


def look(
    *names: str, spin: float = 180, height: float = 14, flat: bool = False
) -> Callable[[Drawer], Drawer]:
    """Register a drawing function under the given names."""

    def register(function: Drawer) -> Drawer:
        for name in names:
            LOOKS[name] = Look(function, Stance(spin, height, flat))
        return function

    return register


def pick(rng: np.random.Generator, *colors: Color, jitter: float = 12) -> Color:
    """One of the colours (BGR), slightly varied."""
    base = np.asarray(colors[int(rng.integers(len(colors)))], float)
    b, g, r = np.clip(base * rng.uniform(0.88, 1.1) + rng.normal(0, jitter / 2, 3), 5, 250)
    return float(b), float(g), float(r)


def scaled(color: Color, factor: float) -> Color:
    """A lighter or darker colour."""
    b, g, r = np.clip(np.asarray(color) * factor, 0, 255)
    return float(b), float(g), float(r)


def outline_of(painter: Painter, origin: NDArray[np.float64], pixel: float) -> tuple[Polygon, ...]:
    """Closed contours around what a painter has drawn, in scene pixels around the origin."""
    solid = (painter.alpha > 0.5).astype(np.uint8)
    contours, _ = cv2.findContours(solid, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    return tuple(
        (cv2.approxPolyDP(c, 0.5, True)[:, 0] + 0.5) * pixel - origin
        for c in contours
        if cv2.contourArea(c) > 12
    )


def draw(name: str, rng: np.random.Generator) -> Sprite:
    """Draw one instance of a noun.

    Raises:
        KeyError: The kitchen has no look for this name.
    """
    look_ = LOOKS[name]
    size = float(rng.uniform(*_SIZES))
    painter = look_.draw(rng, name)
    pixel = size / RESOLUTION
    centre = np.array([painter.width, painter.height]) / 2 * size
    outline = outline_of(painter, centre, pixel)
    grip = None
    if painter.grip is not None:
        grip = (painter.grip[0] * size - centre[0], painter.grip[1] * size - centre[1])
    radius = float(np.ptp(np.concatenate(outline), axis=0).max() / 2)
    return Sprite(
        painter.rgb,
        painter.alpha,
        outline,
        grip,
        radius,
        look_.stance,
        (float(centre[0]), float(centre[1])),
        pixel,
    )
