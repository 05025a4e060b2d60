"""Cloths, towels and sponges."""

from __future__ import annotations

import numpy as np

from training.data.kitchen.painter import Painter, blob, rounded, smooth_noise
from training.data.kitchen.shapes.registry import look, pick, scaled


def _folds(p: Painter, mask: np.ndarray, amount: float) -> None:
    ridge = 1 - np.abs(smooth_noise(p.rows, p.cols, 45, p.rng)) * 2
    p.multiply(mask, (1 + amount * ridge).astype(np.float32))


@look("cloth", "dishcloth", "rag", height=10)
def _cloth(rng: np.random.Generator, name: str) -> Painter:
    r = rng.uniform(130, 160)
    p = Painter(2.7 * r, 2.3 * r, rng)
    cx, cy = p.width / 2, p.height / 2
    color = {
        "cloth": pick(rng, (200, 160, 60), (150, 120, 220)),
        "dishcloth": pick(rng, (90, 200, 235), (190, 220, 150)),
        "rag": pick(rng, (130, 140, 150), (150, 130, 110)),
    }[name]
    m = p.fill(blob(cx, cy, r * 1.15, r * 0.9, rng, 0.16), color)
    x, y = p.grid()
    weave = np.sign(np.sin(x / 6.5)) * np.sign(np.sin(y / 6.5))
    p.multiply(m, (1 + 0.08 * weave).astype(np.float32))
    _folds(p, m, 0.3)
    p.outline(m, 0.35, 6)
    return p


@look("towel", "tea towel", height=10)
def _towel(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(330, 400), rng.uniform(220, 270)
    p = Painter(w + 10, h + 10, rng)
    base = (
        pick(rng, (240, 242, 244), (225, 230, 235))
        if name == "tea towel"
        else pick(rng, (120, 90, 50), (90, 80, 150), (110, 130, 90))
    )
    corner = rounded(8, 8, w, h, 16, 8)
    m = p.fill(corner + rng.normal(0, 2.5, corner.shape), base)
    ink = pick(rng, (50, 50, 200), (180, 100, 40), (60, 140, 70))
    if name == "tea towel":
        for k in range(1, 6):
            p.paint(p.mask(rounded(k * w / 6 - 9, 0, k * w / 6 + 9, h + 10, 0)) * m, ink, 0.65)
        for k in range(1, 4):
            p.paint(p.mask(rounded(0, k * h / 4 - 9, w + 10, k * h / 4 + 9, 0)) * m, ink, 0.65)
    else:
        for y in (0.12, 0.84):
            p.paint(p.mask(rounded(0, h * y, w + 10, h * (y + 0.05), 0)) * m, scaled(base, 1.6))
        p.speckle(m, 4, 0.2)
    _folds(p, m, 0.16)
    p.line([[w * 0.5, 10], [w * 0.52, h - 2]], scaled(base, 0.6), 5, 0.5)
    p.outline(m, 0.3, 6)
    return p


@look("sponge", "scourer", spin=180, height=24)
def _sponge(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(180, 215), rng.uniform(125, 145)
    p = Painter(w + 10, h + 10, rng)
    soft = (
        pick(rng, (60, 215, 245), (70, 190, 250), (190, 150, 240))
        if name == "sponge"
        else pick(rng, (60, 120, 40), (50, 90, 60))
    )
    m = p.fill(rounded(5, 5, w, h, 18), soft)
    if name == "sponge":
        scrub = p.mask(rounded(0, h * 0.68, w + 10, h + 10, 4)) * m
        p.paint(scrub, pick(rng, (60, 120, 40)))
        p.speckle(scrub, 4, 0.4)
        for _ in range(34):
            x, y, r = rng.uniform(14, w - 10), rng.uniform(12, h * 0.62), rng.uniform(2, 6)
            p.fill(rounded(x - r, y - r, x + r, y + r, r), scaled(soft, 0.62))
    else:
        p.speckle(m, 4, 0.55)
    p.outline(m, 0.35, 7)
    return p
