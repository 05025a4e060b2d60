"""Random predictions and targets of a batch of prompts, and the coefficients of their terms."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from training.losses.criterion import COEFFICIENTS


@dataclasses.dataclass(frozen=True)
class Predictions:
    logits: Tensor
    boxes: Tensor
    masks: Tensor
    positives: Tensor
    aux: tuple[Predictions, ...] = ()

    def of(self, rows: slice) -> Predictions:
        return _rows(self, rows)


@dataclasses.dataclass(frozen=True)
class Labels:
    masks: Tensor
    weights: Tensor | None
    boxes: Tensor
    valid: Tensor
    positive: Tensor
    padding: Tensor
    clip_of_prompt: Tensor

    def of(self, rows: slice) -> Labels:
        return _rows(self, rows)


def _rows(record, rows: slice):
    changes = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        if isinstance(value, tuple):
            changes[field.name] = tuple(_rows(layer, rows) for layer in value)
        elif value is not None:
            changes[field.name] = value[rows]
    return dataclasses.replace(record, **changes)


def predictions(
    prompts: int = 3,
    frames: int = 2,
    layers: int = 2,
    seed: int = 0,
    size: tuple[int, int] = (6, 8),
) -> Predictions:
    """Predictions with 5 queries and `layers - 1` auxiliary layers."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(prompts, *shape, generator=generator)

    made = [
        Predictions(
            normal(frames, 5, 1),
            normal(frames, 5, 4).sigmoid(),
            4 * normal(frames, 5, *size),
            normal(1),
        )
        for _ in range(layers)
    ]
    return dataclasses.replace(made[-1], aux=tuple(made[:-1]))


def labels(
    prompts: int = 3, frames: int = 2, seed: int = 0, size: tuple[int, int] = (24, 32)
) -> Labels:
    """Every second prompt is active; the others have empty masks and boxes."""
    generator = torch.Generator().manual_seed(seed)
    active = torch.arange(prompts) % 2 == 0
    masks = torch.rand(prompts, frames, *size, generator=generator) > 0.5
    boxes = torch.rand(prompts, frames, 4, generator=generator)
    choices = torch.tensor([1.0, 2.0, 5.0])
    picked = torch.randint(0, 3, (prompts, frames, *size), generator=generator)
    return Labels(
        masks=masks & active[:, None, None, None],
        weights=choices[picked],
        boxes=boxes * active[:, None, None],
        valid=torch.ones(prompts, frames, dtype=torch.int64),
        positive=active[:, None].long().repeat(1, frames),
        padding=torch.zeros(prompts, frames, *size, dtype=torch.bool),
        clip_of_prompt=torch.arange(prompts),
    )


def weight_dict(aux_layers: int) -> dict[str, float]:
    """Coefficients of all terms; auxiliary layer i carries the suffix ``_i``.

    Args:
        aux_layers: decoder layers before the last one.
    """
    suffixes = ["", *(f"_{i}" for i in range(aux_layers))]
    return {name + suffix: value for suffix in suffixes for name, value in COEFFICIENTS.items()}
