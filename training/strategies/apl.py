"""APL: an active and a passive loss together."""

from __future__ import annotations

from torch import Tensor

from training.config.strategies import APLOptions
from training.losses.criterion import MaskLoss
from training.strategies.base import Strategy
from training.strategies.gce import gce_terms
from training.strategies.pixelwise import clip_mean, label_probability


def nce_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Normalised cross entropy of each pixel: log r / (log r + log(1 - r)).

    Args:
        logits: float [...].
        targets: 0 or 1, same shape.

    Returns:
        float32 [...] in [0, 1].
    """
    given = label_probability(logits, targets).log()
    other = label_probability(-logits, targets).log()
    return given / (given + other)


class APL(Strategy):
    """Replaces the focal mask term by active (1 - r^q)/q and passive |p - y| (paper Sec. IV-A).

    For two classes |p - y| = 1 - r, so both terms fall with the same r. The variant `nce+mae` has
    `nce_terms` as its active term.
    """

    name = "apl"

    def __init__(self, options: APLOptions) -> None:
        super().__init__(options)
        self.options: APLOptions = options

    @property
    def mask_loss(self) -> MaskLoss:
        """APL as a mask term."""
        return self._mask_loss

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        probability = label_probability(logits, targets)
        if self.options.variant == "gce+mae":
            active = gce_terms(probability, self.options.q)
        else:
            active = nce_terms(logits, targets)
        terms = self.options.active * active + self.options.passive * (1 - probability)
        return clip_mean(terms, pixel_weights)
