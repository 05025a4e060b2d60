"""Batches of prompts whose pixels have names."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from training.data.clips import Batch

Prompt = tuple[str, int, Sequence[str]]
"""Sequence, object id and names of the frames."""


def batch_of(prompts: Sequence[Prompt], sizes: Sequence[tuple[int, int]], seed: int = 0) -> Batch:
    """One clip for each prompt, padded to the largest; sizes are those of the input in pixels."""
    random = np.random.default_rng(seed)
    count, times = len(prompts), len(prompts[0][2])
    height, width = max(h for h, _ in sizes), max(w for _, w in sizes)
    padding = torch.ones(count, times, height, width, dtype=torch.bool)
    for clip, (h, w) in enumerate(sizes):
        padding[clip, :, :h, :w] = False
    frames = torch.tensor(random.normal(0, 0.5, (count, times, 3, height, width))).float()
    masks = torch.tensor(random.random((count, times, height, width)) < 0.4) & ~padding
    return Batch(
        frames=frames.masked_fill(padding[:, :, None], 0),
        padding=padding,
        captions=["knife used in the action of cut onion"] * count,
        clip_of_prompt=torch.arange(count),
        masks=masks,
        weights=(~padding).float(),
        boxes=torch.zeros(count, times, 4),
        valid=torch.ones(count, times, dtype=torch.int64),
        positive=torch.ones(count, times, dtype=torch.int64),
        sizes=torch.tensor(sizes),
        sequences=[sequence for sequence, _, _ in prompts],
        frame_names=[list(names) for _, _, names in prompts],
        start_frames=[names[0] for _, _, names in prompts],
        object_ids=[object_id for _, object_id, _ in prompts],
    )
