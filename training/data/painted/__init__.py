"""Pictures for a VISOR tree that has annotations only.

Shapes, names, contacts and narrations stay those of the tree; only the pixels are made up: every
polygon gets the look of its class, hands get skin, and around them lies a kitchen of the video's
own. What a class looks like is the same in every video of a family of looks.
"""

from training.data.painted.paint import PaintConfig, PaintSummary, paint

__all__ = ["PaintConfig", "PaintSummary", "paint"]
