"""SCE: cross entropy plus reverse cross entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from training.losses import MaskLoss
from training.strategies.base import Strategy
from training.strategies.pixelwise import clip_mean, label_probability


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


class SCE(Strategy):
    """Replaces the focal mask term by alpha CE + beta RCE (paper Sec. IV-A).

    The paper gives no weights. Only alpha and the product beta |A| matter for two classes.

    Args:
        alpha: Weight of the cross entropy.
        beta: Weight of the reverse cross entropy.
        log_of_zero: A; the authors of SCE advise small |A| where there are many pixels.
    """

    name = "sce"

    def __init__(self, alpha: float = 0.1, beta: float = 1.0, log_of_zero: float = -4.0) -> None:
        self.alpha, self.beta, self.log_of_zero = alpha, beta, log_of_zero

    @property
    def mask_loss(self) -> MaskLoss:
        """SCE as a mask term."""
        return self._mask_loss

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        entropy = F.binary_cross_entropy_with_logits(
            logits.float(), targets.float(), reduction="none"
        )
        reverse = rce_terms(label_probability(logits, targets), self.log_of_zero)
        return clip_mean(self.alpha * entropy + self.beta * reverse, pixel_weights)
