"""Training losses of ReferFormer with the additions of ActionVOS.

Added by ActionVOS: the action-guided weights in the focal mask loss and the focal loss of the
positive head. Every prompt (one object of one clip) counts as one clip of the published loss.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed
import torch.nn.functional as F
from torch import Tensor, nn

from training.losses.matching import (
    FOCAL_ALPHA,
    FOCAL_GAMMA,
    CostWeights,
    LayerOutput,
    Targets,
    corners,
    generalized_iou,
    match,
    sample_at_stride,
)

MaskLoss = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""``mask_loss(logits [P, T, h, w], targets [P, T, h, w], pixel_weights [P, T, h, w] or None)``
gives one value for each prompt, float [P]."""

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


def focal_mask_loss(logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
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


def dice_loss(logits: Tensor, targets: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
    """1 - (2 |A B| + 1) / (|A| + |B| + 1) over all frames and pixels of a clip.

    Args:
        logits: float [P, T, h, w].
        targets: 0 or 1, float [P, T, h, w].
        pixel_weights: not used: in the published term all pixels count alike.

    Returns:
        float [P] in [0, 1].
    """
    probability, targets = logits.sigmoid().flatten(1), targets.flatten(1)
    overlap = 2 * (probability * targets).sum(1)
    return 1 - (overlap + 1) / (probability.sum(1) + targets.sum(1) + 1)


def weight_dict(aux_layers: int) -> dict[str, float]:
    """Coefficients of all terms; auxiliary layer i carries the suffix ``_i``.

    Args:
        aux_layers: decoder layers before the last one.
    """
    suffixes = ["", *(f"_{i}" for i in range(aux_layers))]
    return {name + suffix: value for suffix in suffixes for name, value in COEFFICIENTS.items()}


class Criterion(nn.Module):
    """All loss terms of a batch of prompts.

    Args:
        use_weights: multiply the cross entropy of the mask term by the action-guided weights. With
            them padding has weight 0; without them it counts as background, as published.
        mask_loss: the mask term, replaced by noise-robust strategies. It gets the logits of the
            matched queries, the sampled targets and, with ``use_weights``, the sampled weights.
        aux_mask_loss: the mask term of the layers before the last; ``mask_loss`` by default. A
            strategy with a history for each pixel keeps it for the last layer only.
        dice_term: the Dice term of the last layer, called as ``mask_loss`` is; ``dice_loss`` of
            all pixels by default, and always in the layers before.
        cost_weights: coefficients of the matching.
    """

    def __init__(
        self,
        *,
        use_weights: bool = True,
        mask_loss: MaskLoss = focal_mask_loss,
        aux_mask_loss: MaskLoss | None = None,
        dice_term: MaskLoss | None = None,
        cost_weights: CostWeights | None = None,
    ) -> None:
        super().__init__()
        self.use_weights = use_weights
        self.mask_loss = mask_loss
        self.aux_mask_loss = aux_mask_loss or mask_loss
        self.dice_term = dice_term or dice_loss
        self.cost_weights = cost_weights or CostWeights()

    def match(self, output: LayerOutput, targets: Targets) -> list[Tensor]:
        """Matched query of each prompt, int64 [P], for the auxiliary layers and then the last."""
        return match(_layers(output), targets, self.cost_weights)

    def forward(
        self,
        output: LayerOutput,
        targets: Targets,
        matches: Sequence[Tensor] | None = None,
        kept: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Computes every term, unweighted.

        Args:
            output: predictions of the last layer; its ``aux`` holds the earlier layers.
            targets: labels of the same P prompts.
            matches: result of ``match``, if the caller needed it before.
            kept: prompts that count, bool [P]; the terms are then means over these (0 if there
                are none), without regard to other processes. None for all.

        Returns:
            Scalars by name: ``loss_ce``, ``loss_bbox``, ``loss_giou``, ``loss_mask``,
            ``loss_dice``, ``loss_positive_labels`` of the last layer, and the same with suffix
            ``_i`` for auxiliary layer i.

        Raises:
            ValueError: weights are wanted but the targets have none, or sizes disagree.
        """
        if kept is not None:
            terms = self.of_prompts(output, targets, matches)
            count = kept.sum().clamp(min=1)
            return {name: (values * kept).sum() / count for name, values in terms.items()}
        normaliser = valid_frames(targets.valid)
        return {
            name: values.mean() if _is_positive(name) else values.sum() / normaliser
            for name, values in self._elements(output, targets, matches).items()
        }

    def of_prompts(
        self, output: LayerOutput, targets: Targets, matches: Sequence[Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Every term of each prompt as if it were alone, unweighted, float32 [P].

        Arguments, names and errors as of ``forward``; where all frames are valid, the means over
        the prompts are what ``forward`` gives.
        """
        frames = (targets.valid > 0).sum(1).clamp(min=1)
        return {
            name: values if _is_positive(name) else values.reshape(len(values), -1).sum(1) / frames
            for name, values in self._elements(output, targets, matches).items()
        }

    def _elements(
        self, output: LayerOutput, targets: Targets, matches: Sequence[Tensor] | None
    ) -> dict[str, Tensor]:
        """Every term before it is summed, [P, ...]."""
        layers = _layers(output)
        if matches is None:
            matches = match(layers, targets, self.cost_weights)
        if self.use_weights and targets.weights is None:
            raise ValueError("use_weights=True, but the batch has no pixel weights")
        size = (output.masks.shape[-2], output.masks.shape[-1])
        masks = sample_at_stride(targets.masks, size).float()
        weights = None
        if self.use_weights and targets.weights is not None:
            weights = sample_at_stride(targets.weights, size).float()
        elements: dict[str, Tensor] = {}
        for index in reversed(range(len(layers))):
            last = index == len(layers) - 1
            terms = _query_losses(layers[index], targets, matches[index])
            logits = _of_matched(layers[index].masks.float(), matches[index])
            mask_loss = self.mask_loss if last else self.aux_mask_loss
            dice = self.dice_term if last else dice_loss
            terms["loss_mask"] = mask_loss(logits, masks, weights)
            terms["loss_dice"] = dice(logits, masks, weights)
            elements |= {name + ("" if last else f"_{index}"): term for name, term in terms.items()}
        return elements


def total(losses: Mapping[str, Tensor], coefficients: Mapping[str, float] = COEFFICIENTS) -> Tensor:
    """Weighted sum of the terms (scalars, or [P] each), with the published coefficients by default.

    Raises:
        KeyError: a term has no coefficient (with or without its layer suffix).
    """
    terms = [value * coefficients[_without_suffix(name)] for name, value in losses.items()]
    return torch.stack(terms).sum(0)


def _without_suffix(name: str) -> str:
    stem, _, suffix = name.rpartition("_")
    return stem if suffix.isdigit() else name


def _is_positive(name: str) -> bool:
    """Whether a term has one value for each prompt rather than for each of its frames."""
    return _without_suffix(name) == "loss_positive_labels"


def _layers(output: LayerOutput) -> list[LayerOutput]:
    return [*(getattr(output, "aux", None) or []), output]


def _of_matched(predictions: Tensor, matched: Tensor) -> Tensor:
    """[P, T, Q, ...] to [P, T, ...] of the matched queries."""
    rows = torch.arange(len(matched), device=matched.device)
    return predictions[rows, :, matched]


def _query_losses(layer: LayerOutput, targets: Targets, matched: Tensor) -> dict[str, Tensor]:
    """Class, box and positive terms of one layer, not summed, [P, ...]."""
    logits = layer.logits.float()[..., 0]
    foreground = F.one_hot(matched, logits.shape[-1]).to(logits.dtype)[:, None]
    classes = foreground * (targets.valid > 0).to(logits.dtype)[..., None]
    boxes, wanted = _of_matched(layer.boxes.float(), matched), targets.boxes.float()
    positive = (targets.positive > 0).any(1).to(logits.dtype)
    return {
        "loss_ce": focal_terms(logits, classes),
        "loss_bbox": (boxes - wanted).abs(),
        "loss_giou": 1 - generalized_iou(corners(boxes), corners(wanted)),
        "loss_positive_labels": focal_terms(layer.positives.float()[:, 0], positive),
    }


def valid_frames(valid: Tensor) -> Tensor:
    """Valid (prompt, frame) pairs, averaged over the processes of a distributed run, at least 1."""
    count = (valid > 0).sum().float()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count = count / torch.distributed.get_world_size()
    return count.clamp(min=1)
