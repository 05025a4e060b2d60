"""Vegetables, fruit and other food."""

from __future__ import annotations

import cv2
import numpy as np

from training.data.kitchen.painter import Mask, Painter, blob, capsule, ellipse, rounded
from training.data.kitchen.shapes.registry import look, pick, scaled
from training.data.surfaces.looks import Color


def _bent(length: float, bend: float, radii: list[float], n: int = 30) -> np.ndarray:
    """Outline of a long body around an arc; radii are given along its length."""
    t = np.linspace(0, 1, n)
    x = length * (t - 0.5)
    y = bend * ((2 * t - 1) ** 2 - 0.5)
    r = np.interp(t, np.linspace(0, 1, len(radii)), radii)
    heading = np.arctan2(np.gradient(y), np.gradient(x))
    normal = np.stack([-np.sin(heading), np.cos(heading)], 1)
    spine = np.stack([x, y], 1)
    return np.concatenate([spine + normal * r[:, None], (spine - normal * r[:, None])[::-1]])


def _long(
    rng: np.random.Generator, length: float, bend: float, radii: list[float], color: Color
) -> tuple[Painter, Mask, float, float]:
    shape = _bent(length, bend, radii)
    low, high = shape.min(0), shape.max(0)
    p = Painter(float(high[0] - low[0]) + 24, float(high[1] - low[1]) + 24, rng)
    cx, cy = 12 - low[0], 12 - low[1]
    m = p.fill(shape + np.array([cx, cy]), color)
    x, y = p.grid()
    t = np.clip((x - cx) / length, -0.5, 0.5)
    middle = cy + bend * ((2 * t) ** 2 - 0.5)
    across = (y - middle) / max(radii)
    p.multiply(m, (1.15 - 0.5 * np.abs(across + 0.25) ** 1.6).astype(np.float32))
    p.rgb += (m * 70 * np.exp(-(((across + 0.4) / 0.16) ** 2)))[..., None]
    return p, m, cx, cy


@look("carrot", height=24)
def _carrot(rng: np.random.Generator, name: str) -> Painter:
    length, r = rng.uniform(270, 340), rng.uniform(30, 38)
    p, m, cx, cy = _long(
        rng,
        length,
        rng.uniform(-14, 14),
        [r, r * 1.05, r * 0.8, r * 0.55, 6],
        pick(rng, (20, 120, 240), (30, 105, 230)),
    )
    for x in np.arange(-0.4, 0.4, 0.09):
        u = cx + length * (x + rng.uniform(-0.02, 0.02))
        p.paint(
            p.mask(capsule((u, cy - r * 0.5), (u + 4, cy + r * rng.uniform(-0.2, 0.5)), 2, 2)) * m,
            (15, 80, 180),
            0.8,
        )
    for a in (-0.5, 0.0, 0.5):
        p.fill(capsule((14, cy + a * 26), (8 + 26, cy + a * 12), 8, 9), pick(rng, (50, 150, 60)))
    return p


@look("cucumber", height=28)
def _cucumber(rng: np.random.Generator, name: str) -> Painter:
    length, r = rng.uniform(340, 420), rng.uniform(34, 42)
    p, m, cx, cy = _long(
        rng,
        length,
        rng.uniform(-24, 24),
        [r * 0.5, r, r, r, r, r * 0.5],
        pick(rng, (45, 105, 35), (60, 125, 50)),
    )
    p.speckle(m, 9, 0.28)
    for k in (-0.45, 0.05, 0.5):
        p.paint(
            p.mask(
                capsule((cx - length * 0.42, cy + k * r), (cx + length * 0.42, cy + k * r), 3, 3)
            )
            * m,
            (110, 190, 130),
            0.6,
        )
    return p


@look("aubergine", height=40)
def _aubergine(rng: np.random.Generator, name: str) -> Painter:
    length, r = rng.uniform(290, 350), rng.uniform(62, 76)
    p, _, cx, cy = _long(
        rng,
        length,
        rng.uniform(-20, 20),
        [r * 0.4, r * 0.6, r * 0.85, r, r * 0.95, r * 0.4],
        pick(rng, (85, 25, 70), (70, 20, 50), jitter=6),
    )
    cap = blob(cx - length * 0.44, cy, 40, r * 0.62, rng, 0.2)
    p.fill(np.clip(cap, 1, None), pick(rng, (60, 120, 60)))
    return p


@look("banana", height=26)
def _banana(rng: np.random.Generator, name: str) -> Painter:
    length, r = rng.uniform(290, 340), rng.uniform(32, 40)
    p, m, cx, cy = _long(
        rng,
        length,
        rng.uniform(70, 100),
        [9, r * 0.8, r, r, r * 0.75, 10],
        pick(rng, (60, 215, 245), (80, 225, 240)),
    )
    p.speckle(m, 40, 0.06)
    for _ in range(8):
        p.paint(
            p.mask(ellipse(cx + rng.uniform(-0.4, 0.4) * length, cy + rng.uniform(-60, 60), 7, 4))
            * m,
            (30, 70, 100),
            0.8,
        )
    x, _ = p.grid()
    tips = ((x < 30) | (x > p.width - 28)).astype(np.float32) * m
    p.paint(tips, (30, 60, 80))
    return p


def _round(
    rng: np.random.Generator, rx: float, ry: float, color: Color, rough: float
) -> tuple[Painter, Mask, float, float]:
    p = Painter(2 * rx * 1.12 + 14, 2 * ry * 1.12 + 14, rng)
    cx, cy = p.width / 2, p.height / 2
    m = p.fill(blob(cx, cy, rx, ry, rng, rough), color)
    return p, m, cx, cy


@look("tomato", "cherry tomato", height=40)
def _tomato(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(66, 82) if name == "cherry tomato" else rng.uniform(84, 104)
    p, m, cx, cy = _round(
        rng, r, r * rng.uniform(0.9, 1), pick(rng, (35, 35, 215), (30, 60, 225), jitter=8), 0.03
    )
    p.dome(m, cx, cy, r, r)
    for t in np.arange(5) * 1.257 + rng.uniform(0, 1):
        p.fill(
            capsule((cx, cy), (cx + r * 0.42 * np.cos(t), cy + r * 0.42 * np.sin(t)), 9, 3),
            (50, 130, 50),
        )
    return p


@look("onion", "red onion", height=40)
def _onion(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(84, 104)
    color = (
        pick(rng, (95, 40, 125), (110, 50, 140))
        if name == "red onion"
        else pick(rng, (70, 150, 210), (90, 170, 220))
    )
    p = Painter(2.5 * r + 60, 2.2 * r, rng)
    cx, cy = p.width / 2, p.height / 2
    tip = np.array(
        [
            [cx + r * 0.6, cy - r * 0.5],
            [cx + r * 1.35, cy - 8],
            [cx + r * 1.35, cy + 10],
            [cx + r * 0.6, cy + r * 0.5],
        ]
    )
    p.fill(tip, scaled(color, 0.8))
    m = p.fill(blob(cx, cy, r, r * 0.92, rng, 0.03), color)
    x, y = p.grid()
    p.multiply(
        m, (1 + 0.14 * np.sin((y - cy) * (1 + 0.6 * ((x - cx) / r) ** 2) / 7)).astype(np.float32)
    )
    p.dome(m, cx, cy, r, r, 0.5)
    for k in (-1, 0, 1):
        p.line([[cx - r * 0.95, cy + 4 * k], [cx - r * 1.16, cy + 20 * k]], (90, 130, 160), 5)
    return p


@look("potato", "sweet potato", height=38)
def _potato(rng: np.random.Generator, name: str) -> Painter:
    rx, ry = rng.uniform(100, 125), rng.uniform(72, 86)
    color = (
        pick(rng, (70, 90, 190), (60, 80, 165))
        if name == "sweet potato"
        else pick(rng, (90, 150, 190), (110, 165, 200))
    )
    p, m, cx, cy = _round(rng, rx * (1.2 if name == "sweet potato" else 1), ry, color, 0.09)
    p.speckle(m, 12, 0.16)
    p.dome(m, cx, cy, rx, ry, 0.5)
    for _ in range(10):
        p.paint(
            p.mask(
                ellipse(cx + rng.uniform(-0.8, 0.8) * rx, cy + rng.uniform(-0.7, 0.7) * ry, 7, 4)
            )
            * m,
            scaled(color, 0.55),
        )
    return p


@look("egg", height=36)
def _egg(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(62, 76)
    color = pick(rng, (150, 190, 225), (215, 228, 236), (170, 200, 235))
    p = Painter(2.7 * r + 10, 2 * r + 10, rng)
    cx, cy = p.width / 2, p.height / 2
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    shape = np.stack([cx + 1.28 * r * np.cos(t), cy + r * np.sin(t) * (1 - 0.2 * np.cos(t))], 1)
    m = p.fill(shape, color)
    p.speckle(m, 5, 0.03)
    p.dome(m, cx, cy, r * 1.3, r, 0.4)
    return p


@look("lemon", height=38)
def _lemon(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(72, 86)
    p = Painter(2.9 * r + 10, 2.1 * r + 10, rng)
    cx, cy = p.width / 2, p.height / 2
    color = pick(rng, (40, 225, 245), (50, 210, 240))
    m = np.maximum(
        p.fill(ellipse(cx, cy, r * 1.12, r * 0.95), color),
        p.fill(capsule((cx - r * 1.2, cy), (cx + r * 1.22, cy), 16, 20), color),
    )
    p.speckle(m, 7, 0.12)
    p.dome(m, cx, cy, r * 1.2, r, 0.45)
    p.fill(ellipse(cx + r * 1.3, cy, 9, 8), (40, 120, 110))
    return p


@look("mushroom", height=34)
def _mushroom(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(84, 100)
    p = Painter(2 * r + 10, 2 * r + 10, rng)
    cx = p.width / 2
    color = pick(rng, (190, 210, 225), (120, 150, 180), (90, 120, 150))
    stem = p.fill(capsule((cx, r * 0.9), (cx, 2 * r - 26), r * 0.3, r * 0.36), (200, 222, 235))
    p.cylinder(stem, cx - r * 0.4, cx + r * 0.4)
    t = np.linspace(np.pi, 2 * np.pi, 30)
    cap = np.concatenate(
        [
            np.stack([cx + r * np.cos(t), r + 6 + r * np.sin(t)], 1),
            ellipse(cx, r + 6, r, r * 0.2)[:21],
        ]
    )
    m = p.fill(cap, color)
    p.speckle(m, 16, 0.12)
    p.dome(m, cx, r, r, r, 0.5)
    p.line(ellipse(cx, r + 6, r * 0.96, r * 0.19)[:21], scaled(color, 0.5), 7)
    return p


@look("pepper", "bell pepper", height=44)
def _pepper(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(92, 112)
    color = (
        pick(rng, (40, 160, 50), (30, 140, 245))
        if name == "pepper"
        else pick(rng, (35, 35, 205), (40, 200, 245))
    )
    p = Painter(2 * r + 14, 2.3 * r + 24, rng)
    cx, cy = p.width / 2, 1.15 * r + 18
    m = np.zeros_like(p.alpha)
    for k, w in ((-0.44, 0.56), (0.44, 0.56), (0.0, 0.62)):
        lobe = p.fill(np.array([1, 1]) * ellipse(cx + k * r, cy, r * w, r * 1.05), color)
        p.outline(lobe, 0.45, 12)
        p.dome(lobe, cx + k * r, cy, r * w, r * 1.1, 0.4)
        m = np.maximum(m, lobe)
    p.fill(ellipse(cx, cy - r * 0.9, r * 0.3, r * 0.18), (50, 120, 60))
    p.fill(capsule((cx, cy - r * 0.95), (cx + rng.uniform(-14, 14), 20), 13, 10), (60, 140, 80))
    return p


@look("bread", "toast", "loaf", height=30)
def _bread(rng: np.random.Generator, name: str) -> Painter:
    if name == "loaf":
        rx, ry = rng.uniform(165, 195), rng.uniform(84, 100)
        p, m, cx, cy = _round(rng, rx, ry, pick(rng, (60, 115, 185), (50, 95, 160)), 0.03)
        p.speckle(m, 14, 0.2)
        p.dome(m, cx, cy, rx, ry)
        for k in (-0.55, -0.2, 0.15, 0.5):
            p.paint(
                p.mask(
                    capsule(
                        (cx + k * rx - 14, cy + ry * 0.5), (cx + k * rx + 22, cy - ry * 0.5), 9, 9
                    )
                )
                * m,
                (150, 200, 230),
                0.9,
            )
        return p
    w, h = rng.uniform(190, 220), rng.uniform(180, 210)
    p = Painter(w + 10, h + 10, rng)
    crust = pick(rng, (50, 105, 170), (40, 85, 140))
    top = np.concatenate(
        [rounded(10, h * 0.2, w - 5, h, 20), ellipse(w * 0.5, h * 0.22, w * 0.48, h * 0.2)]
    )
    slice_ = cv2.convexHull(top.astype(np.float32))[:, 0].astype(float)
    p.outline(p.fill(slice_, crust), 0.3, 4)
    centre = slice_.mean(0)
    crumb = (110, 170, 215) if name == "toast" else (190, 220, 235)
    m = p.fill((slice_ - centre) * 0.87 + centre, pick(rng, crumb))
    p.speckle(m, 8, 0.14)
    if name == "toast":
        p.multiply(m, 1 - 0.35 * p.mask(ellipse(w / 2, h * 0.55, w * 0.3, h * 0.3)))
    return p


@look("cheese", "mozzarella", height=34)
def _cheese(rng: np.random.Generator, name: str) -> Painter:
    if name == "mozzarella":
        r = rng.uniform(80, 95)
        p, m, cx, cy = _round(rng, r * 1.1, r, pick(rng, (232, 240, 244)), 0.05)
        p.dome(m, cx, cy, r * 1.1, r, 0.3)
        for _ in range(3):
            p.paint(
                p.mask(
                    capsule(
                        (cx - r * 0.6, cy + rng.uniform(-0.5, 0.5) * r),
                        (cx + r * 0.5, cy + rng.uniform(-0.5, 0.5) * r),
                        3,
                        3,
                    )
                )
                * m,
                (190, 205, 210),
                0.6,
            )
        return p
    w, h = rng.uniform(230, 270), rng.uniform(150, 180)
    p = Painter(w + 10, h + 10, rng)
    color = pick(rng, (60, 190, 245), (90, 205, 250))
    face = np.array([[6, h * 0.55], [w, h * 0.3], [w, h * 0.74], [6, h]], float)
    top = np.array([[6, h * 0.55], [w * 0.6, 6], [w, h * 0.3]], float)
    p.fill(top, scaled(color, 1.12))
    m = p.fill(face, scaled(color, 0.86))
    for _ in range(7):
        hole = (
            p.mask(
                ellipse(
                    rng.uniform(20, w - 20),
                    rng.uniform(h * 0.45, h * 0.9),
                    rng.uniform(8, 17),
                    rng.uniform(7, 13),
                )
            )
            * m
        )
        p.multiply(hole, 0.62 * np.ones_like(hole))
    p.outline((p.alpha > 0.5).astype(np.float32), 0.3, 4)
    return p
