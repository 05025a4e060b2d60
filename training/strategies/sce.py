"""SCE: cross entropy plus reverse cross entropy."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import StepContext
from training.losses.criterion import Terms, detection_terms, dice_loss
from training.strategies.base import Strategy, register
from training.strategies.support.pixelwise import clip_mean, label_probability


@dataclass(frozen=True)
class SCEOptions(StrategyOptions):
    """Symmetric cross entropy; the paper gives no values."""

    alpha: float = 0.1
    """Weight of the cross entropy, at least 0."""
    beta: float = 1.0
    """Weight of the reverse cross entropy, at least 0; only beta |A| matters for two classes."""
    log_of_zero: float = -4.0
    """A, which stands for log 0, below 0; the authors of SCE advise small |A| for many pixels."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "sce.alpha", self.alpha, "at least 0")
        require(self.beta >= 0, "sce.beta", self.beta, "at least 0")
        require(self.log_of_zero < 0, "sce.log_of_zero", self.log_of_zero, "below 0")


def rce_terms(probability: Tensor, log_of_zero: float) -> Tensor:
    """Reverse cross entropy of each pixel: -A (1 - r), where A stands for log 0.

    With two classes and hard labels the reverse cross entropy has only this one form: it is the
    mean absolute error, scaled.

    Args:
        probability: r, the probability of the given label, float [...] in [0, 1].
        log_of_zero: A, below 0.

    Returns:
        float [...] in [0, -A].
    """
    return -log_of_zero * (1 - probability)


@register("sce", "SCE", SCEOptions)
class SCE(Strategy[SCEOptions]):
    """Replaces the focal mask term by alpha CE + beta RCE (paper Sec. IV-A).

    Only alpha and the product beta |A| matter for two classes.
    """

    def losses(self, context: StepContext) -> Terms:
        """The published terms, with SCE for the focal one."""
        options = self.options
        terms = detection_terms(context)
        for layer in context.layers:
            entropy = F.binary_cross_entropy_with_logits(
                layer.logits, context.labels, reduction="none"
            )
            probability = label_probability(layer.logits, context.labels)
            reverse = rce_terms(probability, options.log_of_zero)
            sce = options.alpha * entropy + options.beta * reverse
            terms[layer.name("loss_mask")] = clip_mean(sce, context.weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        return terms
