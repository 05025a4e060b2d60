"""Pans, pots, trays, colanders and chopping boards."""

from __future__ import annotations

import numpy as np

from training.data.kitchen.painter import Painter, capsule, ellipse, rounded
from training.data.kitchen.shapes.registry import look, pick, scaled


def _contents(p: Painter, cx: float, cy: float, r: float, squash: float) -> None:
    rng = p.rng
    food = pick(rng, (40, 70, 190), (60, 180, 225), (70, 130, 80), (80, 120, 170), (190, 215, 225))
    m = p.fill(ellipse(cx, cy, r, r * squash), food)
    p.speckle(m, 24, 0.35)
    for _ in range(int(rng.integers(4, 12))):
        a, d = rng.uniform(0, 6.3), r * 0.8 * np.sqrt(rng.random())
        size = rng.uniform(8, 18)
        p.fill(
            ellipse(cx + d * np.cos(a), cy + d * squash * np.sin(a), size, size * 0.7),
            scaled(food, rng.uniform(0.6, 1.4)),
        )


@look("pan", "frying pan", "saucepan", height=35)
def _pan(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(125, 150) if name == "saucepan" else rng.uniform(150, 185)
    tail = rng.uniform(150, 200)
    p = Painter(2 * r + 10, 2 * r + tail + 10, rng)
    c = r + 5
    steel = name == "saucepan"
    color = (
        pick(rng, (185, 183, 178), (160, 160, 165))
        if steel
        else pick(rng, (45, 45, 48), (60, 55, 90), (70, 60, 55))
    )
    grip = p.fill(
        capsule((c, 2 * r - 6), (c, 2 * r + tail - 16), 15, 20),
        (30, 30, 33) if rng.random() < 0.7 else (60, 100, 150),
    )
    p.outline(grip, 0.5, 6)
    m = p.fill(ellipse(c, c, r, r), color)
    p.outline(m, 0.4, 6)
    p.line(
        ellipse(c, c, r * 0.96, r * 0.96), scaled(color, 1.7 if not steel else 1.25), 6, closed=True
    )
    depth = 0.78 if steel else 0.86
    inner = p.fill(ellipse(c, c, r * depth, r * depth), scaled(color, 0.62))
    p.dome(inner, c + r * 0.3, c + r * 0.3, r * 1.4, r * 1.4, 0.3)
    if rng.random() < 0.55:
        _contents(p, c, c, r * depth * 0.86, 1.0)
    p.grip = (c, 2 * r + tail * 0.55)
    return p


@look("pot", "pasta pot", spin=40, height=80)
def _pot(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(160, 200)
    squash, deep = (
        rng.uniform(0.72, 0.82),
        rng.uniform(60, 90) * (1.4 if name == "pasta pot" else 1),
    )
    p = Painter(2 * r + 110, 2 * r * squash + deep + 10, rng)
    cx, cy = p.width / 2, r * squash + 5
    color = (
        pick(rng, (195, 193, 188), (150, 148, 150))
        if name == "pasta pot"
        else pick(rng, (50, 60, 190), (170, 120, 50), (70, 120, 60), (60, 60, 64))
    )
    for side in (-1, 1):
        p.line(
            [
                [cx + side * r * 0.94, cy - 26],
                [cx + side * (r + 38), cy - 16],
                [cx + side * (r + 38), cy + 26],
                [cx + side * r * 0.94, cy + 34],
            ],
            (40, 40, 42),
            20,
        )
    body = np.concatenate(
        [[[cx - r, cy], [cx + r, cy]], ellipse(cx, cy + deep, r * 0.97, r * squash)[:21]]
    )
    m = p.fill(body, color)
    p.cylinder(m, cx - r, cx + r, 0.55)
    p.fill(ellipse(cx, cy, r, r * squash), scaled(color, 1.25))
    inner = p.fill(ellipse(cx, cy + 2, r * 0.92, r * squash * 0.91), scaled(color, 0.5))
    p.dome(inner, cx + r * 0.3, cy + r * 0.5, r * 1.5, r * 1.3, 0.3)
    _contents(p, cx, cy + 18, r * 0.78, squash * 0.9)
    p.grip = (cx + float(rng.choice([-1, 1])) * (r + 25), cy)
    return p


@look("tray", "baking tray", height=14, flat=True)
def _tray(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(400, 500), rng.uniform(270, 330)
    p = Painter(w + 10, h + 10, rng)
    dark = name == "baking tray"
    color = (
        pick(rng, (55, 55, 60), (80, 80, 84))
        if dark
        else pick(rng, (90, 150, 190), (60, 60, 170), (130, 160, 110))
    )
    m = p.fill(rounded(5, 5, w, h, 44), color)
    p.outline(m, 0.35, 8)
    p.line(rounded(10, 10, w - 5, h - 5, 40), scaled(color, 1.5), 7, closed=True)
    inner = p.fill(rounded(34, 34, w - 30, h - 30, 26), scaled(color, 0.85))
    p.speckle(inner, 60, 0.12)
    p.outline(inner, 0.4, 12)
    if not dark:
        for k in range(1, 5):
            p.line(
                [[34 + k * (w - 64) / 5, 40], [34 + k * (w - 64) / 5, h - 36]],
                scaled(color, 1.25),
                8,
                0.8,
            )
    else:
        for k in range(1, 9):
            p.line(
                [[34 + k * (w - 64) / 9, 44], [34 + k * (w - 64) / 9, h - 40]],
                scaled(color, 0.6),
                4,
                0.8,
            )
    return p


@look("colander", "sieve", height=50)
def _colander(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(145, 175)
    fine = name == "sieve"
    p = Painter(2 * r + (10 if fine else 90), 2 * r + (160 if fine else 10), rng)
    cx, cy = p.width / 2, r + 5
    color = pick(rng, (205, 203, 200), (90, 190, 120), (50, 60, 200), (230, 230, 228))
    if fine:
        p.fill(capsule((cx, 2 * r - 4), (cx, 2 * r + 140), 12, 15), scaled(color, 0.7))
        p.grip = (cx, 2 * r + 90)
    else:
        for side in (-1, 1):
            p.line(ellipse(cx + side * r, cy, 34, 40), scaled(color, 0.85), 14, closed=True)
    m = p.fill(ellipse(cx, cy, r, r), color)
    p.outline(m, 0.3, 8)
    inner = p.fill(ellipse(cx, cy, r * 0.88, r * 0.88), scaled(color, 0.82))
    p.dome(inner, cx + r * 0.3, cy + r * 0.4, r * 1.5, r * 1.5, 0.4)
    if fine:
        for k in np.arange(-0.8, 0.81, 0.16):
            span = r * 0.88 * np.sqrt(1 - k * k)
            p.line(
                [[cx + k * r * 0.88, cy - span], [cx + k * r * 0.88, cy + span]],
                (70, 70, 70),
                4,
                0.7,
            )
            p.line(
                [[cx - span, cy + k * r * 0.88], [cx + span, cy + k * r * 0.88]],
                (70, 70, 70),
                4,
                0.7,
            )
    else:
        for ring, count in ((0.24, 6), (0.46, 12), (0.68, 18)):
            for t in np.arange(count) * 2 * np.pi / count:
                p.fill(
                    ellipse(cx + ring * r * np.cos(t), cy + ring * r * np.sin(t), 10, 10, n=12),
                    (45, 42, 40),
                )
    return p


@look("chopping board", "cutting board", "wooden chopping board", height=8, flat=True)
def _chopping_board(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(420, 540), rng.uniform(280, 340)
    p = Painter(w + 10, h + 10, rng)
    wooden = name == "wooden chopping board" or (name == "chopping board" and rng.random() < 0.5)
    color = (
        pick(rng, (110, 165, 210), (85, 135, 190))
        if wooden
        else pick(rng, (235, 238, 236), (120, 190, 120), (200, 150, 80), (90, 110, 220))
    )
    m = p.fill(rounded(5, 5, w, h, 30), color)
    if wooden:
        p.wood(m, True, 0.2)
        for k in (0.33, 0.66):
            p.line([[8, h * k], [w - 3, h * k]], scaled(color, 0.72), 4, 0.6)
    else:
        p.speckle(m, 6, 0.05)
    p.outline(m, 0.35, 6)
    hole = p.mask(rounded(w * 0.4, 20, w * 0.6, 46, 13))
    p.multiply(hole, 0.3 * np.ones_like(hole))
    for _ in range(14):
        x, y, a = rng.uniform(60, w - 60), rng.uniform(80, h - 40), rng.uniform(0, 3.1)
        p.line([[x, y], [x + 60 * np.cos(a), y + 30 * np.sin(a)]], scaled(color, 0.8), 3, 0.5)
    return p
