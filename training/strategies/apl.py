"""APL: an active and a passive loss together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from training.config.options import require
from training.strategies.base import register
from training.strategies.support.pixelwise import gce_terms, label_probability
from training.strategies.support.robust_loss import RobustLoss, RobustOptions


@dataclass(frozen=True)
class APLOptions(RobustOptions):
    """Active and passive loss."""

    variant: Literal["gce+mae", "nce+mae"] = "gce+mae"
    """Active and passive term: `gce+mae` as the paper prints, or `nce+mae` (normalised cross
    entropy), which the authors of APL propose."""
    q: float = 0.7
    """Exponent of GCE in (0, 1] (paper: 0.7)."""
    active: float = 10.0
    """Weight of the active term, at least 0 (released: 10; the paper gives none)."""
    passive: float = 1.0
    """Weight of the passive term, at least 0 (released: 1; the paper gives none)."""
    logit_limit: float = 0.0
    """Logits are cut at this distance from 0, beyond which nothing is learned, at least 0
    (released: 10); 0 cuts none."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "apl.q", self.q, "in (0, 1]")
        require(self.active >= 0, "apl.active", self.active, "at least 0")
        require(self.passive >= 0, "apl.passive", self.passive, "at least 0")
        require(self.logit_limit >= 0, "apl.logit_limit", self.logit_limit, "at least 0")


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


@register("apl", "APL", APLOptions, released={"focal": "kept", "logit_limit": 10.0})
class APL(RobustLoss[APLOptions]):
    """Active (1 - r^q)/q and passive |p - y| in a weighted sum (paper Sec. IV-A).

    For two classes |p - y| = 1 - r, so both terms fall with the same r. The variant `nce+mae` has
    `nce_terms` as its active term.
    """

    term = "loss_active_passive"

    def pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """APL of each pixel."""
        options = self.options
        if options.logit_limit:
            logits = logits.clamp(-options.logit_limit, options.logit_limit)
        probability = label_probability(logits, labels)
        if options.variant == "gce+mae":
            active = gce_terms(probability, options.q)
        else:
            active = nce_terms(logits, labels)
        return options.active * active + options.passive * (1 - probability)
