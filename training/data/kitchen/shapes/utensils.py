"""Cutlery and cooking tools, seen from above; handles point down in their own frame."""

from __future__ import annotations

import numpy as np

from training.data.kitchen.painter import Mask, Painter, Polygon, capsule, ellipse, rounded
from training.data.kitchen.shapes.registry import look, pick, scaled
from training.data.surfaces.looks import Color

STEEL: Color = (200, 198, 192)
WOOD: tuple[Color, ...] = ((110, 160, 205), (80, 130, 185), (60, 100, 150))
PLASTIC: tuple[Color, ...] = (
    (40, 40, 45),
    (60, 60, 200),
    (180, 110, 30),
    (60, 150, 60),
    (40, 140, 230),
)


def _metal(p: Painter, mask: Mask) -> None:
    """Brushed steel: streaks along the handle, and a bright band."""
    p.wood(mask, along_x=False, amount=0.10)
    x, y = p.grid()
    p.multiply(
        mask, (1 + 0.22 * np.sin((x + 0.4 * y) / 23 + p.rng.uniform(0, 6))).astype(np.float32)
    )
    p.outline(mask, 0.45, 3)


def _handle(p: Painter, polygon: Polygon, color: Color, wooden: bool) -> None:
    m = p.fill(polygon, color)
    if wooden:
        p.wood(m, along_x=False)
    p.outline(m, 0.5, 4)


@look("spoon", "teaspoon", "wooden spoon")
def _spoon(rng: np.random.Generator, name: str) -> Painter:
    wooden = name == "wooden spoon"
    length = rng.uniform(250, 300) if name == "teaspoon" else rng.uniform(340, 420)
    w = rng.uniform(78, 98) * (0.85 if name == "teaspoon" else 1.0)
    p = Painter(w + 12, length + 12, rng)
    cx, ry = p.width / 2, w * rng.uniform(0.66, 0.8)
    color = pick(rng, *WOOD) if wooden else pick(rng, STEEL, (215, 214, 210), (120, 190, 215))
    stem = capsule((cx, ry * 1.6), (cx, length - 8), *((13, 17) if wooden else (9, 16)))
    _handle(p, stem, color, wooden)
    m = p.fill(ellipse(cx, ry + 6, w / 2, ry), color)
    if wooden:
        p.wood(m, along_x=False)
        p.outline(m, 0.5, 6)
    else:
        _metal(p, m)
    inner = p.mask(ellipse(cx, ry + 8, w * 0.38, ry * 0.8))
    _, y = p.grid()
    p.multiply(inner, (0.72 + 0.4 * np.clip((y - 6) / (2 * ry), 0, 1)).astype(np.float32))
    p.grip = (cx, length * 0.8)
    return p


@look("fork", "wooden fork")
def _fork(rng: np.random.Generator, name: str) -> Painter:
    wooden = name == "wooden fork"
    length, w = rng.uniform(330, 400), rng.uniform(72, 88)
    p = Painter(w + 12, length + 12, rng)
    cx = p.width / 2
    color = pick(rng, *WOOD) if wooden else pick(rng, STEEL)
    _handle(p, capsule((cx, length * 0.42), (cx, length - 8), 10, 16), color, wooden)
    m = p.fill(rounded(cx - w / 2, length * 0.25, cx + w / 2, length * 0.45, w * 0.45), color)
    for k in range(4):
        x = cx - w / 2 + 8 + k * (w - 16) / 3
        m = np.maximum(m, p.fill(capsule((x, 14), (x, length * 0.32), 6, 9), color))
    if wooden:
        p.wood(m, along_x=False)
    else:
        _metal(p, m)
    p.grip = (cx, length * 0.78)
    return p


@look("knife", "chef knife", "cleaver")
def _knife(rng: np.random.Generator, name: str) -> Painter:
    wide = {"knife": 46.0, "chef knife": 74.0, "cleaver": 128.0}[name] * rng.uniform(0.9, 1.12)
    length = rng.uniform(340, 440)
    p = Painter(max(wide, 60) + 14, length + 12, rng)
    x0, split = 10.0, length * rng.uniform(0.56, 0.64)
    color = pick(rng, (35, 35, 38), (40, 60, 95), (30, 30, 120), (70, 50, 40), jitter=6)
    spine = x0 + wide
    if name == "cleaver":
        blade = np.array([[x0, 8], [spine, 8], [spine, split], [x0, split]], float)
    else:
        t = np.linspace(0, np.pi / 2, 14)
        edge = np.stack([spine - wide * np.sin(t), 8 + split * 0.45 * (1 - np.cos(t))], 1)
        blade = np.concatenate([edge, [[x0, split], [spine, split]]])
    m = p.fill(blade, pick(rng, (215, 213, 208), (190, 190, 188)))
    _metal(p, m)
    p.multiply(p.mask(blade - (wide * 0.62, 0)) * m, np.float32(1.18) * np.ones_like(m))
    mid = spine - 22
    _handle(p, rounded(mid - 21, split - 4, mid + 23, length, 18), color, False)
    for f in (0.2, 0.5, 0.8):
        p.fill(ellipse(mid, split + f * (length - split), 6, 6, n=12), STEEL)
    p.grip = (mid, split + 0.5 * (length - split))
    return p


@look("spatula", "wooden spatula")
def _spatula(rng: np.random.Generator, name: str) -> Painter:
    wooden = name == "wooden spatula"
    length, w = rng.uniform(400, 470), rng.uniform(100, 130)
    p = Painter(w + 12, length + 12, rng)
    cx, head = p.width / 2, length * 0.36
    color = pick(rng, *WOOD) if wooden else pick(rng, *PLASTIC)
    _handle(
        p, capsule((cx, head), (cx, length - 10), 11, 17), color if wooden else (50, 50, 50), wooden
    )
    trapezoid = np.array(
        [
            [cx - w / 2, 10],
            [cx + w / 2, 10],
            [cx + w * 0.42, head],
            [cx + 14, head + 34],
            [cx - 14, head + 34],
            [cx - w * 0.42, head],
        ],
        float,
    )
    m = p.fill(trapezoid, color)
    if wooden:
        p.wood(m, along_x=False)
    else:
        for k in (-1, 0, 1):
            slot = p.mask(capsule((cx + k * w * 0.24, 40), (cx + k * w * 0.22, head - 20), 7, 7))
            p.multiply(slot, 0.35 * np.ones_like(slot))
    p.outline(m, 0.4, 5)
    p.grip = (cx, length * 0.8)
    return p


@look("ladle", height=26)
def _ladle(rng: np.random.Generator, name: str) -> Painter:
    length, r = rng.uniform(400, 460), rng.uniform(66, 80)
    p = Painter(2 * r + 12, length + 12, rng)
    cx = p.width / 2
    color = pick(rng, STEEL, (45, 45, 48), (40, 50, 180))
    _handle(p, capsule((cx, 2 * r - 8), (cx, length - 10), 10, 14), color, False)
    m = p.fill(ellipse(cx, r + 6, r, r), color)
    _metal(p, m)
    inner = p.fill(ellipse(cx, r + 6, r * 0.84, r * 0.84), scaled(color, 0.6))
    p.dome(inner, cx - r * 0.4, r + 30, r * 1.3, r * 1.3)
    p.grip = (cx, length * 0.82)
    return p


@look("whisk", height=24)
def _whisk(rng: np.random.Generator, name: str) -> Painter:
    length, w = rng.uniform(380, 440), rng.uniform(110, 135)
    p = Painter(w + 14, length + 12, rng)
    cx, head = p.width / 2, length * 0.56
    color = pick(rng, STEEL, (215, 215, 215))
    haze = p.mask(ellipse(cx, head * 0.46 + 6, w / 2, head * 0.46))
    p.paint(haze, scaled(color, 0.55), 0.62)
    t = np.linspace(0, np.pi, 24)
    for f in (1.0, 0.68, 0.34, 0.04):
        loop = np.stack([cx + f * w / 2 * np.sin(t), 10 + head * (0.5 - 0.5 * np.cos(t))], 1)
        for side in (loop, np.stack([2 * cx - loop[:, 0], loop[:, 1]], 1)):
            p.line(side, color, 7)
            p.line(side + np.array([3, 0]), scaled(color, 0.6), 3)
    _handle(p, capsule((cx, head), (cx, length - 12), 13, 18), pick(rng, *PLASTIC, STEEL), False)
    p.grip = (cx, length * 0.82)
    return p


@look("scissors")
def _scissors(rng: np.random.Generator, name: str) -> Painter:
    length, w = rng.uniform(300, 350), rng.uniform(150, 175)
    p = Painter(w + 12, length + 12, rng)
    cx, cy = p.width / 2, length * 0.56
    color = pick(rng, (40, 40, 210), (30, 130, 240), (190, 90, 30), (40, 40, 42))
    for side in (-1, 1):
        blade = np.array(
            [
                [cx + side * 8, cy + 24],
                [cx + side * 44, 10],
                [cx + side * 18, 30],
                [cx - side * 20, cy],
            ],
            float,
        )
        _metal(p, p.fill(blade, STEEL))
    for side in (-1, 1):
        ring = ellipse(cx + side * w * 0.25, length * 0.8, w * 0.2, length * 0.14, side * -18.0, 24)
        p.line(np.vstack([[cx - side * 6, cy + 8], ring[np.argmin(ring[:, 1])]]), color, 22)
        p.line(ring, color, 21, closed=True)
    p.fill(ellipse(cx, cy + 8, 8, 8), STEEL)
    p.grip = (cx, length * 0.76)
    return p


@look("peeler", "potato peeler")
def _peeler(rng: np.random.Generator, name: str) -> Painter:
    length, w = rng.uniform(250, 290), rng.uniform(90, 110)
    p = Painter(w + 12, length + 12, rng)
    cx, neck = p.width / 2, length * 0.38
    color = pick(rng, (60, 180, 60), (40, 190, 235), (200, 60, 160), (200, 160, 40))
    p.line(
        [[cx - w * 0.4, 24], [cx - w * 0.34, neck], [cx + w * 0.34, neck], [cx + w * 0.4, 24]],
        color,
        20,
    )
    m = p.fill(rounded(cx - w * 0.42, 10, cx + w * 0.42, 44, 6), STEEL)
    _metal(p, m)
    p.line([[cx - w * 0.3, 27], [cx + w * 0.3, 27]], (60, 60, 60), 6)
    _handle(p, capsule((cx, neck), (cx, length - 18), 20, 24), color, False)
    p.grip = (cx, length * 0.74)
    return p
