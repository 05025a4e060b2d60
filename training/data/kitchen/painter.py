"""A small drawing surface: anti-aliased shapes, shading and textures on an RGBA canvas."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from training.data.surfaces.looks import Color

Polygon = NDArray[np.float64]
"""[N, 2] x, y in scene pixels."""
Mask = NDArray[np.float32]

RESOLUTION = 0.6
"""Canvas pixels per scene pixel; frames are composed at 0.5, so sprites are not enlarged."""
_SHIFT = 4


def ellipse(cx: float, cy: float, rx: float, ry: float, angle: float = 0.0, n: int = 40) -> Polygon:
    """Polygon of an ellipse; angle in degrees."""
    t = np.linspace(0, 2 * np.pi, n, endpoint=False)
    points = np.stack([rx * np.cos(t), ry * np.sin(t)], axis=1)
    a = np.deg2rad(angle)
    rotation = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return points @ rotation + (cx, cy)


def capsule(p: ArrayLike, q: ArrayLike, rp: float, rq: float, n: int = 10) -> Polygon:
    """Polygon of a limb: two circles of radius rp and rq joined by tangents (approximately)."""
    a, b = np.asarray(p, float), np.asarray(q, float)
    heading = np.arctan2(*(b - a)[::-1])
    back = heading + np.linspace(np.pi / 2, 3 * np.pi / 2, n)
    front = heading + np.linspace(-np.pi / 2, np.pi / 2, n)
    ring = [a + rp * np.stack([np.cos(back), np.sin(back)], 1)]
    ring.append(b + rq * np.stack([np.cos(front), np.sin(front)], 1))
    return np.concatenate(ring)


def rounded(x0: float, y0: float, x1: float, y1: float, r: float, n: int = 6) -> Polygon:
    """Polygon of a rectangle with corner radius r."""
    r = min(r, (x1 - x0) / 2, (y1 - y0) / 2)
    corners = [
        (x1 - r, y1 - r, 0),
        (x0 + r, y1 - r, 90),
        (x0 + r, y0 + r, 180),
        (x1 - r, y0 + r, 270),
    ]
    points = []
    for cx, cy, start in corners:
        t = np.deg2rad(np.linspace(start, start + 90, n))
        points.append(np.stack([cx + r * np.cos(t), cy + r * np.sin(t)], axis=1))
    return np.concatenate(points)


def blob(
    cx: float, cy: float, rx: float, ry: float, rng: np.random.Generator, rough: float = 0.06
) -> Polygon:
    """Polygon of an irregular ellipse; rough is the relative amplitude of its bumps."""
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(t)
    for k in range(2, 6):
        radius += rough / (k - 1) * rng.normal() * np.cos(k * t + rng.uniform(0, 6.3))
    return np.stack([cx + rx * radius * np.cos(t), cy + ry * radius * np.sin(t)], axis=1)


def smooth_noise(height: int, width: int, cell: float, rng: np.random.Generator) -> Mask:
    """Band-limited noise [height, width] in about -1..1 with features of ``cell`` pixels."""
    rows, cols = max(2, int(height / cell) + 2), max(2, int(width / cell) + 2)
    coarse = rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
    return np.asarray(
        cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.float32
    )


def _extent(mask: Mask) -> tuple[slice, slice]:
    """Rows and columns that hold everything of a mask that is not zero."""
    rows, cols = np.flatnonzero(mask.max(axis=1)), np.flatnonzero(mask.max(axis=0))
    if not len(rows):
        return slice(0, 0), slice(0, 0)
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(cols[0]), int(cols[-1]) + 1)


class Painter:
    """RGBA canvas of ``width`` x ``height`` scene pixels; all coordinates are scene pixels."""

    def __init__(self, width: float, height: float, rng: np.random.Generator) -> None:
        self.width, self.height, self.rng = width, height, rng
        self.cols, self.rows = int(np.ceil(width * RESOLUTION)), int(np.ceil(height * RESOLUTION))
        self.rgb = np.zeros((self.rows, self.cols, 3), np.float32)
        self.alpha = np.zeros((self.rows, self.cols), np.float32)
        self.grip: tuple[float, float] | None = None

    def mask(self, *polygons: Polygon) -> Mask:
        """Anti-aliased coverage [rows, cols] in 0..1 of polygons filled together."""
        m = np.zeros((self.rows, self.cols), np.uint8)
        points = [np.round(p * RESOLUTION * 2**_SHIFT).astype(np.int32) for p in polygons]
        cv2.fillPoly(m, points, 255, lineType=cv2.LINE_AA, shift=_SHIFT)
        return m.astype(np.float32) / np.float32(255)

    def paint(self, mask: Mask, color: Color, opacity: float = 1.0) -> None:
        """Lay a colour over the canvas where the mask is, and make the canvas opaque there."""
        box = _extent(mask)
        m = mask[box] * opacity
        rgb = self.rgb[box]
        rgb += m[..., None] * (np.asarray(color, np.float32) - rgb)
        self.alpha[box] = np.maximum(self.alpha[box], m)

    def fill(self, polygon: Polygon, color: Color, opacity: float = 1.0) -> Mask:
        """Paint a polygon and return its mask."""
        m = self.mask(polygon)
        self.paint(m, color, opacity)
        return m

    def line(
        self,
        points: Sequence[Sequence[float]] | Polygon,
        color: Color,
        width: float,
        opacity: float = 1.0,
        closed: bool = False,
    ) -> None:
        """Paint a polyline of the given width."""
        m = np.zeros((self.rows, self.cols), np.uint8)
        pts = np.round(np.asarray(points, float) * RESOLUTION * 2**_SHIFT).astype(np.int32)
        thickness = max(1, round(width * RESOLUTION))
        cv2.polylines(m, [pts], closed, 255, thickness, cv2.LINE_AA, _SHIFT)
        self.paint(m.astype(np.float32) / np.float32(255), color, opacity)

    def multiply(self, mask: Mask, field: Mask | NDArray[np.floating]) -> None:
        """Scale brightness by ``field`` (1 = unchanged) inside the mask."""
        box = _extent(mask)
        self.rgb[box] *= (1 + mask[box] * (field[box] - 1))[..., None].astype(np.float32)

    def grid(self) -> tuple[Mask, Mask]:
        """Scene coordinates x, y of every canvas pixel."""
        y, x = np.mgrid[0 : self.rows, 0 : self.cols].astype(np.float32) / RESOLUTION
        return x, y

    def cylinder(self, mask: Mask, x0: float, x1: float, depth: float = 0.45) -> None:
        """Shade as an upright cylinder between x0 and x1, lit from the upper left."""
        x, _ = self.grid()
        u = np.clip((x - x0) / (x1 - x0), 0, 1)
        self.multiply(mask, 1.12 - depth * (np.abs(u - 0.36) * 1.5) ** 2 * 2)

    def dome(
        self, mask: Mask, cx: float, cy: float, rx: float, ry: float, depth: float = 0.45
    ) -> None:
        """Shade as a rounded body, lit from the upper left, with a soft highlight."""
        x, y = self.grid()
        u, v = (x - cx) / rx, (y - cy) / ry
        self.multiply(mask, 1.12 - depth * np.clip((u + 0.3) ** 2 + (v + 0.35) ** 2, 0, 2.2) / 1.6)
        glow = np.exp(-(((u + 0.35) / 0.22) ** 2 + ((v + 0.4) / 0.18) ** 2)) * 70
        self.rgb += (mask * glow)[..., None]

    def speckle(self, mask: Mask, cell: float, amount: float) -> None:
        """Vary brightness by smooth noise of the given cell size and relative amount."""
        noise = smooth_noise(self.rows, self.cols, max(1.0, cell * RESOLUTION), self.rng)
        self.multiply(mask, 1 + amount * noise)

    def wood(self, mask: Mask, along_x: bool = True, amount: float = 0.14) -> None:
        """Draw wood grain: noise stretched along one axis."""
        size = (self.cols, self.rows)
        rows, cols = (self.rows, 12) if along_x else (12, self.cols)
        grain = self.rng.uniform(-1, 1, (rows, cols)).astype(np.float32)
        self.multiply(mask, 1 + amount * cv2.resize(grain, size, interpolation=cv2.INTER_CUBIC))

    def outline(self, mask: Mask, strength: float = 0.35, width: float = 5) -> None:
        """Darken the inner edge of a shape, as contact shading does."""
        k = max(3, int(width * RESOLUTION) * 2 + 1)
        inner = cv2.blur(mask, (k, k))
        self.multiply(mask, 1 - strength * np.clip(1.6 * (1 - inner), 0, 1))
