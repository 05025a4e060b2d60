"""APL: an active and a passive loss together."""

from __future__ import annotations

from torch import Tensor

from training.errors import ActisegError
from training.losses import MaskLoss
from training.strategies.base import Strategy
from training.strategies.gce import gce_terms
from training.strategies.pixelwise import clip_mean, label_probability


class APL(Strategy):
    """Replaces the focal mask term by active (1 - r^q)/q and passive |p - y| (paper Sec. IV-A).

    For two classes |p - y| = 1 - r, so both terms fall with the same r.

    Args:
        q: Exponent of the active term in (0, 1]; the paper's value is 0.7.
        active: Weight of the active term (the paper gives none).
        passive: Weight of the passive term (the paper gives none).

    Raises:
        ActisegError: If q is outside its range.
    """

    name = "apl"

    def __init__(self, q: float = 0.7, active: float = 1.0, passive: float = 1.0) -> None:
        if not 0 < q <= 1:
            raise ActisegError(f"apl: q is {q}; it must be in (0, 1]")
        self.q, self.active, self.passive = q, active, passive

    @property
    def mask_loss(self) -> MaskLoss:
        """APL as a mask term."""
        return self._mask_loss

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        probability = label_probability(logits, targets)
        terms = self.active * gce_terms(probability, self.q) + self.passive * (1 - probability)
        return clip_mean(terms, pixel_weights)
