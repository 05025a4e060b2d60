"""Early fusion of visual features with the words of a prompt."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from training.model.attention import MultiheadAttention


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
