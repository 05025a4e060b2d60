"""SCE: cross entropy plus reverse cross entropy."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from training.config.strategies import SCEOptions
from training.losses.criterion import MaskLoss
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

    Only alpha and the product beta |A| matter for two classes.
    """

    name = "sce"

    def __init__(self, options: SCEOptions) -> None:
        super().__init__(options)
        self.alpha, self.beta = options.alpha, options.beta
        self.log_of_zero = options.log_of_zero

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
