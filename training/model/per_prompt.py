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

    def __call__(self, x: Tensor) -> Tensor:
        """Maps [N, ...] to [P, ...]."""
        if self.clips == 1:
            return x.expand(self.prompts, *x.shape[1:])
        return x if self.index is None else x.index_select(0, self.index)
