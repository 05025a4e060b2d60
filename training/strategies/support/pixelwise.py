"""What the noise-robust pixel losses share: the probability of the given label."""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-6
"""Lower bound of the probability of the given label: gradients of r^q grow without it."""


def label_probability(logits: Tensor, targets: Tensor) -> Tensor:
    """Probability that the network gives to the given label: r = y p + (1 - y) (1 - p).

    Computed from the logits in float32, so that it keeps its precision near 0.

    Args:
        logits: float [...].
        targets: 0 or 1, same shape.

    Returns:
        float32 [...] in [`SMALLEST`, 1].
    """
    signed = (2 * targets.float() - 1) * logits.float()
    return signed.sigmoid().clamp(min=SMALLEST)


def gce_terms(probability: Tensor, q: float) -> Tensor:
    """(1 - r^q) / q of each pixel (paper Sec. IV-A).

    Args:
        probability: r, the probability of the given label, float [...] in (0, 1].
        q: Exponent in (0, 1].

    Returns:
        float [...] in [0, 1/q].
    """
    # 1 - r^q itself has no digits left in float32 when q is small.
    return -torch.expm1(q * probability.log()) / q


def clip_mean(values: Tensor, pixel_weights: Tensor | None) -> Tensor:
    """Mean over the frames and pixels of each clip, each pixel times its action-guided weight.

    As in the published mask term, the mean divides by the number of pixels.

    Args:
        values: float [P, T, h, w].
        pixel_weights: float [P, T, h, w], or None for 1.

    Returns:
        float [P].
    """
    weighted = values if pixel_weights is None else values * pixel_weights
    return weighted.flatten(1).mean(1)
