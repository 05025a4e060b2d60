"""From clips to their prompts."""

from __future__ import annotations

from torch import Tensor


class PerPrompt:
    """Repeats what belongs to a clip for each of its prompts, without copies where possible."""

    def __init__(self, clips: int, prompts: int, clip_of_prompt: Tensor | None) -> None:
        self.clips, self.prompts, self.index = clips, prompts, clip_of_prompt
        if clip_of_prompt is None and clips != 1 and clips != prompts:
            raise ValueError(
                f"{prompts} prompts for {clips} clips: pass clip_of_prompt to say which is whose"
            )

    @property
    def shared(self) -> bool:
        """Whether all prompts belong to one clip."""
        return self.clips == 1

    def or_shared(self, x: Tensor) -> Tensor:
        """Maps [N, ...] to [P, ...], and to [1, ...] if all prompts share it."""
        return x if self.shared else self(x)

    def __call__(self, x: Tensor) -> Tensor:
        """Maps [N, ...] to [P, ...]."""
        if self.shared:
            return x.expand(self.prompts, *x.shape[1:])
        return x if self.index is None else x.index_select(0, self.index)


def times_shared(rows: Tensor, features: Tensor) -> Tensor:
    """Products of each prompt's rows with features that all prompts share.

    One product over all prompts reads the features once; a batched one would copy them for each.

    Args:
        rows: [P, T, r, n].
        features: [1, T, n, m].

    Returns:
        [P, T, r, m].
    """
    prompts, _, count, _ = rows.shape
    product = rows.transpose(0, 1).flatten(1, 2) @ features[0]
    return product.unflatten(1, (prompts, count)).transpose(0, 1)
