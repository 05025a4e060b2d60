"""Plates, bowls, cups, glasses and jugs, seen obliquely from above."""

from __future__ import annotations

import numpy as np

from training.data.kitchen.painter import Painter, capsule, ellipse, rounded
from training.data.kitchen.shapes.registry import look, pick, scaled
from training.data.surfaces.looks import Color

GLAZES: tuple[Color, ...] = (
    (235, 238, 240),
    (150, 110, 60),
    (70, 90, 190),
    (150, 190, 120),
    (90, 170, 220),
    (70, 60, 60),
)
DRINKS: tuple[Color, ...] = ((30, 50, 90), (120, 165, 205), (40, 90, 170))


@look("plate", "saucer", "dish", height=12, flat=True)
def _plate(rng: np.random.Generator, name: str) -> Painter:
    r = {"plate": 190.0, "saucer": 130.0, "dish": 175.0}[name] * rng.uniform(0.9, 1.1)
    squash = rng.uniform(0.86, 1.0) if name != "dish" else rng.uniform(0.62, 0.74)
    p = Painter(2 * r + 10, 2 * r * squash + 10, rng)
    cx, cy = p.width / 2, p.height / 2
    color = pick(rng, (240, 242, 244), (225, 235, 240), (200, 175, 140), (150, 185, 205))
    m = p.fill(ellipse(cx, cy, r, r * squash), color)
    p.outline(m, 0.3, 8)
    accent = pick(rng, (160, 80, 30), (50, 60, 170), (80, 130, 60), (120, 120, 120))
    if rng.random() < 0.7:
        p.line(ellipse(cx, cy, r * 0.9, r * squash * 0.9), accent, rng.uniform(5, 14), closed=True)
    well = p.mask(ellipse(cx, cy, r * 0.66, r * squash * 0.66))
    _, y = p.grid()
    p.multiply(well, (0.93 + 0.09 * np.clip((y - cy) / r, -1, 1)).astype(np.float32))
    p.line(ellipse(cx, cy, r * 0.66, r * squash * 0.66), scaled(color, 0.8), 5, 0.8, True)
    if name == "dish":
        p.fill(ellipse(cx, cy, r * 0.6, r * squash * 0.58), scaled(accent, 0.9), 0.5)
    return p


@look("bowl", "salad bowl", height=55)
def _bowl(rng: np.random.Generator, name: str) -> Painter:
    big = name == "salad bowl"
    r = rng.uniform(175, 215) if big else rng.uniform(125, 160)
    squash = rng.uniform(0.62, 0.75)
    p = Painter(2 * r + 10, 2 * r * squash + r * 0.5 + 10, rng)
    cx, cy = p.width / 2, r * squash + 5
    color = (
        pick(rng, (120, 170, 205), (215, 225, 225), (90, 180, 110)) if big else pick(rng, *GLAZES)
    )
    m = p.fill(ellipse(cx, cy + r * 0.2, r * 0.9, r * (squash + 0.22)) * [1, 1], color)
    m = np.maximum(m, p.fill(ellipse(cx, cy, r, r * squash), color))
    p.cylinder(m, cx - r, cx + r)
    p.fill(ellipse(cx, cy, r * 0.99, r * squash * 0.97), scaled(color, 1.2))
    inner = p.fill(ellipse(cx, cy + 3, r * 0.9, r * squash * 0.86), scaled(color, 0.72))
    p.dome(inner, cx + r * 0.1, cy + r * 0.5, r * 1.25, r * 1.1, 0.4)
    if rng.random() < 0.5:
        food = pick(rng, (60, 190, 230), (60, 140, 70), (90, 140, 200), (200, 225, 235))
        f = p.fill(ellipse(cx, cy + r * 0.16, r * 0.68, r * squash * 0.58), food)
        p.speckle(f, 26, 0.3)
    return p


@look("cup", "mug", "coffee cup", spin=25, height=60)
def _cup(rng: np.random.Generator, name: str) -> Painter:
    w = rng.uniform(135, 165) if name != "coffee cup" else rng.uniform(115, 135)
    h = w * (rng.uniform(1.05, 1.2) if name == "mug" else rng.uniform(0.8, 0.92))
    p = Painter(w * 1.42 + 10, h + w * 0.35 + 10, rng)
    flip = rng.random() < 0.5
    cx, top = (w / 2 + 5 if flip else p.width - w / 2 - 5), w * 0.3 + 5
    color = pick(rng, *GLAZES, (60, 60, 200), (190, 140, 40))
    side = 1 if flip else -1
    p.line(
        ellipse(cx + side * w * 0.52, top + h * 0.42, w * 0.26, h * 0.28),
        scaled(color, 0.85),
        22,
        closed=True,
    )
    narrow = 0.8 if name != "mug" else 0.97
    body = np.concatenate(
        [
            [[cx - w / 2, top], [cx + w / 2, top]],
            ellipse(cx, top + h * 0.82, w / 2 * narrow, w * 0.22)[:21],
        ]
    )
    m = p.fill(body, color)
    if rng.random() < 0.6:
        accent = pick(rng, (40, 60, 200), (180, 120, 40), (60, 160, 90), (40, 190, 230))
        for k in range(int(rng.integers(1, 4))):
            p.fill(
                rounded(
                    cx - w / 2,
                    top + h * (0.34 + 0.16 * k),
                    cx + w / 2,
                    top + h * (0.41 + 0.16 * k),
                    2,
                ),
                accent,
            )
        p.alpha = np.maximum(m, p.alpha * (p.alpha > 0))
    p.cylinder(m, cx - w / 2, cx + w / 2)
    p.fill(ellipse(cx, top, w / 2, w * 0.28), scaled(color, 1.15))
    p.fill(ellipse(cx, top + 2, w * 0.43, w * 0.22), scaled(color, 0.55))
    p.fill(ellipse(cx, top + 10, w * 0.38, w * 0.16), pick(rng, *DRINKS))
    return p


@look("glass", "pint glass", spin=20, height=60)
def _glass(rng: np.random.Generator, name: str) -> Painter:
    w = rng.uniform(115, 140)
    h = w * (rng.uniform(1.5, 1.8) if name == "pint glass" else rng.uniform(1.0, 1.2))
    p = Painter(w + 10, h + w * 0.3 + 10, rng)
    cx, top = p.width / 2, w * 0.22 + 5
    tint: Color = pick(rng, (225, 215, 200), (215, 225, 215), (230, 200, 180))
    low = ellipse(cx, top + h * 0.88, w * 0.36, w * 0.16)[:21]
    m = p.fill(np.concatenate([[[cx - w / 2, top], [cx + w / 2, top]], low]), tint, 0.62)
    if rng.random() < 0.5:
        level = top + h * rng.uniform(0.3, 0.5)
        drink = pick(rng, (40, 130, 240), (235, 240, 240), (40, 60, 130))
        liquid = p.mask(
            np.concatenate(
                [
                    [[cx - w * 0.42, level], [cx + w * 0.42, level]],
                    ellipse(cx, top + h * 0.84, w * 0.33, w * 0.13)[:21],
                ]
            )
        )
        p.paint(liquid, drink, 0.8)
    p.line([[cx - w * 0.36, top + 14], [cx - w * 0.27, top + h * 0.86]], (255, 255, 255), 9, 0.8)
    p.line([[cx + w * 0.4, top + 14], [cx + w * 0.31, top + h * 0.86]], (110, 105, 100), 6, 0.8)
    p.fill(ellipse(cx, top, w / 2, w * 0.2), scaled(tint, 0.8), 0.6)
    p.line(ellipse(cx, top, w / 2 - 3, w * 0.2 - 2), (250, 250, 248), 6, 0.95, True)
    p.line(low, (120, 115, 110), 5, 0.8)
    p.alpha = np.where(m > 0.3, np.maximum(p.alpha, 0.72), p.alpha)
    return p


@look("jug", "measuring jug", spin=22, height=80)
def _jug(rng: np.random.Generator, name: str) -> Painter:
    w = rng.uniform(160, 190)
    h = w * rng.uniform(1.05, 1.25)
    p = Painter(w * 1.5 + 10, h + w * 0.4 + 10, rng)
    cx, top = w / 2 + 24, w * 0.32 + 5
    clear = name == "measuring jug"
    color: Color = (
        (225, 222, 212) if clear else pick(rng, (200, 120, 60), (240, 240, 238), (70, 130, 200))
    )
    p.line(
        ellipse(cx + w * 0.56, top + h * 0.42, w * 0.28, h * 0.32),
        scaled(color, 0.7),
        24,
        closed=True,
    )
    p.fill(
        np.array(
            [[cx - w / 2 - 20, top - 12], [cx - w * 0.3, top - 24], [cx - w * 0.36, top + 40]],
            float,
        ),
        color,
    )
    body = np.concatenate(
        [
            [[cx - w / 2, top], [cx + w / 2, top]],
            ellipse(cx, top + h * 0.84, w * 0.42, w * 0.2)[:21],
        ]
    )
    m = p.fill(body, color)
    p.cylinder(m, cx - w / 2, cx + w / 2)
    if clear:
        p.paint(
            p.mask(body * [1, 0.62] + [0, (top + h) * 0.4]) * m,
            pick(rng, (210, 225, 235), (60, 150, 230), (190, 190, 180)),
            0.7,
        )
        for k in range(6):
            y = top + h * (0.2 + 0.11 * k)
            p.line([[cx - 4, y], [cx + (34 if k % 2 else 54), y]], (40, 40, 200), 6)
    else:
        p.line(ellipse(cx, top + h * 0.5, w * 0.46, w * 0.14)[:21], scaled(color, 0.6), 12)
    p.fill(ellipse(cx, top, w / 2, w * 0.26), scaled(color, 1.12))
    p.fill(ellipse(cx, top + 3, w * 0.43, w * 0.2), scaled(color, 0.6))
    return p


@look("lid", "pan lid", height=22)
def _lid(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(125, 165)
    p = Painter(2 * r + 10, 2 * r + 10, rng)
    c = r + 5
    color = pick(rng, (190, 190, 188), (60, 60, 64), (60, 70, 180), (170, 150, 130))
    m = p.fill(ellipse(c, c, r, r), color)
    x, y = p.grid()
    angle = np.arctan2(y - c, x - c)
    p.multiply(m, (1 + 0.2 * np.cos(2 * angle - 1.2)).astype(np.float32))
    p.outline(m, 0.5, 10)
    if name == "pan lid":
        p.paint(p.mask(ellipse(c, c, r * 0.82, r * 0.82)), (200, 190, 180), 0.55)
        p.line(ellipse(c, c, r * 0.82, r * 0.82), (225, 225, 225), 8, closed=True)
    else:
        for f in (0.82, 0.6):
            p.line(ellipse(c, c, r * f, r * f), scaled(color, 0.75), 6, closed=True)
    knob = p.fill(ellipse(c, c, r * 0.2, r * 0.2), (30, 30, 32))
    p.dome(knob, c, c, r * 0.2, r * 0.2)
    p.grip = (c, c + r * 0.1)
    return p


@look("kettle", spin=25, height=110)
def _kettle(rng: np.random.Generator, name: str) -> Painter:
    w = rng.uniform(200, 235)
    h = w * rng.uniform(1.0, 1.15)
    p = Painter(w * 1.6 + 10, h + 20, rng)
    cx = w * 0.92
    color = pick(rng, (40, 40, 200), (50, 50, 54), (205, 203, 198), (235, 238, 238))
    p.fill(
        np.array(
            [
                [cx - w * 0.4, h * 0.5],
                [cx - w * 0.82, h * 0.22],
                [cx - w * 0.7, h * 0.16],
                [cx - w * 0.34, h * 0.34],
            ],
            float,
        ),
        scaled(color, 0.85),
    )
    p.line(
        [
            [cx + w * 0.2, h * 0.18],
            [cx + w * 0.56, h * 0.24],
            [cx + w * 0.58, h * 0.6],
            [cx + w * 0.42, h * 0.82],
        ],
        (35, 35, 38),
        34,
    )
    body = np.concatenate(
        [
            [[cx - w * 0.32, h * 0.16], [cx + w * 0.32, h * 0.16]],
            ellipse(cx, h * 0.84, w * 0.5, w * 0.16)[:21],
        ]
    )
    m = p.fill(body, color)
    p.cylinder(m, cx - w / 2, cx + w / 2, 0.6)
    p.fill(ellipse(cx, h * 0.17, w * 0.32, w * 0.12), (45, 45, 48))
    p.fill(ellipse(cx, h * 0.13, 18, 12), (25, 25, 28))
    p.fill(capsule((cx - w * 0.1, h * 0.45), (cx - w * 0.1, h * 0.8), 10, 10), (120, 110, 100))
    p.grip = (cx + w * 0.55, h * 0.5)
    return p
