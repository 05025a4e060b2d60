"""GCE: generalised cross entropy between cross entropy (q -> 0) and mean absolute error (q = 1)."""

from __future__ import annotations

from dataclasses import dataclass

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import StepContext
from training.losses.criterion import Terms, detection_terms, dice_loss
from training.strategies.base import Strategy, register
from training.strategies.support.pixelwise import clip_mean, gce_terms, label_probability


@dataclass(frozen=True)
class GCEOptions(StrategyOptions):
    """Generalised cross entropy."""

    q: float = 0.7
    """Exponent in (0, 1]: towards 0 cross entropy, at 1 the absolute error (paper: 0.7)."""

    def __post_init__(self) -> None:
        require(0 < self.q <= 1, "gce.q", self.q, "in (0, 1]")


@register("gce", "GCE", GCEOptions)
class GCE(Strategy[GCEOptions]):
    """Replaces the focal mask term by GCE; Dice, boxes, classes and the positive head stay."""

    def losses(self, context: StepContext) -> Terms:
        """The published terms, with GCE for the focal one."""
        terms = detection_terms(context)
        for layer in context.layers:
            probability = label_probability(layer.logits, context.labels)
            gce = gce_terms(probability, self.options.q)
            terms[layer.name("loss_mask")] = clip_mean(gce, context.weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        return terms
