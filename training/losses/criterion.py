"""Training losses of ReferFormer with the additions of ActionVOS.

Added by ActionVOS: the action-guided weights in the focal mask loss and the focal loss of the
positive head. Every prompt (one object of one clip) counts as one clip of the published loss.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from training.losses.context import MatchedLayer, StepContext
from training.losses.matching import (
    FOCAL_ALPHA,
    FOCAL_GAMMA,
    Targets,
    corners,
    generalized_iou,
)

Terms = dict[str, Tensor]
"""Loss terms by name, unweighted. A term of prompts, float [P, ...], is summed over all its
elements and divided by the valid frames of the batch; ``loss_positive_labels`` is averaged over
the prompts. A scalar speaks for the whole batch and stays as it is."""

COEFFICIENTS: Mapping[str, float] = {
    "loss_ce": 2.0,
    "loss_bbox": 5.0,
    "loss_giou": 2.0,
    "loss_mask": 2.0,
    "loss_dice": 5.0,
    "loss_positive_labels": 2.0,
}
"""Published coefficient of each term, the same for every decoder layer."""


def focal_terms(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
    *,
    alpha: float = FOCAL_ALPHA,
    gamma: float = FOCAL_GAMMA,
) -> Tensor:
    """Binary focal loss of each element, not reduced (paper Eq. 1).

    Args:
        logits: float [...].
        targets: 0 or 1, same shape.
        weights: factor of the cross entropy, same shape; None for 1.
        alpha: share of targets of 1, in [0, 1]; targets of 0 have the rest.
        gamma: exponent of the error, at least 0.

    Returns:
        float [...].
    """
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(logits, targets, weights, reduction="none")
    missed = probability * (1 - targets) + (1 - probability) * targets
    share = alpha * targets + (1 - alpha) * (1 - targets)
    return share * entropy * missed**gamma


def focal_mask_loss(logits: Tensor, targets: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
    """The published mask term: focal loss, mean over all frames and pixels of the clip.

    The mean divides by the number of pixels, not by the sum of the weights.

    Args:
        logits: float [P, T, h, w] of the matched queries.
        targets: 0 or 1, float [P, T, h, w].
        pixel_weights: action-guided weights, float [P, T, h, w], or None for 1 everywhere.

    Returns:
        float [P].
    """
    return focal_terms(logits, targets, pixel_weights).flatten(1).mean(1)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """1 - (2 |A B| + 1) / (|A| + |B| + 1) over all frames and pixels of a clip, unweighted.

    Args:
        logits: float [P, T, h, w].
        targets: 0 or 1, float [P, T, h, w].

    Returns:
        float [P] in [0, 1].
    """
    probability, targets = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap = 2 * (probability * targets).sum(1)
    return 1 - (overlap + 1) / (probability.sum(1) + targets.sum(1) + 1)


def detection_terms(context: StepContext) -> Terms:
    """Class, box and positive terms of every layer: all but those of the masks.

    Returns:
        ``loss_ce`` [P, T, Q], ``loss_bbox`` [P, T, 4], ``loss_giou`` [P, T] and
        ``loss_positive_labels`` [P] of the last layer, and the same with the number of the layer
        as a suffix for the earlier ones.
    """
    return {
        layer.name(name): term
        for layer in context.layers
        for name, term in _layer_terms(layer, context.batch).items()
    }


def published_terms(context: StepContext) -> Terms:
    """Every term of the published loss: `detection_terms`, ``loss_mask`` and ``loss_dice`` [P]."""
    terms = detection_terms(context)
    for layer in context.layers:
        terms[layer.name("loss_mask")] = focal_mask_loss(
            layer.logits, context.labels, context.weights
        )
        terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
    return terms


def weigh_samples(terms: Terms, weights: Tensor) -> Terms:
    """Every prompt's values times its weight, float [P]; scalars stay."""
    return {
        name: values * weights.view(-1, *[1] * (values.ndim - 1)) if values.ndim else values
        for name, values in terms.items()
    }


def reduced(terms: Terms, context: StepContext, kept: Tensor | None = None) -> dict[str, Tensor]:
    """Every term as a scalar, with gradients.

    Args:
        terms: What a strategy returns.
        context: Its step; without `kept` the processes of a run meet here.
        kept: Prompts that count, bool [P]; the terms of prompts are then means over these (0 if
            there are none) as if each was alone, without regard to other processes. None for all.
    """
    if kept is not None:
        count = kept.sum().clamp(min=1)
        alone = of_prompts(terms, context.batch.valid)
        return {
            name: (alone[name] * kept).sum() / count if name in alone else values
            for name, values in terms.items()
        }
    return {
        name: _summed(name, values, context.valid_frames) if values.ndim else values
        for name, values in terms.items()
    }


def of_prompts(terms: Terms, valid: Tensor) -> dict[str, Tensor]:
    """Every term of each prompt as if it was alone, float32 [P]; scalars are left out.

    Where all frames are valid, the means over the prompts are what `reduced` gives.
    """
    frames = (valid > 0).sum(1).clamp(min=1)
    return {
        name: values if _is_positive(name) else values.reshape(len(values), -1).sum(1) / frames
        for name, values in terms.items()
        if values.ndim
    }


def _summed(name: str, values: Tensor, normaliser: Tensor) -> Tensor:
    return values.mean() if _is_positive(name) else values.sum() / normaliser


def total(losses: Mapping[str, Tensor], coefficients: Mapping[str, float] = COEFFICIENTS) -> Tensor:
    """Weighted sum of the terms (scalars, or [P] each), with the published coefficients by default.

    Raises:
        KeyError: a term has no coefficient (with or without its layer suffix).
    """
    for name in losses:
        if _without_suffix(name) not in coefficients:
            raise KeyError(f"{name} has no coefficient: the strategy's `coefficients` name its own")
    terms = [value * coefficients[_without_suffix(name)] for name, value in losses.items()]
    return torch.stack(terms).sum(0)


def _without_suffix(name: str) -> str:
    stem, _, suffix = name.rpartition("_")
    return stem if suffix.isdigit() else name


def _is_positive(name: str) -> bool:
    """Whether a term has one value for each prompt rather than for each of its frames."""
    return _without_suffix(name) == "loss_positive_labels"


def _layer_terms(layer: MatchedLayer, targets: Targets) -> Terms:
    logits = layer.output.logits.float()[..., 0]
    foreground = F.one_hot(layer.queries, logits.shape[-1]).to(logits.dtype)[:, None]
    classes = foreground * (targets.valid > 0).to(logits.dtype)[..., None]
    boxes, wanted = layer.of_matched(layer.output.boxes.float()), targets.boxes.float()
    positive = (targets.positive > 0).any(1).to(logits.dtype)
    return {
        "loss_ce": focal_terms(logits, classes),
        "loss_bbox": (boxes - wanted).abs(),
        "loss_giou": 1 - generalized_iou(corners(boxes), corners(wanted)),
        "loss_positive_labels": focal_terms(layer.output.positives.float()[:, 0], positive),
    }
