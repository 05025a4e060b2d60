"""What a class of objects looks like, and one object of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.surfaces.patterns import PATTERNS, TILE, Field, seamless_noise

Color = tuple[float, float, float]
"""Blue, green, red; 0 to 255."""

SKINS: tuple[Color, ...] = (
    (170, 195, 235), (140, 175, 225), (120, 155, 205), (85, 120, 170), (60, 88, 130), (45, 64, 98),
)  # fmt: skip
_RANGES = np.array([[34.0, 90.0], [6.0, 62.0], [0.0, 2 * np.pi]])
"""Of the colours of looks: lightness, chroma and hue in CIE L*a*b*."""
_STEPS = 1.2207440846057596 ** -np.arange(1.0, 4.0)
"""Of the three-dimensional golden sequence (Roberts 2018), whose points keep their distance."""
_CLASSES = 512
"""Class ids below this are spread evenly over colours; EPIC-KITCHENS and VISOR have 305."""


def generator(*keys: int | str) -> np.random.Generator:
    """Random numbers that depend on these keys and on nothing else."""
    text = "\x1f".join(f"{type(key).__name__[0]}{key}" for key in keys)
    return np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))


@dataclass(frozen=True)
class Look:
    """How a surface looks.

    Attributes:
        base: First colour, CIE L*a*b*: L 0 to 100, a and b about -80 to 80.
        accent: Second colour, which the pattern mixes in.
        pattern: Name in `PATTERNS`.
        scale: Picture pixels (of 1920x1080) per pattern pixel, on an object of 300 x 300 pixels.
        relief: How round it is, 0 to 1.
        gloss: Strength of highlights, 0 to 1.
        rough: Amplitude of fine unevenness, lightness.
        height: How far it rises over what is below, picture pixels; decides its shadow.
    """

    base: tuple[float, float, float]
    accent: tuple[float, float, float]
    pattern: str
    scale: float
    relief: float
    gloss: float
    rough: float
    height: float


@lru_cache(maxsize=8)
def _order(family: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Where a family of looks begins in the golden sequence, and which class takes which place."""
    rng = generator("family", family)
    return rng.permutation(_CLASSES), rng.uniform(0, 1, 3)


@lru_cache(maxsize=1024)
def class_look(class_id: int, family: int) -> Look:
    """The look of a class: the same wherever the class is seen.

    Args:
        class_id: Class id of EPIC-KITCHENS and VISOR.
        family: Families give the same class looks that have nothing to do with each other.
    """
    order, start = _order(family)
    place = int(order[class_id]) if 0 <= class_id < _CLASSES else abs(class_id)
    low, high = _RANGES.T
    lightness, chroma, hue = low + (high - low) * ((start + place * _STEPS) % 1)
    rng = generator("class", family, class_id)
    names = sorted(PATTERNS)
    away = 1 if lightness < 62 else -1
    return Look(
        base=_lab(lightness, chroma, hue),
        accent=_lab(
            lightness + away * rng.uniform(12, 40),
            chroma * rng.uniform(0.3, 1.2),
            hue + rng.choice([0.0, 0.5, -0.5, np.pi]) + rng.normal(0, 0.15),
        ),
        # Neighbours in the sequence lie far apart in colour, and neighbours in colour far apart in
        # the sequence: a shuffle of its own gives these different patterns, mostly.
        pattern=names[int(order[place % _CLASSES]) % len(names)],
        scale=float(np.exp(rng.uniform(np.log(0.45), np.log(1.3)))),
        relief=float(rng.uniform(0.15, 1.0)),
        gloss=float(max(0.0, rng.uniform(-0.6, 1.0))),
        rough=float(rng.uniform(0.5, 4.0)),
        height=float(rng.uniform(3, 26)),
    )


def instance_look(look: Look, class_id: int, name: str, family: int, *keys: int | str) -> Look:
    """One object of a class.

    Args:
        look: Look of the class.
        class_id: Its id.
        name: Name of the object; names of one class have accents of their own.
        family: Family of the looks.
        keys: What tells this object from others, for example seed and video.
    """
    named = generator("name", family, class_id, name)
    own = generator("instance", *keys, class_id, name)
    accent = np.array(look.accent) + named.normal(0, 7, 3) + own.normal(0, 3, 3)
    base = np.array(look.base) + own.normal(0, (3.5, 3.5, 3.5))
    return replace(
        look,
        base=_triple(base),
        accent=_triple(accent),
        scale=look.scale * float(np.exp(own.normal(0, 0.12))),
        relief=float(np.clip(look.relief + own.normal(0, 0.1), 0, 1)),
        gloss=float(np.clip(look.gloss * own.uniform(0.7, 1.3), 0, 1)),
        height=look.height * float(own.uniform(0.8, 1.2)),
    )


def skin_look(person: np.random.Generator) -> Look:
    """The skin of a person."""
    tone = np.asarray(SKINS[int(person.integers(len(SKINS)))], np.float32)
    b, g, r = np.clip(tone * person.uniform(0.9, 1.08) + person.normal(0, 4, 3), 0, 255)
    base = np.array(_to_lab((float(b), float(g), float(r))))
    flush = np.array([-0.12 * base[0], person.uniform(3, 7), person.uniform(-2, 2)])
    return Look(
        base=_triple(base),
        accent=_triple(base + flush),
        pattern="clouds",
        scale=float(person.uniform(0.6, 0.9)),
        relief=0.8,
        gloss=float(person.uniform(0.05, 0.2)),
        rough=float(person.uniform(1.0, 2.5)),
        height=30.0,
    )


@dataclass(frozen=True)
class Surface:
    """A look as a picture that continues seamlessly in both directions."""

    look: Look
    tile: NDArray[np.float32]
    """[TILE, TILE, 3], BGR, 0 to 255."""
    angle: float
    """How the pattern lies on the object, radians."""
    shift: tuple[float, float]
    """Where on the pattern the object's middle lies, pattern pixels."""


def surface(look: Look, rng: np.random.Generator) -> Surface:
    """Draw the surface of one object."""
    mix: Field = PATTERNS[look.pattern](rng)
    base, accent = (np.asarray(c, np.float32) for c in (look.base, look.accent))
    lab = base + mix[..., None] * (accent - base)
    lab[..., 0] += look.rough * (seamless_noise(64, 64, rng) + seamless_noise(8, 8, rng))
    tile = cv2.cvtColor(lab, cv2.COLOR_LAB2BGR) * np.float32(255)
    angle, x, y = rng.uniform(0, (2 * np.pi, TILE, TILE))
    return Surface(look, np.clip(tile, 3, 252), float(angle), (float(x), float(y)))


def _lab(lightness: float, chroma: float, hue: float) -> tuple[float, float, float]:
    lightness = float(np.clip(lightness, 12, 95))
    return lightness, float(chroma * np.cos(hue)), float(chroma * np.sin(hue))


def _to_lab(color: Color) -> tuple[float, float, float]:
    pixel = np.asarray(color, np.float32).reshape(1, 1, 3) / 255
    return _triple(cv2.cvtColor(pixel, cv2.COLOR_BGR2LAB)[0, 0])


def _triple(values: NDArray[np.floating]) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return float(np.clip(first, 8, 97)), second, third
