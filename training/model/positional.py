"""Sinusoidal positional encodings of maps and words, with padding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 10000.0
_EPS = 1e-6


def _frequencies(channels: int, device: torch.device) -> Tensor:
    index = torch.arange(channels, dtype=torch.float32, device=device)
    exponent = 2 * torch.div(index, 2, rounding_mode="floor") / channels
    return _TEMPERATURE**exponent


def _interleave(angles: Tensor) -> Tensor:
    """Sine of even and cosine of odd channels (last dimension), interleaved."""
    return torch.stack((angles[..., 0::2].sin(), angles[..., 1::2].cos()), dim=-1).flatten(-2)


def map_encoding(padding: Tensor, channels: int) -> Tensor:
    """2-d encoding of a feature map, normalised to the unpadded size.

    Rows and columns that are padding altogether divide by 1e-6 and so hold sines of huge angles;
    see docs/padding.md.

    Args:
        padding: Bool [B, h, w], True on padding.
        channels: Number of channels, a multiple of 4.

    Returns:
        Float32 [B, channels, h, w]: the first half encodes y, the second x.
    """
    present = (~padding).to(torch.float32)
    y = present.cumsum(1)
    x = present.cumsum(2)
    y = (y - 0.5) / (y[:, -1:, :] + _EPS) * (2 * math.pi)
    x = (x - 0.5) / (x[:, :, -1:] + _EPS) * (2 * math.pi)
    frequencies = _frequencies(channels // 2, padding.device)
    encoded = [_interleave(v[..., None] / frequencies) for v in (y, x)]
    return torch.cat(encoded, dim=3).permute(0, 3, 1, 2)


def unpadded_map_encoding(shape: tuple[int, int], channels: int, device: torch.device) -> Tensor:
    """The same as `map_encoding` without padding, from one table for each axis.

    Small tables keep exported graphs small: the map itself is made when a graph is loaded.

    Args:
        shape: (h, w).
        channels: Number of channels, a multiple of 4.
        device: Where to make it.

    Returns:
        Float32 [1, channels, h, w].
    """
    h, w = shape
    frequencies = _frequencies(channels // 2, device)

    def axis(length: int) -> Tensor:
        cells = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        cells = (cells - 0.5) / (length + _EPS) * (2 * math.pi)
        return _interleave(cells[:, None] / frequencies).transpose(0, 1)

    rows = axis(h)[None, :, :, None].expand(-1, -1, -1, w)
    columns = axis(w)[None, :, None, :].expand(-1, -1, h, -1)
    return torch.cat([rows, columns], 1)


def word_encoding(attention_mask: Tensor, channels: int) -> Tensor:
    """1-d encoding of the words of a prompt, normalised to its length.

    Args:
        attention_mask: Int64 [P, L], 1 on tokens and 0 on padding.
        channels: Number of channels, even.

    Returns:
        Float32 [P, L, channels].
    """
    x = attention_mask.to(torch.float32).cumsum(1)
    x = x / (x[:, -1:] + _EPS) * (2 * math.pi)
    return _interleave(x[..., None] / _frequencies(channels, attention_mask.device))


def resize_padding(padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour sample of a padding mask: source index floor(i * H / h).

    Args:
        padding: Bool [B, H, W].
        size: (h, w) of the result.

    Returns:
        Bool [B, h, w].
    """
    return F.interpolate(padding[None].to(torch.float32), size=size)[0].to(torch.bool)
