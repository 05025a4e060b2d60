"""Deformable transformer: encoder over the levels, decoder over the object queries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn

from training.model.attention import MLP, FeedForward, MultiheadAttention
from training.model.config import ModelConfig
from training.model.deformable_attention import DeformableAttention
from training.model.pyramid import Pyramid, cell_centres

LEVELS = 4


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Logit of a probability, finite at 0 and 1."""
    x = x.clamp(0, 1)
    return (x.clamp(min=eps) / (1 - x).clamp(min=eps)).log()


class EncoderLayer(nn.Module):
    """Deformable self-attention, then feed-forward, each with residual and norm."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = DeformableAttention(
            config.width, config.heads, LEVELS, config.points, config.sampler
        )
        self.norm1 = nn.LayerNorm(config.width)
        self.feedforward = FeedForward(config.width, config.feedforward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, source: Tensor, references: Tensor, pyramid: Pyramid) -> Tensor:
        """Maps [B, S, D] to the same shape; `references` are [B or 1, S, levels, 2]."""
        attended = self.self_attn(
            source + pyramid.positions, references, source, pyramid.shapes, pyramid.padding
        )
        return self.feedforward(self.norm1(source + self.dropout(attended)))


class Encoder(nn.Module):
    """Stack of encoder layers over the concatenated levels."""

    def __init__(self, config: ModelConfig, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(layers))

    def forward(
        self, source: Tensor, pyramid: Pyramid, trace: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Encodes [B, S, D]; `trace` receives each layer's output as `encoder_layerN`."""
        if not self.layers:
            return source
        centres = cell_centres(pyramid.shapes, pyramid.valid_ratios, source.device)
        references = pyramid.scale(centres)
        for index, layer in enumerate(self.layers):
            source = layer(source, references, pyramid)
            if trace is not None:
                trace[f"encoder_layer{index}"] = source
        return source


class DecoderLayer(nn.Module):
    """Self-attention among the queries of a frame, deformable cross-attention, feed-forward."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(config.width, config.heads, config.dropout)
        self.norm_self = nn.LayerNorm(config.width)
        self.cross_attn = DeformableAttention(
            config.width, config.heads, LEVELS, config.points, config.sampler
        )
        self.norm_cross = nn.LayerNorm(config.width)
        self.feedforward = FeedForward(config.width, config.feedforward, config.dropout)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self, x: Tensor, positions: Tensor, references: Tensor, memory: Tensor, pyramid: Pyramid
    ) -> Tensor:
        """Updates the queries.

        Args:
            x: [B, Q, D].
            positions: Positional part of the queries, [1, Q, D].
            references: [B, Q, levels, 2 or 4].
            memory: [B, S, D].
            pyramid: Geometry of the memory.

        Returns:
            [B, Q, D].
        """
        query = x + positions
        x = self.norm_self(x + self.dropout(self.self_attn(query, query, x)))
        attended = self.cross_attn(
            x + positions, references, memory, pyramid.shapes, pyramid.padding
        )
        x = self.norm_cross(x + self.dropout(attended))
        return self.feedforward(x)


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What the decoder leaves for the heads; B = P * T.

    Attributes:
        hidden: Output of each layer, tuple of [B, Q, D].
        initial: First reference points, [B, Q, 2].
        inputs: References that each layer started from, tuple of [B, Q, 2 or 4] (detached after
            the first).
        boxes: Boxes (cx, cy, w, h) refined by each layer, tuple of [B, Q, 4], with gradient.
    """

    hidden: tuple[Tensor, ...]
    initial: Tensor
    inputs: tuple[Tensor, ...]
    boxes: tuple[Tensor, ...]


class BoxHead(nn.Module):
    """MLP that moves a reference to a box in logit space."""

    def __init__(self, width: int, first: bool) -> None:
        super().__init__()
        self.mlp = MLP(width, width, 4, 3)
        last = self.mlp.last
        nn.init.zeros_(last.weight)
        with torch.no_grad():
            # Only the first layer starts from small boxes; later ones refine its result.
            last.bias.copy_(torch.tensor([0.0, 0.0, -2.0, -2.0] if first else [0.0] * 4))

    def forward(self, hidden: Tensor, reference: Tensor) -> Tensor:
        """Box (cx, cy, w, h) in fractions, [B, Q, 4], from references [B, Q, 2 or 4]."""
        delta = self.mlp(hidden)
        base = inverse_sigmoid(reference)
        if reference.shape[-1] == 2:
            base = torch.cat([base, torch.zeros_like(base)], -1)
        return (delta + base).sigmoid()


class QueryDecoder(nn.Module):
    """What decoders of object queries share: layers, box heads and where the queries start.

    Args:
        config: Sizes.
        layer: Makes one decoder layer.
    """

    def __init__(self, config: ModelConfig, layer: Callable[[ModelConfig], nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer(config) for _ in range(config.decoder_layers))
        self.box_heads = nn.ModuleList(
            BoxHead(config.width, first=index == 0) for index in range(config.decoder_layers)
        )
        self.query_positions = nn.Parameter(torch.empty(config.queries, config.width))
        self.reference_points = nn.Linear(config.width, 2)
        nn.init.normal_(self.query_positions)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)


class Decoder(QueryDecoder):
    """Decoder with iterative box refinement (Zhu et al. 2021, Sec. 4.2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__(config, DecoderLayer)

    def forward(self, sentence: Tensor, memory: Tensor, pyramid: Pyramid) -> Decoded:
        """Decodes the queries of every frame.

        Args:
            sentence: Start of all queries, [B, D].
            memory: [B, S, D].
            pyramid: Geometry of the memory.

        Returns:
            Hidden states, references and boxes of every layer.
        """
        batch = sentence.shape[0]
        positions = self.query_positions[None]
        x = sentence[:, None].expand(-1, self.query_positions.shape[0], -1)
        reference = self.reference_points(positions).sigmoid().expand(batch, -1, -1)
        initial = reference
        hidden, inputs, boxes = [], [], []
        for layer, head in zip(self.layers, self.box_heads, strict=True):
            x = layer(x, positions, pyramid.scale(reference), memory, pyramid)
            box = head(x, reference)
            hidden.append(x)
            inputs.append(reference)
            boxes.append(box)
            reference = box.detach()
        return Decoded(tuple(hidden), initial, tuple(inputs), tuple(boxes))
