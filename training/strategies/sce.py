"""SCE: cross entropy plus reverse cross entropy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from training.config.options import require
from training.strategies.base import register
from training.strategies.support.pixelwise import label_probability
from training.strategies.support.robust_loss import RobustLoss, RobustOptions


@dataclass(frozen=True)
class SCEOptions(RobustOptions):
    """Symmetric cross entropy; the paper gives no values."""

    alpha: float = 0.1
    """Weight of the cross entropy, at least 0."""
    beta: float = 1.0
    """Weight of the reverse cross entropy, at least 0; only beta |A| matters for two classes."""
    log_of_zero: float = -9.2103404
    """A, which stands for log 0, below 0: log 1e-4 as released; the authors of SCE advise small |A|
    for many pixels."""
    clamped_labels: bool = False
    """Keep the labels exp(A) from 0, as released, instead of log 0 itself at A: pixels of the
    background then also cost -(1 - p) log(1 - exp(A))."""

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


@register(
    "sce",
    "SCE",
    SCEOptions,
    released={"focal": "kept", "weighted": False, "clamped_labels": True},
)
class SCE(RobustLoss[SCEOptions]):
    """alpha CE + beta RCE (paper Sec. IV-A).

    Only alpha and the product beta |A| matter for two classes.
    """

    term = "loss_sce"

    def pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """SCE of each pixel."""
        options = self.options
        entropy = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
        reverse = rce_terms(label_probability(logits, labels), options.log_of_zero)
        if options.clamped_labels:
            kept = -math.log1p(-math.exp(options.log_of_zero))
            reverse = reverse + kept * (1 - labels) * (-logits).sigmoid()
        return options.alpha * entropy + options.beta * reverse
