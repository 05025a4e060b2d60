"""A second view of a batch that differs in colours only, so that every pixel keeps its place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.data.pictures import normalise
from training.data.transforms import distort

if TYPE_CHECKING:
    from training.data.clips import Batch

# The loader's distortions have the same ranges, but it applies each only half of the time.
BRIGHTNESS = 32 / 255
"""Largest shift of values in [0, 1]."""
CONTRAST = (0.5, 1.5)
SATURATION = (0.5, 1.5)
HUE = np.radians(18)
"""Largest turn of the colour circle, in radians."""

_LUMA = np.array([0.299, 0.587, 0.114])


def strong_view(batch: Batch, seed: Sequence[int]) -> Tensor:
    """Draws brightness, contrast, saturation and hue for every frame.

    A frame's draw depends on the seed, its sequence and its name only, so it doesn't matter in
    which batch or process it is, or whether the run was resumed.

    Args:
        batch: Normalised frames, 0 on padding.
        seed: Numbers, at least 0, that the draws depend on.

    Returns:
        float32 [N, T, 3, H, W], normalised, within the range of real pictures, 0 on padding.
    """
    clips, times = batch.frames.shape[:2]
    turns, shifts = np.empty((clips, times, 3, 3)), np.empty((clips, times, 1, 1, 1))
    for prompt, clip in enumerate(batch.clip_of_prompt.tolist()):
        for time, frame in enumerate(batch.frame_names[prompt]):
            rng = _generator(seed, f"{batch.sequences[prompt]}/{frame}")
            shifts[clip, time] = rng.uniform(-BRIGHTNESS, BRIGHTNESS)
            turns[clip, time] = rng.uniform(*CONTRAST) * _colours(
                rng.uniform(*SATURATION), rng.uniform(-HUE, HUE)
            )
    frames = batch.frames
    mean, std = (frames.new_tensor(v).view(3, 1, 1) for v in (batch.mean, batch.std))
    turn = torch.from_numpy(turns).to(frames)
    shift = torch.from_numpy(shifts).to(frames)
    values = torch.einsum("ntij,ntjhw->ntihw", turn, frames * std + mean) + shift
    return ((values.clamp(0, 1) - mean) / std).masked_fill(batch.padding[:, :, None], 0)


def distorted_view(batch: Batch, seed: Sequence[int]) -> Tensor:
    """The published photometric distortion of every frame (`training.data.transforms.distort`).

    Draws depend on what those of `strong_view` depend on. It is computed on the host.

    Args:
        batch: Normalised frames, 0 on padding.
        seed: Numbers, at least 0, that the draws depend on.

    Returns:
        float32 [N, T, 3, H, W], normalised, 0 on padding.
    """
    mean, std = (batch.frames.new_tensor(v).view(3, 1, 1) for v in (batch.mean, batch.std))
    stored = ((batch.frames * std + mean) * 255).round().clamp(0, 255).byte()
    pictures = stored.movedim(2, -1).cpu().numpy()
    distorted = np.empty_like(pictures)
    prompts = {clip: prompt for prompt, clip in enumerate(batch.clip_of_prompt.tolist())}
    for clip, prompt in prompts.items():
        for time, frame in enumerate(batch.frame_names[prompt]):
            rng = _generator(seed, f"{batch.sequences[prompt]}/{frame}")
            distorted[clip, time] = distort(pictures[clip, time], rng, clip=False, permute=True)
    frames = torch.from_numpy(distorted).to(batch.frames.device).movedim(-1, 2)
    view = normalise(frames, batch.mean, batch.std)
    return view.masked_fill_(batch.padding[:, :, None], 0)


def _colours(saturation: float, hue: float) -> npt.NDArray[np.float64]:
    """Matrix [3, 3] on RGB: keeps grey, scales the distance from it and turns around it."""
    cosine, sine = np.cos(hue), np.sin(hue) / np.sqrt(3)
    around_grey = np.full((3, 3), (1 - cosine) / 3) + cosine * np.eye(3)
    around_grey += sine * np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return around_grey @ (saturation * np.eye(3) + (1 - saturation) * _LUMA)


def _generator(seed: Sequence[int], name: str) -> np.random.Generator:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return np.random.default_rng([*seed, int.from_bytes(digest, "big")])
