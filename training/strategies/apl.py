"""APL: an active and a passive loss together."""

from __future__ import annotations

from torch import Tensor

from training.losses import MaskLoss
from training.strategies.base import Strategy
from training.strategies.gce import gce_terms
from training.strategies.pixelwise import clip_mean, label_probability
from training.strategy_options import APLOptions


class APL(Strategy):
    """Replaces the focal mask term by active (1 - r^q)/q and passive |p - y| (paper Sec. IV-A).

    For two classes |p - y| = 1 - r, so both terms fall with the same r.
    """

    name = "apl"

    def __init__(self, options: APLOptions) -> None:
        super().__init__(options)
        self.q, self.active, self.passive = options.q, options.active, options.passive

    @property
    def mask_loss(self) -> MaskLoss:
        """APL as a mask term."""
        return self._mask_loss

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        probability = label_probability(logits, targets)
        terms = self.active * gce_terms(probability, self.q) + self.passive * (1 - probability)
        return clip_mean(terms, pixel_weights)
