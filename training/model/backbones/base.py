"""What all image backbones share: outputs at strides 4, 8, 16 and 32, and statistics of them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Backbone(nn.Module):
    """Common part of all backbones: a stem, then four stages.

    Attributes:
        channels: Output channels at strides 4, 8, 16 and 32.
    """

    channels: tuple[int, int, int, int]
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def stem(self, frames: Tensor) -> Tensor:
        """Reduces [B, 3, H, W] to stride 4."""
        raise NotImplementedError

    def forward(self, frames: Tensor) -> list[Tensor]:
        """Computes the four feature maps.

        Args:
            frames: Normalised RGB, float32 [B, 3, H, W]. Any size; map sizes round up.

        Returns:
            Float32 [B, C_i, ceil(H / s), ceil(W / s)] for s = 4, 8, 16, 32.
        """
        x = self.stem(frames)
        stages = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            stages.append(x)
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
