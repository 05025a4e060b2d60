"""A synthetic first-person kitchen, written as a VISOR tree and as a video.

Clips are drawn with plain OpenCV from a seed. Object activity follows the official label rule, and
the actions are composed so that neither the narration nor the hands decide it alone.
"""

from training.data.kitchen.generate import KitchenConfig, make_kitchen, parse_size

__all__ = ["KitchenConfig", "make_kitchen", "parse_size"]
