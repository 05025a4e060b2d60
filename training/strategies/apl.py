"""APL: an active and a passive loss together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import StepContext
from training.losses.criterion import Terms, detection_terms, dice_loss
from training.strategies.base import Strategy, register
from training.strategies.support.pixelwise import clip_mean, gce_terms, label_probability


@dataclass(frozen=True)
class APLOptions(StrategyOptions):
    """Active and passive loss."""

    variant: Literal["gce+mae", "nce+mae"] = "gce+mae"
    """Active and passive term: `gce+mae` as the paper prints, or `nce+mae` (normalised cross
    entropy), which the authors of APL propose."""
    q: float = 0.7
    """Exponent of GCE in (0, 1] (paper: 0.7)."""
    active: float = 1.0
    """Weight of the active term, at least 0 (the paper gives none)."""
    passive: float = 1.0
    """Weight of the passive term, at least 0 (the paper gives none)."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "apl.q", self.q, "in (0, 1]")
        require(self.active >= 0, "apl.active", self.active, "at least 0")
        require(self.passive >= 0, "apl.passive", self.passive, "at least 0")


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


@register("apl", "APL", APLOptions)
class APL(Strategy[APLOptions]):
    """Replaces the focal mask term by active (1 - r^q)/q and passive |p - y| (paper Sec. IV-A).

    For two classes |p - y| = 1 - r, so both terms fall with the same r. The variant `nce+mae` has
    `nce_terms` as its active term.
    """

    def losses(self, context: StepContext) -> Terms:
        """The published terms, with APL for the focal one."""
        options = self.options
        terms = detection_terms(context)
        for layer in context.layers:
            probability = label_probability(layer.logits, context.labels)
            if options.variant == "gce+mae":
                active = gce_terms(probability, options.q)
            else:
                active = nce_terms(layer.logits, context.labels)
            apl = options.active * active + options.passive * (1 - probability)
            terms[layer.name("loss_mask")] = clip_mean(apl, context.weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        return terms
