"""Samples and batches of clips with several prompts each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sample:
    """T frames of a sequence with P prompts."""

    frames: Tensor
    """Normalised RGB, float32 [T, 3, H, W]."""
    captions: list[str]
    """P prompts."""
    masks: Tensor
    """bool [P, T, H, W]; empty for objects that are not active."""
    weights: Tensor
    """Action-guided loss weights 1, 2 or 5, float32 [P, T, H, W]."""
    boxes: Tensor
    """Centre x, centre y, width, height in fractions of the clip, float32 [P, T, 4]."""
    valid: Tensor
    """int64 [P, T], 1."""
    positive: Tensor
    """1 if the object is active, int64 [P, T]."""
    size: tuple[int, int]
    """H, W."""
    sequence: str
    frame_names: list[str]
    object_ids: list[int]
    pad_multiple: int = 32
    """Batches are padded to a multiple of this many pixels."""


@dataclass(frozen=True)
class Batch:
    """N clips of T frames with P prompts in all, padded at the right and the bottom."""

    frames: Tensor
    """Normalised RGB, 0 on padding, float32 [N, T, 3, H, W]."""
    padding: Tensor
    """True on padding, bool [N, T, H, W]."""
    captions: list[str]
    """P prompts, those of the first clip first."""
    clip_of_prompt: Tensor
    """Index of each prompt's clip, int64 [P]."""
    masks: Tensor
    """bool [P, T, H, W]."""
    weights: Tensor
    """0 on padding, else 1, 2 or 5; float32 [P, T, H, W]."""
    boxes: Tensor
    """In fractions of the clip without padding, float32 [P, T, 4]."""
    valid: Tensor
    """int64 [P, T]."""
    positive: Tensor
    """int64 [P, T]."""
    sizes: Tensor
    """Height and width of each clip without padding, int64 [N, 2]."""
    sequences: list[str]
    """Sequence of each prompt, P entries."""
    frame_names: list[list[str]]
    """T frame names for each prompt."""
    object_ids: list[int]
    """Object id of each prompt."""

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch with its tensors on a device."""
        moved: dict[str, Any] = {
            item.name: value.to(device, non_blocking=non_blocking)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **moved)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; called by the data loader."""
        pinned: dict[str, Any] = {
            item.name: value.pin_memory()
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **pinned)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads samples to their largest height and width, rounded up, and joins their prompts.

    Raises:
        ValueError: If the samples differ in their numbers of frames.
    """
    counts = {sample.frames.shape[0] for sample in samples}
    if len(counts) != 1:
        raise ValueError(f"clips of {sorted(counts)} frames cannot form one batch")
    multiple = max(sample.pad_multiple for sample in samples)
    height, width = (
        -(-max(sample.size[axis] for sample in samples) // multiple) * multiple for axis in (0, 1)
    )
    frames = torch.zeros(len(samples), counts.pop(), 3, height, width)
    padding = torch.ones(*frames.shape[:2], height, width, dtype=torch.bool)
    prompts = sum(len(sample.captions) for sample in samples)
    masks = torch.zeros(prompts, *padding.shape[1:], dtype=torch.bool)
    weights = torch.zeros(prompts, *padding.shape[1:])
    start = 0
    for index, sample in enumerate(samples):
        h, w = sample.size
        frames[index, :, :, :h, :w] = sample.frames
        padding[index, :, :h, :w] = False
        own = slice(start, start + len(sample.captions))
        masks[own, :, :h, :w] = sample.masks
        weights[own, :, :h, :w] = sample.weights
        start = own.stop
    of_prompt = [sample for sample in samples for _ in sample.captions]
    return Batch(
        frames=frames,
        padding=padding,
        captions=[caption for sample in samples for caption in sample.captions],
        clip_of_prompt=torch.tensor(
            [index for index, sample in enumerate(samples) for _ in sample.captions]
        ),
        masks=masks,
        weights=weights,
        boxes=torch.cat([sample.boxes for sample in samples]),
        valid=torch.cat([sample.valid for sample in samples]),
        positive=torch.cat([sample.positive for sample in samples]),
        sizes=torch.tensor([sample.size for sample in samples]),
        sequences=[sample.sequence for sample in of_prompt],
        frame_names=[sample.frame_names for sample in of_prompt],
        object_ids=[object_id for sample in samples for object_id in sample.object_ids],
    )
