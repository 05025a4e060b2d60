"""GCE: generalised cross entropy between cross entropy (q -> 0) and mean absolute error (q = 1)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from training.config.options import require
from training.strategies.base import register
from training.strategies.support.pixelwise import gce_terms, label_probability
from training.strategies.support.robust_loss import RobustLoss, RobustOptions


@dataclass(frozen=True)
class GCEOptions(RobustOptions):
    """Generalised cross entropy."""

    q: float = 0.7
    """Exponent in (0, 1]: towards 0 cross entropy, at 1 the absolute error (paper: 0.7)."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "gce.q", self.q, "in (0, 1]")


@register("gce", "GCE", GCEOptions, released={"focal": "kept", "weighted": False})
class GCE(RobustLoss[GCEOptions]):
    """(1 - r^q) / q of the probability r of the given label (paper Sec. IV-A)."""

    term = "loss_gce"

    def pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """GCE of each pixel."""
        return gce_terms(label_probability(logits, labels), self.options.q)
