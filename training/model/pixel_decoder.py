"""Cross-modal feature pyramid that makes the stride-4 mask features."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from training.model.attention import FeedForward, MultiheadAttention
from training.model.config import ModelConfig
from training.model.deformable_attention import Shape
from training.model.per_prompt import PerPrompt
from training.model.positional import resize_padding
from training.model.pyramid import encode_map

# Reduction of the maps in the self-attention at strides 4, 8, 16 and 32.
REDUCTIONS = (8, 4, 2, 1)
LEVELS = len(REDUCTIONS)


class NormedConv(nn.Module):
    """Convolution without bias and group norm, optionally with ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int, groups: int, relu: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        self.norm = nn.GroupNorm(groups, outputs)
        self.relu = relu
        nn.init.kaiming_uniform_(self.conv.weight, a=1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, h, w] to [B, outputs, h, w]."""
        x = self.norm(self.conv(x))
        return F.relu(x) if self.relu else x


class PixelBlock(nn.Module):
    """One pyramid level: lateral projection, attention over the clip, words, output.

    `lateral` and the self-attention do not see the prompt. At stride 4 their input is the bare
    backbone, so `see` is run once a frame there and shared by all prompts.
    """

    def __init__(
        self, config: ModelConfig, inputs: int, reduction: int, reads_words: bool = True
    ) -> None:
        super().__init__()
        width, dropout = config.width, config.dropout
        self.reduction = reduction
        self.reads_words = reads_words
        self.lateral = NormedConv(inputs, width, 1, config.pixel_groups, relu=False)
        self.self_attn = MultiheadAttention(width, config.heads, dropout)
        self.norm1 = nn.LayerNorm(width)
        if reads_words:
            self.cross_attn = MultiheadAttention(width, config.heads, dropout)
            self.norm2 = nn.LayerNorm(width)
            self.feedforward = FeedForward(width, config.pixel_feedforward, dropout)
        self.output = NormedConv(width, width, 3, config.pixel_groups, relu=True)
        self.dropout = nn.Dropout(dropout)

    def see(self, source: Tensor, positions: Tensor, padding: Tensor | None, clips: int) -> Tensor:
        """Lateral projection and self-attention over all frames of a clip jointly.

        Args:
            source: [B, C, h, w] with B = clips * T, frames of a clip in a row.
            positions: [B or 1, D, h, w].
            padding: Bool [B, h, w] or None.
            clips: Number of clips.

        Returns:
            Tokens [clips, T * h * w, D] after the first norm.
        """
        x = self.lateral(source)
        width, h, w = x.shape[1:]
        query = x + positions
        value = x
        small = (h, w)
        if self.reduction > 1:
            small = (h // self.reduction, w // self.reduction)
            query = F.interpolate(query, size=small, mode="nearest")
            value = F.interpolate(value, size=small, mode="nearest")
            padding = None if padding is None else resize_padding(padding, small)

        def tokens(maps: Tensor) -> Tensor:
            return maps.flatten(2).transpose(1, 2).reshape(clips, -1, width)

        attended = self.self_attn(
            tokens(query),
            tokens(query),
            tokens(value),
            None if padding is None else padding.reshape(clips, -1),
        )
        if self.reduction > 1:
            maps = attended.reshape(-1, small[0] * small[1], width).transpose(1, 2)
            maps = F.interpolate(
                maps.unflatten(2, small), size=(h, w), mode="bilinear", align_corners=False
            )
            attended = tokens(maps)
        return self.norm1(tokens(x) + self.dropout(attended))

    def read(
        self, seen: Tensor, projected: Tensor, keys: Tensor, words: Tensor, padding: Tensor
    ) -> Tensor:
        """Cross-attention to the words and feed-forward.

        Args:
            seen: Result of `see`, [P, T * h * w, D].
            projected: `project` of the same tokens.
            keys: Words with positions, [P, L, D].
            words: [P, L, D].
            padding: Bool [P, L], True on padding.

        Returns:
            [P, T * h * w, D].
        """
        attended = self.cross_attn.attend(projected, keys, words, padding)
        return self.feedforward(self.norm2(seen + self.dropout(attended)))

    def project(self, seen: Tensor, positions: Tensor, clips: int) -> Tensor:
        """Query projection of the cross-attention, which the prompts of a clip share.

        Args:
            seen: [clips, T * h * w, D].
            positions: [B or 1, D, h, w] with B = clips * T.
            clips: Number of clips.

        Returns:
            [clips, T * h * w, D].
        """
        width = seen.shape[-1]
        encoded = positions.flatten(2).transpose(1, 2)
        count = encoded.shape[1]
        frames = seen.reshape(-1, count, width) + encoded
        return self.cross_attn.project_query(frames.reshape(clips, -1, width))

    def merge(self, tokens: Tensor, shape: Shape, coarser: Tensor | None) -> Tensor:
        """Adds the enlarged coarser level and applies the output convolution.

        Args:
            tokens: [P, T * h * w, D].
            shape: (h, w).
            coarser: Output of the level above, [P * T, D, h', w'], or None at the top.

        Returns:
            [P * T, D, h, w].
        """
        h, w = shape
        maps = tokens.reshape(-1, h * w, tokens.shape[-1]).transpose(1, 2).unflatten(2, shape)
        if coarser is not None:
            maps = maps + F.interpolate(coarser, size=shape, mode="nearest")
        return self.output(maps)


@dataclasses.dataclass(frozen=True)
class FineTokens:
    """The stride-4 level of clips or prompts.

    Attributes:
        tokens: [clips or prompts, T * h * w, D].
        projected: Their query projection for the words, of the same shape; None if that level does
            not attend to words.
        shape: (h, w).
    """

    tokens: Tensor
    projected: Tensor | None
    shape: Shape


class PixelDecoder(nn.Module):
    """Top-down pyramid over strides 32, 16, 8 (encoder memory) and 4 (backbone)."""

    def __init__(self, config: ModelConfig, fine_channels: int) -> None:
        super().__init__()
        self.width = config.width
        inputs = (fine_channels, config.width, config.width, config.width)
        self.blocks = nn.ModuleList(
            PixelBlock(config, channels, reduction, LEVELS - index <= config.word_levels)
            for index, (channels, reduction) in enumerate(zip(inputs, REDUCTIONS, strict=True))
        )
        kernel = config.mask_kernel
        self.mask_features = nn.Conv2d(config.width, config.width, kernel, padding=kernel // 2)
        nn.init.kaiming_uniform_(self.mask_features.weight, a=1)
        if self.mask_features.bias is not None:
            nn.init.zeros_(self.mask_features.bias)

    @property
    def fine_block(self) -> PixelBlock:
        """The block at stride 4."""
        return cast("PixelBlock", self.blocks[0])

    def see(self, source: Tensor, padding: Tensor | None, clips: int) -> FineTokens:
        """What the stride-4 level sees in the backbone's features, once a clip.

        Args:
            source: [B, C, h, w] with B = clips * T.
            padding: Bool [B, h, w] or None.
            clips: N.
        """
        shape: Shape = (source.shape[2], source.shape[3])
        positions = encode_map(shape, padding, self.width, source.device)
        return FineTokens(self.fine_block.see(source, positions, padding, clips), None, shape)

    def for_prompts(
        self, fine: Tensor, padding: Tensor | None, per_prompt: PerPrompt
    ) -> FineTokens:
        """The stride-4 tokens of every prompt, with their projection if the level reads words.

        Args:
            fine: What `see` gave as maps, [N, T, D, h, w].
            padding: Bool [N * T, h, w] or None.
            per_prompt: Which clip each prompt belongs to.
        """
        shape: Shape = (fine.shape[3], fine.shape[4])
        tokens = fine.flatten(3).transpose(2, 3).flatten(1, 2)
        if not self.fine_block.reads_words:
            return FineTokens(per_prompt(tokens), None, shape)
        positions = encode_map(shape, padding, self.width, fine.device)
        projected = self.fine_block.project(tokens, positions, fine.shape[0])
        return FineTokens(per_prompt(tokens), per_prompt(projected), shape)

    def forward(
        self,
        fine: FineTokens,
        memory: Sequence[Tensor],
        paddings: Sequence[Tensor] | None,
        text: tuple[Tensor, Tensor, Tensor] | None,
        clips: int,
    ) -> Tensor:
        """Computes mask features for every prompt and frame.

        Args:
            fine: Stride-4 tokens.
            memory: Encoder memory at strides 8, 16, 32: [P * T, D, h, w] each.
            paddings: Padding at strides 4 to 64, bool [P * T, h, w] each, or None.
            text: Words with positions [P, L, D], words [P, L, D], padding bool [P, L]; None if no
                level reads words.
            clips: P; without words, the number of clips.

        Returns:
            [P * T, D, h, w] at stride 4.
        """
        merged = None
        blocks = [cast("PixelBlock", block) for block in self.blocks]
        for index in range(len(memory), 0, -1):
            block, source = blocks[index], memory[index - 1]
            padding = None if paddings is None else paddings[index]
            shape: Shape = (source.shape[2], source.shape[3])
            positions = encode_map(shape, padding, self.width, source.device)
            tokens = block.see(source, positions, padding, clips)
            if block.reads_words and text is not None:
                tokens = block.read(tokens, block.project(tokens, positions, clips), *text)
            merged = block.merge(tokens, shape, merged)
        tokens = fine.tokens
        if fine.projected is not None and text is not None:
            tokens = self.fine_block.read(tokens, fine.projected, *text)
        return self.mask_features(self.fine_block.merge(tokens, fine.shape, merged))
