"""GCE: generalised cross entropy between cross entropy (q -> 0) and mean absolute error (q = 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from training.config.strategies import GCEOptions
from training.losses.criterion import MaskLoss
from training.strategies.base import Strategy
from training.strategies.pixelwise import clip_mean, label_probability


def gce_terms(probability: Tensor, q: float) -> Tensor:
    """(1 - r^q) / q of each pixel (paper Sec. IV-A).

    Args:
        probability: r, the probability of the given label, float [...] in (0, 1].
        q: Exponent in (0, 1].

    Returns:
        float [...] in [0, 1/q].
    """
    # 1 - r^q itself has no digits left in float32 when q is small.
    return -torch.expm1(q * probability.log()) / q


class GCE(Strategy):
    """Replaces the focal mask term by GCE; Dice, boxes, classes and the positive head stay."""

    name = "gce"

    def __init__(self, options: GCEOptions) -> None:
        super().__init__(options)
        self.q = options.q

    @property
    def mask_loss(self) -> MaskLoss:
        """GCE as a mask term."""
        return self._mask_loss

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        return clip_mean(gce_terms(label_probability(logits, targets), self.q), pixel_weights)
