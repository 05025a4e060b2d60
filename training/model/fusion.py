"""Early fusion of visual features with the words of a prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from training.model.attention import MultiheadAttention
from training.model.per_prompt import PerPrompt


class EarlyFusion(nn.Module):
    """Scales visual tokens by what they attend to among the words.

    The published form is the product alone: no residual, no norm, no dropout on the result, and no
    positional encoding on the visual side. One module serves all levels.
    """

    def __init__(self, width: int, heads: int, kind: Literal["multiplicative", "residual"]) -> None:
        super().__init__()
        self.attention = MultiheadAttention(width, heads, dropout=0.0)
        self.residual = kind == "residual"

    def forward(
        self,
        visual: Tensor,
        projected: Tensor,
        words: Tensor,
        word_positions: Tensor,
        word_padding: Tensor,
    ) -> Tensor:
        """Fuses the tokens of one level.

        Args:
            visual: Tokens of all frames of each prompt's clip, [P, T * h * w, D].
            projected: The same through `attention.project_query`.
            words: [P, L, D].
            word_positions: [P, L, D], added to the keys only.
            word_padding: Bool [P, L], True on padding.

        Returns:
            [P, T * h * w, D].
        """
        attended = self.attention.attend(projected, words + word_positions, words, word_padding)
        return visual * (1 + attended) if self.residual else visual * attended

    def levels(
        self,
        levels: Sequence[Tensor],
        per_prompt: PerPrompt,
        words: Tensor,
        word_positions: Tensor,
        word_padding: Tensor,
    ) -> list[Tensor]:
        """Fuses all levels; what does not depend on the words is computed once a clip.

        Args:
            levels: Of N clips, [N, T, D, h, w] each.
            per_prompt: Which clip each prompt belongs to.
            words: [P, L, D].
            word_positions: [P, L, D].
            word_padding: Bool [P, L].

        Returns:
            [P, T, D, h, w] of each level.
        """
        fused = []
        for level in levels:
            _, count, _, h, w = level.shape
            tokens = level.flatten(3).transpose(2, 3).flatten(1, 2)
            projected = self.attention.project_query(tokens)
            out = self(
                per_prompt(tokens), per_prompt(projected), words, word_positions, word_padding
            )
            fused.append(out.unflatten(1, (count, h * w)).transpose(2, 3).unflatten(3, (h, w)))
        return fused
