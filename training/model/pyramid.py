"""Geometry of the feature pyramid: shapes, padding and positions of the levels' cells."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from training.model.deformable_attention import Shape
from training.model.outputs import Trace
from training.model.positional import map_encoding, unpadded_map_encoding


@dataclasses.dataclass(frozen=True)
class Pyramid:
    """Geometry of the flattened levels.

    Attributes:
        shapes: (h, w) of each level.
        padding: Bool [B, S], True on padding, or None.
        valid_ratios: Unpadded share (width, height) of each level, [B, levels, 2], or None.
        positions: Positional encoding plus level embedding, [B or 1, S, D].
    """

    shapes: tuple[Shape, ...]
    padding: Tensor | None
    valid_ratios: Tensor | None
    positions: Tensor

    def scale(self, references: Tensor) -> Tensor:
        """References relative to the unpadded part become relative to each whole level.

        Args:
            references: [B, n, 2 or 4], fractions.

        Returns:
            [B, n, levels, 2 or 4].
        """
        if self.valid_ratios is None:
            return references[:, :, None].expand(-1, -1, len(self.shapes), -1)
        ratios = self.valid_ratios
        if references.shape[-1] == 4:
            ratios = torch.cat([ratios, ratios], -1)
        return references[:, :, None] * ratios[:, None]


def valid_ratio(padding: Tensor) -> Tensor:
    """Unpadded share (width, height) of maps padded at the right and the bottom.

    Args:
        padding: Bool [B, h, w].

    Returns:
        Float32 [B, 2].
    """
    _, h, w = padding.shape
    height = (~padding[:, :, 0]).sum(1).to(torch.float32) / h
    width = (~padding[:, 0, :]).sum(1).to(torch.float32) / w
    return torch.stack([width, height], -1)


def cell_centres(
    shapes: Sequence[Shape], valid_ratios: Tensor | None, device: torch.device
) -> Tensor:
    """Centres of all cells in fractions of the unpadded part.

    Args:
        shapes: (h, w) of each level.
        valid_ratios: [B, levels, 2] or None for no padding.
        device: Where to make them.

    Returns:
        Float32 [B or 1, S, 2] as (x, y).
    """
    centres = []
    for level, (h, w) in enumerate(shapes):
        y = torch.linspace(0.5, h - 0.5, h, dtype=torch.float32, device=device)
        x = torch.linspace(0.5, w - 0.5, w, dtype=torch.float32, device=device)
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        if valid_ratios is None:
            grid = torch.stack((grid_x / w, grid_y / h), -1)
        else:
            ratio_x, ratio_y = valid_ratios[:, level, :, None, None].unbind(1)
            grid = torch.stack((grid_x / (ratio_x * w), grid_y / (ratio_y * h)), -1)
        centres.append(grid.reshape(-1, h * w, 2))
    return torch.cat(centres, 1)


def encode_map(shape: Shape, padding: Tensor | None, channels: int, device: torch.device) -> Tensor:
    """Positional encoding of a map.

    Args:
        shape: (h, w).
        padding: Bool [B, h, w], True on padding; None if nothing is padded.
        channels: D.
        device: Where to make it.

    Returns:
        Float32 [B, D, h, w]; without padding one for all, [1, D, h, w].
    """
    if padding is None:
        return unpadded_map_encoding(shape, channels, device)
    return map_encoding(padding, channels)


def build_pyramid(
    shapes: Sequence[Shape],
    paddings: Sequence[Tensor] | None,
    level_embedding: Tensor,
    trace: Trace | None = None,
) -> Pyramid:
    """The geometry of levels that are flattened one after another.

    Args:
        shapes: (h, w) of each level.
        paddings: Bool [B, h, w] each, or None.
        level_embedding: What tells the levels apart, [levels, D].
        trace: Receives `levelpos#` and `valid_ratios`, if given.
    """
    positions = []
    for level, shape in enumerate(shapes):
        padding = None if paddings is None else paddings[level]
        encoded = encode_map(shape, padding, level_embedding.shape[1], level_embedding.device)
        encoded = encoded + level_embedding[level][:, None, None]
        positions.append(encoded.flatten(2).transpose(1, 2))
        if trace is not None:
            trace[f"levelpos{level}"] = encoded
    ratios = flat = None
    if paddings is not None:
        ratios = torch.stack([valid_ratio(p) for p in paddings], 1)
        flat = torch.cat([p.flatten(1) for p in paddings], 1)
        if trace is not None:
            trace["valid_ratios"] = ratios
    return Pyramid(tuple(shapes), flat, ratios, torch.cat(positions, 1))


def cut_levels(memory: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """Cuts flattened levels [B, S, D] into maps [B, D, h, w]."""
    parts = memory.transpose(1, 2).split([h * w for h, w in shapes], dim=2)
    return [part.unflatten(2, shape) for part, shape in zip(parts, shapes, strict=True)]
