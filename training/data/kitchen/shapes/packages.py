"""Bottles, jars, cans, cartons and boxes, standing on the worktop."""

from __future__ import annotations

import numpy as np

from training.data.kitchen.painter import Mask, Painter, ellipse, rounded
from training.data.kitchen.shapes.registry import look, pick, scaled
from training.data.surfaces.looks import Color

INKS: tuple[Color, ...] = ((40, 40, 40), (40, 40, 190), (170, 90, 30), (40, 130, 50))


def print_label(
    p: Painter, x0: float, y0: float, x1: float, y1: float, paper: Color, clip: Mask
) -> None:
    """A printed label: paper, a coloured block and lines that stand for text."""
    rng = p.rng
    p.paint(p.mask(rounded(x0, y0, x1, y1, 5)) * clip, paper)
    ink = pick(rng, *INKS)
    height = y1 - y0
    p.paint(p.mask(rounded(x0 + 6, y0 + height * 0.08, x1 - 6, y0 + height * 0.36, 8)) * clip, ink)
    for k in range(4):
        y = y0 + height * (0.48 + 0.12 * k)
        end = x0 + (x1 - x0) * rng.uniform(0.5, 0.9)
        p.paint(p.mask(rounded(x0 + 10, y, end, y + 5, 1)) * clip, scaled(ink, 0.8))


@look("bottle", "oil bottle", "water bottle", spin=25, height=90)
def _bottle(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(105, 130), rng.uniform(330, 390)
    p = Painter(w + 10, h + 10, rng)
    cx = p.width / 2
    color = {
        "bottle": pick(rng, (40, 80, 30), (30, 50, 90), (50, 60, 50)),
        "oil bottle": pick(rng, (50, 175, 205), (60, 190, 190)),
        "water bottle": pick(rng, (220, 180, 120), (215, 200, 160)),
    }[name]
    neck, shoulder = w * 0.17, h * 0.34
    side = [[cx - neck, h * 0.1], [cx - neck, h * 0.2], [cx - w / 2, shoulder]]
    base = ellipse(cx, h - w * 0.14, w / 2, w * 0.14)[:21]
    body = np.concatenate([[[2 * cx - x, y] for x, y in side[::1]], base, side[::-1]])
    m = p.fill(body, color)
    p.cylinder(m, cx - w / 2, cx + w / 2, 0.6)
    print_label(
        p,
        cx - w / 2,
        h * 0.46,
        cx + w / 2,
        h * 0.78,
        pick(rng, (235, 240, 240), (170, 215, 235), (90, 190, 230)),
        m,
    )
    p.line([[cx - w * 0.3, shoulder + 20], [cx - w * 0.3, h * 0.9]], (255, 255, 255), 9, 0.45)
    cap = p.fill(
        rounded(cx - neck * 1.35, 5, cx + neck * 1.35, h * 0.12, 8),
        pick(rng, (40, 40, 200), (200, 110, 30), (35, 35, 38), (60, 150, 60)),
    )
    p.outline(cap, 0.4, 5)
    p.grip = (cx, h * 0.62)
    return p


@look("washing liquid", "detergent", spin=25, height=90)
def _washing_liquid(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(125, 150), rng.uniform(300, 350)
    p = Painter(w + 10, h + 10, rng)
    cx = p.width / 2
    color = (
        pick(rng, (70, 200, 60), (60, 220, 230), (210, 140, 30))
        if name == "washing liquid"
        else pick(rng, (190, 90, 190), (235, 235, 235), (60, 120, 240))
    )
    waist = [
        [cx - w * 0.2, h * 0.14],
        [cx - w * 0.46, h * 0.28],
        [cx - w * 0.34, h * 0.5],
        [cx - w * 0.5, h * 0.72],
        [cx - w * 0.46, h],
    ]
    m = p.fill(np.array([[2 * cx - x, y] for x, y in waist] + waist[::-1]), color)
    p.cylinder(m, cx - w / 2, cx + w / 2, 0.5)
    badge = p.fill(ellipse(cx, h * 0.66, w * 0.32, h * 0.13), (245, 245, 245))
    p.fill(ellipse(cx, h * 0.66, w * 0.22, h * 0.08), pick(rng, (40, 40, 210), (200, 80, 30)))
    p.outline(badge, 0.2, 3)
    p.fill(rounded(cx - w * 0.24, h * 0.07, cx + w * 0.24, h * 0.16, 6), (240, 240, 240))
    p.fill(
        rounded(cx - w * 0.1, 5, cx + w * 0.1, h * 0.09, 6), pick(rng, (60, 60, 220), (60, 180, 60))
    )
    p.grip = (cx, h * 0.5)
    return p


@look("jar", "honey jar", spin=22, height=65)
def _jar(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(135, 165), rng.uniform(190, 230)
    p = Painter(w + 10, h + 14, rng)
    cx = p.width / 2
    filling = (
        pick(rng, (20, 120, 225), (30, 150, 235))
        if name == "honey jar"
        else pick(rng, (40, 40, 140), (60, 110, 70), (40, 70, 110), (200, 215, 225))
    )
    body = np.concatenate(
        [
            [
                [cx - w / 2, h * 0.28],
                [cx - w * 0.42, h * 0.2],
                [cx + w * 0.42, h * 0.2],
                [cx + w / 2, h * 0.28],
            ],
            ellipse(cx, h * 0.9, w / 2, w * 0.13)[:21],
        ]
    )
    m = p.fill(body, filling)
    p.cylinder(m, cx - w / 2, cx + w / 2)
    print_label(
        p,
        cx - w * 0.5,
        h * 0.46,
        cx + w * 0.5,
        h * 0.8,
        pick(rng, (235, 240, 245), (180, 225, 240)),
        m,
    )
    cap = p.fill(
        np.concatenate(
            [
                [[cx - w * 0.46, h * 0.12]],
                [[cx + w * 0.46, h * 0.12]],
                ellipse(cx, h * 0.22, w * 0.46, w * 0.1)[:21],
            ]
        ),
        pick(rng, (50, 190, 225), (60, 60, 200), (200, 200, 200)),
    )
    p.cylinder(cap, cx - w / 2, cx + w / 2)
    p.fill(
        ellipse(cx, h * 0.12, w * 0.46, w * 0.13),
        pick(rng, (90, 205, 235), (80, 80, 215), (215, 215, 215)),
    )
    return p


@look("can", "tin", spin=22, height=55)
def _can(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(120, 145), rng.uniform(160, 200)
    p = Painter(w + 10, h + w * 0.3 + 10, rng)
    cx, top = p.width / 2, w * 0.2 + 5
    color = pick(rng, (40, 40, 205), (50, 150, 60), (200, 130, 40), (40, 190, 235))
    m = p.fill(
        np.concatenate(
            [
                [[cx - w / 2, top], [cx + w / 2, top]],
                ellipse(cx, top + h * 0.88, w / 2, w * 0.17)[:21],
            ]
        ),
        color,
    )
    p.paint(
        p.mask(rounded(cx - w / 2, top + h * 0.4, cx + w / 2, top + h * 0.62, 1)) * m,
        (235, 240, 240),
    )
    p.paint(
        p.mask(ellipse(cx, top + h * 0.52, w * 0.22, h * 0.16)) * m,
        pick(rng, (40, 60, 220), (70, 190, 90), (40, 140, 240)),
    )
    p.cylinder(m, cx - w / 2, cx + w / 2, 0.6)
    p.fill(ellipse(cx, top, w / 2, w * 0.19), (215, 213, 210))
    for f in (0.86, 0.6):
        p.line(ellipse(cx, top, w / 2 * f, w * 0.19 * f), (150, 148, 146), 4, closed=True)
    if name == "tin":
        p.fill(ellipse(cx, top + 2, w * 0.4, w * 0.14), (60, 60, 70))
    else:
        p.fill(ellipse(cx, top + 4, 16, 7), (120, 118, 116))
    return p


def _front_and_top(p: Painter, w: float, h: float, lift: float, color: Color) -> Mask:
    slant = w * 0.12
    lid = np.array([[5 + slant, 5], [w - slant * 0.2, 5], [w, lift], [5, lift]], float)
    p.outline(p.fill(lid, scaled(color, 1.2)), 0.2, 4)
    m = p.fill(rounded(5, lift, w, h, 4), color)
    p.outline(m, 0.3, 6)
    return m


@look("milk", "soy milk", spin=25, height=90)
def _milk(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(135, 160), rng.uniform(290, 340)
    p = Painter(w + 10, h + 10, rng)
    accent = (
        pick(rng, (200, 110, 30), (190, 60, 60))
        if name == "milk"
        else pick(rng, (60, 170, 60), (60, 140, 120))
    )
    m = p.fill(
        np.array(
            [
                [w * 0.16, h * 0.1],
                [w * 0.88, h * 0.1],
                [w, h * 0.24],
                [w, h],
                [6, h],
                [6, h * 0.24],
            ],
            float,
        ),
        (242, 244, 244),
    )
    p.paint(p.mask(rounded(6, h * 0.24, w, h * 0.36, 2)) * m, accent)
    p.paint(
        p.mask(
            np.concatenate(
                [
                    [[6, h * 0.72]],
                    np.stack(
                        [np.linspace(6, w, 12), h * (0.72 + 0.06 * np.sin(np.linspace(0, 5, 12)))],
                        1,
                    ),
                    [[w, h], [6, h]],
                ]
            )
        )
        * m,
        accent,
    )
    p.paint(p.mask(ellipse(w / 2, h * 0.54, w * 0.3, h * 0.09)) * m, scaled(accent, 0.7))
    p.paint(p.mask(ellipse(w * 0.44, h * 0.53, w * 0.12, h * 0.04)) * m, (245, 245, 245))
    p.line([[6, h * 0.24], [w, h * 0.24]], (190, 190, 190), 4)
    p.outline(m, 0.3, 7)
    cap = p.fill(ellipse(w / 2, h * 0.1, w * 0.2, h * 0.06), accent)
    p.dome(cap, w / 2, h * 0.1, w * 0.2, h * 0.06)
    p.grip = (w * 0.5, h * 0.6)
    return p


@look("box", "cereal box", "lunch box", spin=30, height=60)
def _box(rng: np.random.Generator, name: str) -> Painter:
    if name == "lunch box":
        w, h = rng.uniform(270, 320), rng.uniform(180, 210)
    else:
        w, h = (
            rng.uniform(190, 230),
            rng.uniform(280, 330) if name == "cereal box" else rng.uniform(200, 240),
        )
    p = Painter(w + 10, h + 10, rng)
    if name == "box":
        color = pick(rng, (90, 140, 185), (110, 160, 200))
    elif name == "cereal box":
        color = pick(rng, (30, 190, 240), (40, 50, 220), (200, 80, 40), (60, 170, 60))
    else:
        color = pick(rng, (190, 130, 60), (130, 90, 210), (130, 200, 90))
    lift = h * 0.16
    m = _front_and_top(p, w, h, lift, color)
    if name == "cereal box":
        p.paint(p.mask(ellipse(w / 2, h * 0.66, w * 0.34, h * 0.17)) * m, (240, 242, 244))
        f = p.mask(ellipse(w / 2, h * 0.62, w * 0.27, h * 0.1)) * m
        p.paint(f, (50, 130, 195))
        p.speckle(f, 12, 0.5)
        p.paint(
            p.mask(rounded(w * 0.12, h * 0.24, w * 0.88, h * 0.4, 12)) * m,
            pick(rng, (240, 240, 240), (40, 40, 200)),
        )
    elif name == "box":
        p.wood(m, True, 0.05)
        p.paint(p.mask(rounded(w * 0.42, lift, w * 0.58, h, 1)) * m, (150, 190, 215))
        p.paint(p.mask(rounded(w * 0.14, h * 0.62, w * 0.34, h * 0.86, 3)) * m, (60, 80, 110))
    else:
        p.line([[5, lift + 16], [w, lift + 16]], scaled(color, 0.6), 7)
        for x in (0.22, 0.72):
            p.fill(rounded(w * x, lift - 4, w * (x + 0.08), lift + 40, 5), scaled(color, 1.5))
    return p


@look("container", "food container", spin=30, height=40)
def _container(rng: np.random.Generator, name: str) -> Painter:
    w, h = rng.uniform(240, 290), rng.uniform(175, 215)
    p = Painter(w + 10, h + 10, rng)
    rim = pick(rng, (190, 110, 40), (60, 170, 70), (70, 70, 200), (200, 190, 60))
    m = p.fill(rounded(5, 5, w, h, 34), rim)
    p.outline(m, 0.3, 6)
    food = (
        pick(rng, (80, 170, 220), (70, 140, 90), (60, 80, 180), (200, 220, 230))
        if name == "food container"
        else (222, 220, 214)
    )
    f = p.fill(rounded(24, 24, w - 20, h - 20, 22), food)
    if name == "food container":
        p.speckle(f, 22, 0.4)
    else:
        p.line([[w * 0.2, h * 0.3], [w * 0.5, h * 0.24]], (250, 250, 250), 9, 0.8)
        p.line([[w * 0.3, h * 0.7], [w * 0.76, h * 0.64]], (180, 178, 172), 6, 0.8)
    p.outline(f, 0.45, 10)
    return p
