"""How every noun looks: ``draw(name, rng)`` gives one instance of it as a sprite."""

from training.data.kitchen.shapes import cookware, crockery, packages, produce, textiles, utensils
from training.data.kitchen.shapes.registry import LOOKS, Look, Sprite, draw

__all__ = [
    "LOOKS",
    "Look",
    "Sprite",
    "cookware",
    "crockery",
    "draw",
    "packages",
    "produce",
    "textiles",
    "utensils",
]
