"""One training step as the losses see it: a batch, what a network says of it, and its labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from training.data.clips import Batch
from training.losses.matching import match, sample_at_stride
from training.model import LayerOutput, Output


@dataclass(frozen=True)
class StepPosition:
    """Where in a run a step is."""

    epoch: int = 0
    """Counted from 0."""
    epochs: int = 1
    """How many the run has."""
    step: int = 0
    """Optimiser step, counted from 0 over the whole run."""


class MatchedLayer:
    """What one decoder layer predicts, and the query that is matched to each prompt.

    Args:
        index: The layer, counted from 0.
        last: Whether it is the decoder's last one.
        output: Its predictions.
        queries: Matched query of each prompt, int64 [P].
    """

    def __init__(self, index: int, last: bool, output: LayerOutput, queries: Tensor) -> None:
        self.index, self.last = index, last
        self.output, self.queries = output, queries

    def name(self, term: str) -> str:
        """The term's name in this layer: earlier layers have their number as a suffix."""
        return term if self.last else f"{term}_{self.index}"

    def of_matched(self, predictions: Tensor) -> Tensor:
        """[P, T, Q, ...] to [P, T, ...] of the matched queries."""
        return matched(predictions, self.queries)

    @cached_property
    def logits(self) -> Tensor:
        """Mask logits of the matched queries, float32 [P, T, h, w]."""
        return self.of_matched(self.output.masks.float())


@dataclass(frozen=True)
class StepContext:
    """Everything that a loss may read; each derived value is computed when first asked for.

    Maps at the stride of the masks have one cell for 4x4 pixels of the input.
    """

    batch: Batch
    """Labels, on the device of the predictions."""
    output: Output
    """Predictions for the P prompts of the batch."""
    second_view: Output | None = None
    """Predictions on the strategy's second view of the same frames; None if it has none."""
    position: StepPosition = StepPosition()
    network: int = 0
    """Which of the networks that are trained together this is."""
    use_weights: bool = True
    """Whether the action-guided weights count; without them padding counts as background."""
    matches: Sequence[Tensor] | None = None
    """Query of each prompt in each layer, int64 [P]; None finds the cheapest ones."""
    ask_teacher: Callable[[], Output] | None = None
    ask_peers: Callable[[], tuple[Output, ...]] | None = None
    log: dict[str, Tensor | float] = field(default_factory=dict)
    """Numbers about the step, scalars, which a strategy adds for the run's logs."""

    @cached_property
    def layers(self) -> tuple[MatchedLayer, ...]:
        """All decoder layers, the last one first."""
        outputs: list[LayerOutput] = [*(getattr(self.output, "aux", None) or ()), self.output]
        queries = match(outputs, self.batch) if self.matches is None else self.matches
        last = len(outputs) - 1
        return tuple(
            MatchedLayer(index, index == last, outputs[index], queries[index])
            for index in range(last, -1, -1)
        )

    @property
    def last(self) -> MatchedLayer:
        """The last decoder layer."""
        return self.layers[0]

    @property
    def earlier(self) -> tuple[MatchedLayer, ...]:
        """The layers before it, first to last."""
        return self.layers[:0:-1]

    @cached_property
    def labels(self) -> Tensor:
        """The (noisy) masks at the stride, 0 or 1, float32 [P, T, h, w]."""
        return sample_at_stride(self.batch.masks, self.size).float()

    @cached_property
    def weights(self) -> Tensor | None:
        """Action-guided weights at the stride, 0 on padding, float32 [P, T, h, w]; None for 1."""
        if not self.use_weights:
            return None
        if self.batch.weights is None:
            raise ValueError("use_weights=True, but the batch has no pixel weights")
        return sample_at_stride(self.batch.weights, self.size).float()

    @cached_property
    def inside(self) -> Tensor:
        """False on padding, bool [P, T, h, w]."""
        image = ~self.batch.padding[self.batch.clip_of_prompt]
        return sample_at_stride(image, self.size)

    @property
    def size(self) -> tuple[int, int]:
        """h, w of the mask logits."""
        return self.output.masks.shape[-2], self.output.masks.shape[-1]

    @cached_property
    def valid_frames(self) -> Tensor:
        """The published normaliser (`valid_frames`); every process of a run asks for it."""
        return valid_frames(self.batch.valid)

    @cached_property
    def teacher(self) -> Output:
        """What the moving average of this network's weights predicts on the batch, no gradient.

        Raises:
            RuntimeError: If the strategy has no `teacher_decay`.
        """
        if self.ask_teacher is None:
            raise RuntimeError("a strategy with a teacher sets teacher_decay")
        return self.ask_teacher()

    @cached_property
    def peers(self) -> tuple[Output, ...]:
        """What the other networks predict on the batch, in their order, without gradient."""
        return () if self.ask_peers is None else self.ask_peers()

    def relabelled(self, **labels: Any) -> StepContext:
        """The same step with other labels, matched anew.

        Args:
            labels: Fields of the batch: `masks`, `boxes`, `weights`, `valid` or `positive`.
        """
        return replace(self, batch=replace(self.batch, **labels), matches=None)


def matched(predictions: Tensor, queries: Tensor) -> Tensor:
    """[P, T, Q, ...] to [P, T, ...] of the query of each prompt."""
    rows = torch.arange(len(queries), device=queries.device)
    return predictions[rows, :, queries]


def valid_frames(valid: Tensor) -> Tensor:
    """Valid (prompt, frame) pairs, averaged over the processes of a distributed run, at least 1."""
    count = (valid > 0).sum().float()
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(count)
        count = count / torch.distributed.get_world_size()
    return count.clamp(min=1)
