"""What all image backbones share: outputs at strides 4, 8, 16 and 32, and statistics of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Common part of all backbones: a stem, then four stages.

    Attributes:
        channels: Output channels at strides 4, 8, 16 and 32.
        frames_apart: Whether a frame's maps are the same whatever else is in the batch, in training
            too: no statistics of the batch.
    """

    channels: tuple[int, int, int, int]
    frames_apart = False
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def stem(self, frames: Tensor) -> Tensor:
        """Reduces [B, 3, H, W] to stride 4."""
        raise NotImplementedError

    def forward(self, frames: Tensor, repeats: tuple[Tensor, Tensor] | None = None) -> list[Tensor]:
        """Computes the four feature maps.

        Args:
            frames: Normalised RGB, float32 [B, 3, H, W]. Any size; map sizes round up.
            repeats: If frames show the same picture, one frame of each of the D pictures (int64
                [D]) and the picture of each frame (int64 [B]): each picture is then computed once,
                unless the statistics of the batch count.

        Returns:
            Float32 [B, C_i, ceil(H / s), ceil(W / s)] for s = 4, 8, 16, 32.
        """
        once = self.frames_apart or not self.training
        if repeats is not None and once:
            frames = frames.index_select(0, repeats[0])
        x = self.stem(frames)
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            stages.append(x)
        if repeats is not None and once:
            return [stage.index_select(0, repeats[1]) for stage in stages]
        return stages


def pooled_statistics(stages: Sequence[Tensor]) -> Tensor:
    """Channel means and standard deviations of all stages, for out-of-distribution detection.

    Args:
        stages: Feature maps [B, C_i, h_i, w_i].

    Returns:
        Float32 [B, 2 * sum(C_i)]: per stage its means, then its standard deviations.
    """
    parts = []
    for stage in stages:
        values = stage.flatten(2)
        mean = values.mean(-1, keepdim=True)
        parts.append(mean.squeeze(-1))
        # Biased deviation with a floor: a constant channel must not give an infinite gradient.
        parts.append(((values - mean).square().mean(-1) + 1e-12).sqrt())
    return torch.cat(parts, 1)
