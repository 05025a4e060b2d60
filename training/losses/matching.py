"""Matching of one query to each prompt, as in ReferFormer's training.

A prompt describes one object, so the assignment needs no Hungarian algorithm: in every decoder
layer the cheapest of the queries is matched, one for all frames of the clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from training.model import MASK_STRIDE, LayerOutput

FOCAL_ALPHA = 0.25
FOCAL_GAMMA = 2.0
BOX_EPSILON = 1e-6
"""Smoothing of the generalised IoU, in squared fractions of the frame."""

_LOG_EPSILON = 1e-8


class Targets(Protocol):
    """The labels of a batch of P prompts with T frames each; a collated ``Batch`` is one."""

    @property
    def masks(self) -> Tensor:
        """Object masks on the padded model input, bool [P, T, H, W]."""

    @property
    def weights(self) -> Tensor | None:
        """Action-guided pixel weights (0 on padding, 1, 2 or 5), float32 [P, T, H, W]."""

    @property
    def boxes(self) -> Tensor:
        """Boxes (cx, cy, w, h) in fractions of the clip's own size, float32 [P, T, 4]."""

    @property
    def valid(self) -> Tensor:
        """1 where the frame counts for the class term, int64 [P, T]."""

    @property
    def positive(self) -> Tensor:
        """1 where the object is active, int64 [P, T]."""


@dataclass(frozen=True)
class CostWeights:
    """Coefficients of the matching costs (the published options)."""

    classification: float = 2.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 2.0
    dice: float = 5.0


def sample_at_stride(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Takes pixels 2, 6, 10, ... of full-size maps, where the cells of the mask map lie.

    Args:
        maps: any dtype [..., H, W] on the padded model input.
        size: (h, w) of the predicted mask map.

    Returns:
        [..., h, w] of the same dtype; maps that end before the last cell are continued with 0.

    Raises:
        ValueError: the mask map does not belong to maps of this size.
    """
    height, width = maps.shape[-2:]
    h, w = size
    if h != -(-height // MASK_STRIDE) or w != -(-width // MASK_STRIDE):
        raise ValueError(
            f"mask logits of {h}x{w} do not belong to targets of {height}x{width}; "
            f"expected one cell for every {MASK_STRIDE}x{MASK_STRIDE} pixels"
        )
    pad = (0, w * MASK_STRIDE - width, 0, h * MASK_STRIDE - height)
    if any(pad):
        maps = F.pad(maps, pad)
    start = MASK_STRIDE // 2
    return maps[..., start::MASK_STRIDE, start::MASK_STRIDE]


def corners(boxes: Tensor) -> Tensor:
    """(cx, cy, w, h) to (x1, y1, x2, y2), [..., 4]."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), dim=-1)


def generalized_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of boxes, smoothed as in the published losses.

    Both quotients get 1e-6 in numerator and denominator, so an empty target box gives a finite
    value (and gradient) instead of 0 / 0.

    Args:
        first: boxes (x1, y1, x2, y2), float [..., 4].
        second: the same, broadcastable to ``first``.

    Returns:
        float [...] in about [-1, 1].
    """
    top_left = torch.maximum(first[..., :2], second[..., :2])
    bottom_right = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(-1)
    union = _area(first) + _area(second) - intersection
    hull_top_left = torch.minimum(first[..., :2], second[..., :2])
    hull_bottom_right = torch.maximum(first[..., 2:], second[..., 2:])
    hull = (hull_bottom_right - hull_top_left).clamp(min=0).prod(-1)
    iou = (intersection + BOX_EPSILON) / (union + BOX_EPSILON)
    return iou - (hull - union + BOX_EPSILON) / (hull + BOX_EPSILON)


def _area(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


@torch.no_grad()
def matching_costs(
    output: LayerOutput, targets: Targets, weights: CostWeights | None = None
) -> Tensor:
    """Cost of matching each query of one decoder layer to its prompt.

    Class costs are averaged over the valid frames, box costs over all frames (also those where the
    object is absent); mask costs are taken once over the clip, without pixel weights.

    Args:
        output: predictions of one layer for P prompts.
        targets: labels of the same prompts.
        weights: coefficients of the costs; the published ones by default.

    Returns:
        float32 [P, Q].
    """
    weights = weights or CostWeights()
    classification = _class_cost(output.logits.float()[..., 0], targets.valid)
    predicted, wanted = output.boxes.float(), targets.boxes.float()[:, :, None]
    box = (predicted - wanted).abs().sum(-1).mean(1)
    giou = -generalized_iou(corners(predicted), corners(wanted)).mean(1)
    logits = output.masks.float()
    labels = sample_at_stride(targets.masks, (logits.shape[-2], logits.shape[-1]))
    mask, dice = _mask_costs(logits, labels.float()[:, :, None])
    return (
        weights.classification * classification
        + weights.box * box
        + weights.giou * giou
        + weights.mask * mask
        + weights.dice * dice
    )


def _class_cost(logits: Tensor, valid: Tensor) -> Tensor:
    """Focal class cost [P, Q] of logits [P, T, Q], averaged over valid frames (0 without any)."""
    probability = logits.sigmoid()
    absent = -(1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * (1 - probability + _LOG_EPSILON).log()
    present = -FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * (probability + _LOG_EPSILON).log()
    counts = (valid > 0).to(logits.dtype)[..., None]
    return ((present - absent) * counts).sum(1) / counts.sum(1).clamp(min=1)


def _mask_costs(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Focal and Dice costs [P, Q] of logits [P, T, Q, h, w] against labels [P, T, 1, h, w]."""
    clip = (1, 3, 4)
    probability = logits.sigmoid()
    present = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * F.softplus(-logits)
    absent = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * F.softplus(logits)
    focal = torch.where(labels > 0, present, absent).mean(clip)
    overlap = 2 * (probability * labels).sum(clip)
    dice = -(overlap + 1) / (probability.sum(clip) + labels.sum(clip) + 1)
    return focal, dice


def match(
    layers: Sequence[LayerOutput], targets: Targets, weights: CostWeights | None = None
) -> list[Tensor]:
    """Index of the cheapest query of every prompt, for each decoder layer.

    Args:
        layers: predictions of the decoder layers.
        targets: labels of the same prompts.
        weights: coefficients of the costs; the published ones by default.

    Returns:
        For each layer int64 [P]; the lower index wins a tie.
    """
    return [matching_costs(layer, targets, weights).argmin(1) for layer in layers]
