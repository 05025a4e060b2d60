"""Steps whose matched queries and labels a test chooses, at the stride of the masks."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from training.losses.context import StepContext, StepPosition

STRIDE = 4


def layer(masks: Tensor, **fields: Any) -> SimpleNamespace:
    """Predictions of one layer: masks [P, T, Q, h, w], the rest all zero."""
    prompts, frames, queries = masks.shape[:3]
    return SimpleNamespace(
        logits=torch.zeros(prompts, frames, queries, 1),
        boxes=torch.full((prompts, frames, queries, 4), 0.5),
        masks=masks,
        positives=torch.zeros(prompts, 1),
        **fields,
    )


def context_of(
    logits: Tensor,
    labels: Tensor,
    weights: Tensor | None = None,
    *,
    batch: Any = None,
    padding: Tensor | None = None,
    valid: Tensor | None = None,
    queries: Tensor | None = None,
    earlier: Sequence[Tensor] = (),
    epoch: int = 0,
    epochs: int = 1,
    second_view: Tensor | None = None,
    extra: tuple[Tensor, ...] = (),
) -> StepContext:
    """A step whose matched queries say `logits`.

    Args:
        logits: [P, T, h, w], of the last layer; or all its masks [P, T, Q, h, w] with `queries`.
        labels: 0 or 1, [P, T, h, w].
        weights: Action-guided weights, same shape; None leaves them out.
        batch: Has names for the pixels, if a strategy asks; its labels are replaced.
        padding: True on padding, bool [P, T, h, w].
        valid: int64 [P, T]; all by default.
        queries: Matched query of each prompt in every layer; the first by default.
        earlier: Masks of the earlier layers, like `logits`.
        epoch: Of the step.
        epochs: Of the run.
        second_view: Masks of the second view, like `logits`.
        extra: Masks of each auxiliary head, [P, T, Q, h, w].
    """

    def all_masks(masks: Tensor) -> Tensor:
        return masks[:, :, None] if masks.ndim == 4 else masks

    prompts = len(labels)
    if queries is None:
        queries = torch.zeros(prompts, dtype=torch.int64)
    output = layer(
        all_masks(logits),
        aux=tuple(layer(all_masks(masks)) for masks in earlier),
        extra=extra,
    )
    fields = dict(getattr(batch, "__dict__", {})) | {
        "masks": full_size(labels).bool(),
        "weights": None if weights is None else full_size(weights),
        "padding": full_size(torch.zeros_like(labels) if padding is None else padding).bool(),
        "clip_of_prompt": torch.arange(prompts),
        "boxes": torch.full((*labels.shape[:2], 4), 0.5),
        "valid": torch.ones(labels.shape[:2], dtype=torch.int64) if valid is None else valid,
        "positive": torch.ones(labels.shape[:2], dtype=torch.int64),
    }
    return StepContext(
        SimpleNamespace(**fields),  # type: ignore[arg-type]
        output,  # type: ignore[arg-type]
        None if second_view is None else layer(all_masks(second_view), aux=()),  # type: ignore[arg-type]
        StepPosition(epoch, epochs),
        use_weights=weights is not None,
        matches=[queries] * (1 + len(earlier)),
    )


def full_size(cells: Tensor) -> Tensor:
    """Maps at the stride to maps of the input."""
    return cells.repeat_interleave(STRIDE, -1).repeat_interleave(STRIDE, -2)
