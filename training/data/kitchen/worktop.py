"""The kitchen behind the objects: worktop, wall, hob, sink and light."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.painter import (
    RESOLUTION,
    Painter,
    Polygon,
    blob,
    capsule,
    ellipse,
    rounded,
    smooth_noise,
)
from training.data.kitchen.shapes.registry import pick, scaled
from training.data.surfaces.compose import Light, lay
from training.data.surfaces.looks import Surface

WIDTH, HEIGHT = 1920, 1080
MARGIN = 260
"""Scene pixels drawn beyond every side of the nominal view, for camera movement."""


def draw_worktop(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw one kitchen without objects.

    Returns:
        float32 [rows, cols, 3], BGR 0 to 255, RESOLUTION canvas pixels per scene pixel; scene point
        (-MARGIN, -MARGIN) is its upper left corner.
    """
    p = Painter(WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN, rng)
    whole = np.ones((p.rows, p.cols), np.float32)
    _surface(p, whole)
    _zones(p)
    _wall(p)
    _floor(p)
    _light(p, whole)
    return np.clip(p.rgb, 0, 255)


def scatter(
    worktop: NDArray[np.float32],
    light: Light,
    surface_of: Callable[[int, int], Surface],
    rng: np.random.Generator,
) -> None:
    """Lays things on a worktop that nobody has labelled.

    Args:
        worktop: From ``draw_worktop``; changed in place.
        light: Light of the scene.
        surface_of: What the n-th thing is made of, given a random kind below 2^20.
        rng: Random numbers for how many, where and in which shape.
    """
    height, width = worktop.shape[:2]
    for number in range(int(rng.integers(14, 34))):
        kind = int(rng.integers(1 << 20))
        middle = rng.uniform(0, 1, 2) * (width / RESOLUTION, height / RESOLUTION)
        shape = _thing(middle, rng)
        lay(worktop, [shape], surface_of(number, kind), light, RESOLUTION)


def _thing(middle: NDArray[np.float64], rng: np.random.Generator) -> Polygon:
    """Outline of a thing on the worktop, scene pixels."""
    x, y = middle
    a, b = rng.uniform(35, 190), rng.uniform(35, 140)
    kind = rng.integers(4)
    if kind == 0:
        outline = ellipse(x, y, a, b, rng.uniform(0, 180))
    elif kind == 1:
        outline = rounded(x - a, y - b, x + a, y + b, rng.uniform(5, 40))
    elif kind == 2:
        outline = blob(x, y, a, b, rng, 0.14)
    else:
        ends = middle + np.array([[-1], [1]]) * rng.uniform(-1, 1, 2) * 1.5 * a
        outline = capsule(*ends, *rng.uniform(10, 40, 2))
    return outline


def _surface(p: Painter, whole: NDArray[np.float32]) -> None:
    rng = p.rng
    kind = rng.choice(["wood", "planks", "granite", "laminate", "marble"])
    if kind in ("wood", "planks"):
        p.paint(whole, pick(rng, (95, 140, 180), (70, 110, 150), (120, 165, 200), (60, 85, 120)))
        p.wood(whole, True, 0.16)
        p.speckle(whole, 220, 0.08)
        if kind == "planks":
            for y in np.arange(0, p.height, rng.uniform(130, 220)):
                p.line([[0, y], [p.width, y]], (40, 55, 75), 5, 0.6)
                band = np.zeros_like(whole)
                band[int(y * RESOLUTION) : int((y + 130) * RESOLUTION)] = 1
                p.multiply(band, rng.uniform(0.9, 1.08) * np.ones_like(band))
    elif kind == "granite":
        p.paint(whole, pick(rng, (140, 135, 135), (90, 88, 90), (165, 175, 185), (70, 75, 70)))
        p.speckle(whole, 4, 0.17)
        p.speckle(whole, 9, 0.12)
    elif kind == "laminate":
        p.paint(
            whole, pick(rng, (215, 220, 222), (170, 190, 200), (120, 125, 120), (185, 170, 150))
        )
        p.speckle(whole, 120, 0.04)
        p.speckle(whole, 3, 0.05)
    else:
        p.paint(whole, pick(rng, (220, 222, 222), (200, 205, 210)))
        veins = np.abs(
            smooth_noise(p.rows, p.cols, 380, rng) + 0.35 * smooth_noise(p.rows, p.cols, 60, rng)
        )
        p.multiply(whole, 1 - 0.2 * np.exp(-((veins / 0.05) ** 2)))
        p.speckle(whole, 200, 0.06)


def _zones(p: Painter) -> None:
    """A hob, a sink or a draining board at one side; sometimes nothing."""
    rng = p.rng
    left = rng.random() < 0.5
    width = rng.uniform(430, 640)
    x0 = MARGIN * 0.3 if left else p.width - MARGIN * 0.3 - width
    y0, y1 = MARGIN + rng.uniform(150, 260), MARGIN + rng.uniform(820, 960)
    x1 = x0 + width
    kind = rng.choice(["hob", "sink", "none", "none"])
    if kind == "hob":
        m = p.fill(rounded(x0, y0, x1, y1, 26), (32, 32, 35))
        p.outline(m, 0.4, 10)
        for fx, fy in ((0.3, 0.28), (0.7, 0.3), (0.3, 0.72), (0.7, 0.7)):
            r = rng.uniform(70, 110)
            cx, cy = x0 + fx * width, y0 + fy * (y1 - y0)
            for f in (1.0, 0.8, 0.3):
                p.line(ellipse(cx, cy, r * f, r * f), (120, 118, 116), 6, 0.7, True)
    elif kind == "sink":
        rim = p.fill(rounded(x0, y0, x1, y1, 60), (190, 188, 184))
        p.wood(rim, True, 0.08)
        basin = p.fill(rounded(x0 + 40, y0 + 40, x1 - 40, y1 - 40, 70), (150, 148, 144))
        p.wood(basin, True, 0.08)
        p.outline(basin, 0.6, 60)
        cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
        p.fill(ellipse(cx, cy, 44, 44), (95, 93, 90))
        p.line(ellipse(cx, cy, 30, 30), (50, 50, 50), 10, closed=True)


def _wall(p: Painter) -> None:
    rng = p.rng
    edge = MARGIN + rng.uniform(-120, 60)
    tile, grout = (
        pick(
            rng, (225, 228, 228), (190, 200, 160), (150, 130, 90), (120, 180, 210), (170, 170, 190)
        ),
        rng.uniform(90, 150),
    )
    m = p.fill(rounded(-9, -9, p.width + 9, edge, 0), tile)
    if rng.random() < 0.75:
        for x in np.arange(0, p.width, grout):
            p.line([[x, 0], [x, edge]], scaled(tile, 0.75), 5)
        for y in np.arange(edge - grout, 0, -grout):
            p.line([[0, y], [p.width, y]], scaled(tile, 0.75), 5)
    p.speckle(m, 300, 0.08)
    p.line([[0, edge], [p.width, edge]], (70, 75, 80), 14, 0.7)


def _floor(p: Painter) -> None:
    rng = p.rng
    edge = p.height - MARGIN + rng.uniform(-40, 160)
    m = p.fill(
        rounded(-9, edge, p.width + 9, p.height + 9, 0),
        pick(rng, (70, 75, 80), (90, 110, 130), (150, 160, 165), (60, 60, 70)),
    )
    p.wood(m, True, 0.1)
    p.line([[0, edge], [p.width, edge]], (45, 50, 55), 16, 0.8)


def _light(p: Painter, whole: NDArray[np.float32]) -> None:
    """One broad lamp, plus the soft shadow of the wearer or a sunny patch."""
    rng = p.rng
    x, y = p.grid()
    cx, cy = rng.uniform(0, p.width), rng.uniform(-200, p.height * 0.6)
    distance = np.hypot(x - cx, y - cy) / p.width
    p.multiply(whole, (1.16 - 0.5 * np.clip(distance, 0, 1)).astype(np.float32))
    if rng.random() < 0.4:
        slope, shift, wide = rng.uniform(-0.8, 0.8), rng.uniform(0, p.width), rng.uniform(200, 500)
        beam = (np.abs(x - shift - slope * y) < wide).astype(np.float32)
        p.multiply(whole, 1 + 0.22 * cv2.GaussianBlur(beam, (0, 0), 20))
