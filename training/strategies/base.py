"""What a learning strategy may change, and how it becomes known.

The engine owns the loop, the optimiser, mixed precision, processes and checkpoints
(`training.engine.step` is one step from top to bottom). A strategy may change the network (an
auxiliary head), how many there are, what a batch asks and says, every term of the loss, which
samples count, what it remembers for each pixel, and the augmentation it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn

from training.config.run import StrategyOptions, TrainConfig
from training.losses.context import StepContext, StepPosition
from training.losses.criterion import Terms, published_terms

if TYPE_CHECKING:
    from training.data.clips import Batch
    from training.model import ActionVOS

O_co = TypeVar("O_co", bound=StrategyOptions, covariant=True)


class StepInputs(NamedTuple):
    """What the network is asked in a step."""

    batch: Batch
    second_view: Tensor | None = None
    """Other frames for the same prompts and padding, normalised, float32 [N, T, 3, H, W]; frames
    that show the same picture (`Batch.picture_of_frame`) must do so here too, unless the batch says
    that none do."""


@dataclass(frozen=True)
class Selection:
    """The samples of a window that each network learns from."""

    kept: Sequence[Tensor]
    """For each network the indices of its samples, int64 [K], in the order of their steps where
    each has one."""
    log: Mapping[str, float]
    """Numbers about the choice, for the run's logs."""


class Strategy(Generic[O_co]):
    """The published training, and the places where a subclass departs from it.

    Args:
        options: The strategy's own dataclass.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    Options: ClassVar[type[StrategyOptions]]
    released: ClassVar[StrategyOptions]
    """Options that do what the authors' released code does."""
    released_run: ClassVar[Mapping[str, Any]]
    """Values of `TrainConfig` that do so."""

    networks: ClassVar[int] = 1
    """Networks that are trained together; the first is validated and exported."""
    window: int = 0
    """Samples of each process that `select` sees together; those of one step if these are more."""
    step_for_each_sample: bool = False
    """Whether each network takes an optimiser step for each selected sample, instead of one for all
    batches of an accumulation."""
    ranking_mode: Literal["training", "evaluation"] = "evaluation"
    """Mode of the networks whose losses `select` sees."""
    teacher_decay: float = 0.0
    """Decay of a moving average of each network's weights, which `StepContext.teacher` asks; 0
    keeps none."""

    def __init__(self, options: O_co) -> None:
        self.options = options
        self.sources: dict[str, str] = {}
        """SHA-256 of what it reads beside the data, by what that is called in errors."""

    @classmethod
    def from_config(cls, config: TrainConfig) -> Strategy[Any]:
        """The strategy of a run, with its options."""
        return cls(cast("O_co", config.strategy_options))

    # Before training

    def extend(self, model: ActionVOS) -> nn.Module:
        """The network that is trained, e.g. the model with an auxiliary head; same `forward`."""
        return model

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model that is validated and exported: without what only training needs."""
        return cast("ActionVOS", network)

    def open(self, folder: Path, *, resume: bool) -> None:
        """Told the run's folder before training, where histories may live.

        Every process of a distributed run calls this, before `load_state_dict`.

        Args:
            folder: Folder of the run; it exists.
            resume: Whether a checkpoint is continued; otherwise what is left there is stale.
        """

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Told before each epoch (counted from 0) of how many; again when a run resumes in it."""

    # In each step, in this order

    def select(self, losses: Sequence[Tensor], position: StepPosition) -> Selection:
        """Chooses the samples that each network learns from; asked only with several networks.

        Args:
            losses: For each network, the total loss of each sample (prompt), float32 [S].
            position: Where in the run the window is.
        """
        return Selection([torch.arange(len(own), device=own.device) for own in losses], {})

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """What a network is asked: the batch, with other prompts, frames or labels if need be.

        Args:
            batch: As it was read, on the training device.
            position: Where in the run the step is.
            network: Which of the networks is asked.
        """
        return StepInputs(batch)

    def losses(self, context: StepContext) -> Terms:
        """All terms of the step, which names say what they are (`training.losses.criterion`).

        They are weighted by the published coefficients and by `coefficients`.
        """
        return published_terms(context)

    @property
    def coefficients(self) -> Mapping[str, float]:
        """Weights of the terms that only this strategy has."""
        return {}

    def resting(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """Trainable parameters that the step leaves as they are; asked after its backward passes.

        They have a part in its losses all the same (their gradients are thrown away), since
        processes that train together wait for the gradient of every parameter. The answer must be
        the same in all processes.

        Args:
            network: What `extend` gave.
        """
        return ()

    # In checkpoints

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the network: tensors and plain values only.

        Every process calls this when a checkpoint is written (the place to flush files); the first
        process's answer is stored.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""


STRATEGIES: dict[str, type[Strategy[Any]]] = {}
"""All strategies by name, as `register` has met them."""

_S = TypeVar("_S", bound=type[Strategy[Any]])


def register(
    name: str,
    title: str,
    options: type[StrategyOptions] = StrategyOptions,
    *,
    released: Mapping[str, Any] | None = None,
    released_run: Mapping[str, Any] | None = None,
) -> Callable[[_S], _S]:
    """Makes a strategy known to the command line, the benchmark, the report and the docs.

    Args:
        name: What ``--strategy`` calls it; its options are ``--NAME.OPTION``.
        title: How tables and charts write it.
        options: Its options: a frozen dataclass, with the paper's values as defaults.
        released: Options that differ under ``--reference released``.
        released_run: Options of the run that differ then (fields of `TrainConfig`).
    """

    def add(kind: _S) -> _S:
        kind.name, kind.title, kind.Options = name, title, options
        kind.released, kind.released_run = options(**released or {}), released_run or {}
        STRATEGIES[name] = kind
        return kind

    return add
