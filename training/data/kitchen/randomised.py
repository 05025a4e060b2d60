"""Domain randomisation: what a network could cling to in drawn pictures is another in every video.

Colours and surfaces of things and worktop, clutter that nobody labelled, skin, sleeves and gloves
are drawn anew; what happens stays that of the plain kitchen (Tobin et al., "Domain randomization
for transferring deep neural networks from simulation to the real world", 2017).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.hands import Fabric, Person
from training.data.kitchen.painter import RESOLUTION
from training.data.kitchen.shapes import Sprite
from training.data.kitchen.worktop import scatter
from training.data.surfaces.compose import Light, cover
from training.data.surfaces.looks import SKINS, Surface, class_look, skin_look, surface

_KINDS = 1 << 20
_HAND_SIZES = (0.95, 1.65)
"""Range of hand sizes; plain kitchens have 1.15 to 1.4."""
_SLEEVED, _GLOVED = 0.75, 0.2
"""Shares of the wearers."""
_LAYERS = 4
"""Fewer layers of clutter than this lie on a worktop."""

Image = NDArray[np.float32]


def random_surface(rng: np.random.Generator) -> Surface:
    """A surface of any colour and pattern."""
    kind, family = (int(n) for n in rng.integers(_KINDS, size=2))
    look = class_look(_KINDS + kind, family)
    return surface(replace(look, scale=look.scale * float(np.exp(rng.normal(0, 0.5)))), rng)


def random_sprite(sprite: Sprite, rng: np.random.Generator) -> Sprite:
    """The same thing, between its own colours and any others."""
    rgb = sprite.rgb.copy()
    cover(rgb, sprite.alpha, random_surface(rng), RESOLUTION, _share(rng))
    return replace(sprite, rgb=rgb)


def random_worktop(worktop: Image, rng: np.random.Generator) -> Image:
    """The same kitchen on other materials, with things lying around, in layers."""
    worktop = worktop.copy()
    everywhere = np.ones(worktop.shape[:2], np.float32)
    cover(worktop, everywhere, random_surface(rng), RESOLUTION, _share(rng))
    angle = rng.uniform(0, 2 * np.pi)
    light = Light(
        float(np.cos(angle)),
        float(np.sin(angle)),
        float(rng.uniform(0.4, 1.0)),
        float(rng.uniform(0.1, 0.6)),
    )
    for _ in range(int(rng.integers(_LAYERS))):
        scatter(worktop, light, lambda *_: random_surface(rng), rng)
    return worktop


def random_person(person: Person, rng: np.random.Generator) -> Person:
    """A wearer with any skin, mostly with sleeves, sometimes with gloves, of any cloth."""
    skin = np.asarray(SKINS[int(rng.integers(len(SKINS)))]) * rng.uniform(0.8, 1.15)
    b, g, r = np.clip(skin + rng.normal(0, 8, 3), 8, 250)
    cloths = [Fabric(random_surface(rng), float(rng.uniform(0.6, 1.0))) for _ in range(2)]
    return replace(
        person,
        skin=(float(b), float(g), float(r)),
        size=float(rng.uniform(*_HAND_SIZES)),
        sleeve=(128.0, 128.0, 128.0) if rng.random() < _SLEEVED else None,
        sleeve_start=float(rng.uniform(200, 560)),
        glove=(150.0, 150.0, 150.0) if rng.random() < _GLOVED else None,
        texture=Fabric(surface(skin_look(rng), rng), 0.15),
        sleeve_cloth=cloths[0],
        glove_cloth=cloths[1],
    )


def _share(rng: np.random.Generator) -> float:
    """How much of its own colours something loses: two in five keep most of them."""
    return float(rng.uniform(0, 0.3) if rng.random() < 0.4 else rng.uniform(0.3, 1))
