"""Left and right hand as sprites: one per hand and degree of grip, fingers pointing up.

The origin of a hand sprite is the point that it grips, between fingertips and thumb.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from training.data.kitchen.painter import (
    RESOLUTION,
    Mask,
    Painter,
    Polygon,
    capsule,
    rounded,
)
from training.data.kitchen.shapes.registry import Sprite, Stance, outline_of, pick, scaled
from training.data.surfaces.compose import cover
from training.data.surfaces.looks import SKINS, Color, Surface

GRIPS = (0.0, 0.35, 0.7, 1.0)
"""Degrees of grip for which sprites are drawn: 0 = stretched, 1 = closed around a thing."""
_ARM = 1500.0
_SLEEVES: tuple[Color, ...] = (
    (60, 60, 60), (150, 90, 50), (60, 60, 150), (90, 120, 70), (210, 205, 200), (110, 70, 110),
)  # fmt: skip


@dataclass(frozen=True)
class Fabric:
    """Skin or cloth with a pattern; see ``training.data.surfaces.compose.cover``."""

    surface: Surface
    share: float
    """How much of the colour below it takes away, 0 to 1."""


@dataclass(frozen=True)
class Person:
    """What the wearer's hands look like; without fabrics, skin and cloth have a colour each."""

    skin: Color
    size: float
    sleeve: Color | None
    sleeve_start: float
    glove: Color | None
    watch: bool
    seed: int
    texture: Fabric | None = None
    sleeve_cloth: Fabric | None = None
    glove_cloth: Fabric | None = None


def draw_person(rng: np.random.Generator) -> Person:
    """Draw a random wearer: skin tone, hand size, sleeves, rarely gloves or a watch."""
    return Person(
        skin=pick(rng, *SKINS, jitter=8),
        size=float(rng.uniform(1.15, 1.4)),
        sleeve=pick(rng, *_SLEEVES) if rng.random() < 0.6 else None,
        sleeve_start=float(rng.uniform(330, 620)),
        glove=pick(rng, (60, 200, 240), (200, 140, 60), (160, 130, 230))
        if rng.random() < 0.06
        else None,
        watch=bool(rng.random() < 0.2),
        seed=int(rng.integers(2**31)),
    )


def _fingers(grip: float) -> list[tuple[Polygon, Polygon, tuple[float, float]]]:
    """Both phalanges and the nail position of each finger, right hand, y up is negative."""
    parts = []
    for x, length, radius in ((-46, 118, 20), (-15, 136, 21), (16, 128, 20), (45, 100, 18)):
        base = np.array([x, 92.0])
        knuckle = np.array([x * 1.12, 92 - length * 0.52])
        reach = length * (0.52 - 0.34 * grip)
        tip = np.array([x * (1.12 - 0.35 * grip), knuckle[1] - reach])
        first = capsule(base, knuckle, radius * 1.1, radius)
        second = capsule(knuckle, tip, radius, radius * 0.82)
        parts.append((first, second, (float(tip[0]), float(tip[1]))))
    return parts


def draw_hand(person: Person, right: bool, grip: float) -> Sprite:
    """Draw one hand with its forearm.

    Args:
        person: Appearance.
        right: Right hand (thumb on its left, as a wearer sees the back of it) or left hand.
        grip: 0 stretched to 1 closed.
    """
    rng = np.random.default_rng((person.seed, int(right)))
    s, half = person.size, 190.0 * person.size
    above = 110.0 * s
    p = Painter(2 * half, above + _ARM, rng)
    side = 1 if right else -1

    def at(polygon: Polygon) -> Polygon:
        return polygon * (side * s, s) + (half, above)

    color = person.glove or person.skin
    low = _ARM / s
    arm = p.fill(at(capsule((0, 235), (0, low), 50, 92)), color)
    palm_shape = rounded(-70, 78, 68, 238, 46)
    palm_shape[:, 0] *= np.interp(palm_shape[:, 1], [78, 238], [1.0, 0.8])
    bent = 14 * grip
    thumb = [
        capsule((-52, 196), (-104 + bent, 118), 30, 25),
        capsule((-104 + bent, 118), (-108 + 76 * grip, 42 + 6 * grip), 25, 19),
    ]
    pieces = [palm_shape, *thumb]
    for first, second, _ in _fingers(grip):
        pieces += [first, second]
    skin = arm
    for piece in pieces:
        m = p.fill(at(piece), color)
        blurred = cv2.blur(m, (2 * round(6 * s * RESOLUTION) + 1,) * 2)
        p.multiply(m, 0.62 + 0.42 * np.clip(blurred * 1.25 - 0.2, 0, 1))
        skin = np.maximum(skin, m)
    p.cylinder(arm * (1 - p.mask(*[at(q) for q in pieces])), half - 95 * s, half + 85 * s, 0.5)
    p.speckle(skin, 30, 0.05)
    p.speckle(skin, 5, 0.03)
    _cover(p, skin, person.texture if person.glove is None else person.glove_cloth)
    _details(p, at, person, grip, skin)
    return _sprite(p, half, above)


def _cover(p: Painter, mask: Mask, fabric: Fabric | None) -> None:
    if fabric is not None:
        cover(p.rgb, mask, fabric.surface, RESOLUTION, fabric.share)


def _details(
    p: Painter, at: Callable[[Polygon], Polygon], person: Person, grip: float, skin: Mask
) -> None:
    """Knuckles, nails, sleeve and watch."""
    for bone in (-46, -15, 16, 45):
        knuckle = p.mask(at(capsule((bone - 9, 98), (bone + 9, 98), 7, 7)))
        p.multiply(knuckle, 0.9 * np.ones_like(knuckle))
    if person.glove is None:
        for _, _, (tip_x, tip_y) in _fingers(grip):
            p.paint(
                p.mask(at(capsule((tip_x, tip_y + 3), (tip_x, tip_y - 5), 9, 9))) * skin,
                scaled(person.skin, 1.16),
                0.8,
            )
    if person.sleeve is not None:
        start = person.sleeve_start
        cloth = p.fill(at(capsule((0, start + 60), (0, _ARM), 84, 122)), person.sleeve)
        x, y = p.grid()
        p.multiply(cloth, (1 + 0.14 * np.sin(y / 26 + np.sin(x / 40))).astype(np.float32))
        _cover(p, cloth, person.sleeve_cloth)
        p.outline(cloth, 0.5, 16)
    if person.watch and p.rng.random() < 0.6:
        p.fill(at(rounded(-54, 262, 54, 292, 8)), (45, 45, 50))
        p.fill(at(rounded(-26, 250, 26, 304, 18)), (190, 190, 195))


def _sprite(p: Painter, half: float, above: float) -> Sprite:
    outline = outline_of(p, np.array([half, above]), 1 / RESOLUTION)
    return Sprite(
        p.rgb, p.alpha, outline, (0.0, 0.0), half, Stance(0, 40), (half, above), 1 / RESOLUTION
    )
