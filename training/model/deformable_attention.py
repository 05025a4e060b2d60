"""Multi-scale deformable attention in plain PyTorch (Zhu et al. 2021, Eq. 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Shape = tuple[int, int]


def sample_by_grid(values: Tensor, locations: Tensor) -> Tensor:
    """Bilinear samples of a map, zero outside it.

    Args:
        values: [B, C, h, w].
        locations: [B, n, k, 2], (x, y) in fractions of the map.

    Returns:
        [B, C, n, k].
    """
    grid = 2 * locations - 1
    return F.grid_sample(values, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def sample_by_gather(values: Tensor, locations: Tensor) -> Tensor:
    """The same as `sample_by_grid` from gathers and products only.

    Some versions of TensorRT give wrong results for GridSample in this place, without an error.
    """
    _, channels, height, width = values.shape
    points = locations.shape[2]
    x = (locations[..., 0] * width - 0.5).flatten(1)
    y = (locations[..., 1] * height - 0.5).flatten(1)
    left, top = x.floor(), y.floor()
    flat = values.flatten(2)
    total = torch.zeros((), dtype=values.dtype, device=values.device)
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = left + dx, top + dy
            share = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column <= width - 1) & (row >= 0) & (row <= height - 1)
            index = row.clamp(0, height - 1) * width + column.clamp(0, width - 1)
            corner = flat.gather(2, index.long()[:, None].expand(-1, channels, -1))
            total = total + corner * (share * inside)[:, None]
    return total.unflatten(-1, (-1, points))


_SAMPLERS = {"grid_sample": sample_by_grid, "gather": sample_by_gather}


class DeformableAttention(nn.Module):
    """Each query reads a few learned points of every level around its reference."""

    def __init__(
        self,
        width: int,
        heads: int,
        levels: int,
        points: int,
        sampler: Literal["grid_sample", "gather"] = "grid_sample",
    ) -> None:
        super().__init__()
        self.heads, self.levels, self.points = heads, levels, points
        self.sampler = sampler
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, width)
        self.output_proj = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts each head in its own direction, the points one step apart."""
        nn.init.zeros_(self.sampling_offsets.weight)
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        directions = torch.stack((angles.cos(), angles.sin()), -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = directions[:, None, None] * steps[:, None]
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def locations(self, query: Tensor, references: Tensor, shapes: Sequence[Shape]) -> Tensor:
        """Sampling points [B, Lq, heads, levels, points, 2] in fractions (x, y) of each level."""
        split = (self.heads, self.levels, self.points, 2)
        offsets = self.sampling_offsets(query).unflatten(-1, split)
        centre = references[:, :, None, :, None, :2]
        if references.shape[-1] == 2:
            # Filled where it is used: a copy from the host could not be part of a CUDA graph.
            sides = [query.new_full((1,), side) for h, w in shapes for side in (w, h)]
            return centre + offsets / torch.cat(sides).view(-1, 1, 2)
        extent = references[:, :, None, :, None, 2:]
        return centre + offsets / self.points * extent * 0.5

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        source: Tensor,
        shapes: Sequence[Shape],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Attends over all levels.

        Args:
            query: [B, Lq, D].
            references: [B or 1, Lq, levels, 2] points or [..., 4] boxes (cx, cy, w, h), fractions.
            source: [B, S, D], the levels one after another, S = sum of h * w.
            shapes: (h, w) of each level.
            padding: Bool [B, S], True where the source is padding (read as zero).

        Returns:
            [B, Lq, D].
        """
        batch, length, width = query.shape
        channels = width // self.heads
        value = self.value_proj(source)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        weights = self.attention_weights(query).unflatten(-1, (self.heads, -1)).softmax(-1)
        weights = weights.unflatten(-1, (self.levels, self.points)).transpose(1, 2)
        locations = self.locations(query, references, shapes).transpose(1, 2)
        sample = _SAMPLERS[self.sampler]
        total = None
        # [B, S, D] -> [B * heads, D / heads, S]: one copy for all levels.
        value = value.transpose(1, 2).reshape(batch * self.heads, channels, -1)
        for level, (part, (h, w)) in enumerate(
            zip(value.split([h * w for h, w in shapes], dim=2), shapes, strict=True)
        ):
            points = locations[:, :, :, level].reshape(batch * self.heads, length, self.points, 2)
            read = sample(part.unflatten(2, (h, w)), points)
            weight = weights[:, :, :, level].reshape(batch * self.heads, 1, length, self.points)
            read = (read * weight).sum(-1)
            total = read if total is None else total + read
        if total is None:
            raise ValueError("deformable attention needs at least one level")
        return self.output_proj(total.reshape(batch, width, length).transpose(1, 2))
