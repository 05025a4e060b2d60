"""Encoder and decoder of networks that meet the words late.

The published decoder fuses the words into every level before it looks at the picture, so most of
its work is done once a prompt. Here the encoded levels stay as they are; the sentence is the start
of the queries, which look at all levels by plain cross-attention: what a frame costs is paid once,
and a prompt adds a few queries.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.model.attention import FeedForward, MultiheadAttention
from training.model.config import ModelConfig
from training.model.per_prompt import PerPrompt
from training.model.pyramid import Pyramid, cell_centres, valid_ratio
from training.model.transformer import Decoded, QueryDecoder


class DenseEncoderLayer(nn.Module):
    """Self-attention among all cells, then feed-forward, each with residual and norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(config.width, config.heads, config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.feedforward = FeedForward(config.width, config.feedforward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor | None) -> Tensor:
        """Maps [B, S, D] to the same shape."""
        query = x + positions
        attended = self.self_attn(query, query, x, padding)
        return self.feedforward(self.norm(x + self.dropout(attended)))


class CoarseEncoder(nn.Module):
    """Dense encoder layers over the levels from stride 16 on; stride 8 passes unchanged."""

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(DenseEncoderLayer(config) for _ in range(layers))

    def forward(self, source: Tensor, pyramid: Pyramid) -> Tensor:
        """Encodes [B, S, D], the cells of all levels one after another."""
        fine = pyramid.shapes[0][0] * pyramid.shapes[0][1]
        first, coarse = source[:, :fine], source[:, fine:]
        positions = pyramid.positions[:, fine:]
        padding = None if pyramid.padding is None else pyramid.padding[:, fine:]
        for layer in self.layers:
            coarse = layer(coarse, positions, padding)
        return torch.cat([first, coarse], 1)


class LateDecoderLayer(nn.Module):
    """Cross-attention of the queries to all cells of a frame, then feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.cross_attn = MultiheadAttention(config.width, config.heads, config.dropout)
        self.norm = nn.LayerNorm(config.width)
        self.feedforward = FeedForward(config.width, config.feedforward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, positions: Tensor, memory: Tensor, pyramid: Pyramid, padding: Tensor | None
    ) -> Tensor:
        """Updates the queries.

        Args:
            x: [B, L, D].
            positions: Positional part of the queries, [B or 1, L, D].
            memory: [B, S, D].
            pyramid: Positions of the memory's cells.
            padding: Bool [B, S], True on padding, or None.

        Returns:
            [B, L, D].
        """
        # Also what is read says where it lies: the boxes have no other source.
        memory = memory + pyramid.positions
        attended = self.cross_attn(x + positions, memory, memory, padding)
        return self.feedforward(self.norm(x + self.dropout(attended)))


class LateDecoder(QueryDecoder):
    """Decodes all prompts of a frame together; boxes are refined from layer to layer.

    They start from where the first layer's masks lie (`mask_centres`).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, LateDecoderLayer)
        del self.reference_points  # the masks say where the boxes start

    def forward(
        self,
        sentence: Tensor,
        memory: Tensor,
        pyramid: Pyramid,
        per_prompt: PerPrompt,
        centres_of: Callable[[Tensor], Tensor],
    ) -> Decoded:
        """Decodes the queries of every prompt and frame.

        Args:
            sentence: Start of all queries, [P, D].
            memory: Encoded levels of N clips of T frames, [N, T, S, D].
            pyramid: Geometry of the memory, padding as bool [N * T, S].
            per_prompt: Which clip each prompt belongs to.
            centres_of: Where the masks of the first layer's hidden states [B, Q, D] lie, [B, Q, 2].

        Returns:
            Hidden states and boxes of every layer, B = P * T.
        """
        prompts, (clips, frames) = sentence.shape[0], memory.shape[:2]
        queries = len(self.query_positions)
        positions = self.query_positions[None]
        x = sentence[:, None].expand(-1, queries, -1)
        padding = pyramid.padding
        if clips == 1:
            # All prompts look at the same cells: one attention of P * Q queries a frame.
            x = x.reshape(1, prompts * queries, -1).expand(frames, -1, -1)
            positions = positions.repeat(1, prompts, 1)
            seen = memory[0]
        else:
            x = x[:, None].expand(-1, frames, -1, -1).flatten(0, 1)
            seen = per_prompt(memory).flatten(0, 1)
            if padding is not None:
                padding = per_prompt(padding.unflatten(0, (clips, frames))).flatten(0, 1)
            pyramid = _of_prompts(pyramid, per_prompt, clips, frames)
        hidden: list[Tensor] = []
        inputs: list[Tensor] = []
        boxes: list[Tensor] = []
        for layer, head in zip(self.layers, self.box_heads, strict=True):
            x = layer(x, positions, seen, pyramid, padding)
            own = x
            if clips == 1:
                own = x.unflatten(1, (prompts, queries)).transpose(0, 1).flatten(0, 1)
            inputs.append(boxes[-1].detach() if boxes else centres_of(own))
            hidden.append(own)
            boxes.append(head(own, inputs[-1]))
        return Decoded(tuple(hidden), inputs[0], tuple(inputs), tuple(boxes))


def mask_centres(masks: Tensor, padding: Tensor | None) -> Tensor:
    """Where masks lie.

    Args:
        masks: Logits, [P, T, Q, h, w].
        padding: Bool [P, T, h, w], True on padding, or None.

    Returns:
        Mean (x, y) of the cells, weighted by their probabilities, in fractions of the unpadded
        part, without gradient, [P, T, Q, 2]. A mask of less than a cell says little: the middle
        of the picture counts as one cell.
    """
    h, w = masks.shape[-2:]
    shares = masks.detach().float().sigmoid().flatten(3)
    if padding is not None:
        shares = shares.masked_fill(padding.flatten(2)[:, :, None], 0.0)
    sums = shares @ cell_centres([(h, w)], None, masks.device)[0]
    if padding is not None:
        ratios = valid_ratio(padding.flatten(0, 1)).unflatten(0, padding.shape[:2])
        sums = sums / ratios[:, :, None]
    return (sums + 0.5) / (shares.sum(-1, keepdim=True) + 1)


def _of_prompts(pyramid: Pyramid, per_prompt: PerPrompt, clips: int, frames: int) -> Pyramid:
    """The geometry with positions for each prompt, where clips are padded differently."""
    positions = pyramid.positions
    if len(positions) > 1:
        positions = per_prompt(positions.unflatten(0, (clips, frames))).flatten(0, 1)
    return Pyramid(pyramid.shapes, None, None, positions)
