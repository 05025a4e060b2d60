"""Dense multi-head attention and the small blocks that the transformer parts share."""

from __future__ import annotations

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention with one packed projection, batch first.

    The query can be projected apart from the rest, so that prompts share the projection of the
    image they look at.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def project_query(self, query: Tensor) -> Tensor:
        """Projects queries [B, Lq, D] without attending yet."""
        width = query.shape[-1]
        return F.linear(query, self.in_proj_weight[:width], self.in_proj_bias[:width])

    def attend(
        self, projected: Tensor, key: Tensor, value: Tensor, key_padding: Tensor | None = None
    ) -> Tensor:
        """Attends with queries from `project_query`.

        Args:
            projected: Projected queries [B, Lq, D].
            key: [B, Lk, D].
            value: [B, Lk, D].
            key_padding: Bool [B, Lk], True where a key is left out. At least one key per row
                must stay.

        Returns:
            Float32 [B, Lq, D].
        """
        batch, length, width = projected.shape
        weight, bias = self.in_proj_weight, self.in_proj_bias
        k = F.linear(key, weight[width : 2 * width], bias[width : 2 * width])
        v = F.linear(value, weight[2 * width :], bias[2 * width :])
        q, k, v = (
            x.unflatten(-1, (self.heads, width // self.heads)).transpose(1, 2)
            for x in (projected, k, v)
        )
        mask = None if key_padding is None else ~key_padding[:, None, None, :]
        out = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=self.dropout if self.training else 0.0
        )
        return self.out_proj(out.transpose(1, 2).reshape(batch, length, width))

    def forward(
        self, query: Tensor, key: Tensor, value: Tensor, key_padding: Tensor | None = None
    ) -> Tensor:
        """Projects the queries and attends; see `attend`."""
        return self.attend(self.project_query(query), key, value, key_padding)


class FeedForward(nn.Module):
    """Two linear layers with ReLU, the residual sum and its layer norm."""

    def __init__(self, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, inner)
        self.linear2 = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, L, D] to the same shape."""
        inner = self.dropout(F.relu(self.linear1(x)))
        return self.norm(x + self.dropout(self.linear2(inner)))


class MLP(nn.Module):
    """Linear layers with ReLU between them."""

    def __init__(self, inputs: int, inner: int, outputs: int, layers: int) -> None:
        super().__init__()
        sizes = [inputs, *[inner] * (layers - 1), outputs]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    @property
    def last(self) -> nn.Linear:
        """The layer that makes the output."""
        return cast("nn.Linear", self.layers[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Maps [..., inputs] to [..., outputs]."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)
