"""Co-teaching: each of two networks learns from the samples that the other finds easy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor

from training.config.options import require
from training.config.run import Recipe, StrategyOptions, TrainConfig
from training.losses.context import StepPosition
from training.strategies.base import Selection, Strategy, register

_ROUNDING = 1e-9
"""Share times number of samples may miss a whole number by this much."""


@dataclass(frozen=True)
class CoTeachingOptions(StrategyOptions):
    """Co-teaching of two networks."""

    forget_rate: float | Literal["noise_rate"] = 0.05
    """Rho, by how much the share that is kept falls, in [0, 1) (paper: 0.05, since it keeps loss
    ranks up to 0.95; released: 0.1); `noise_rate` takes the run's `text_noise`, as the authors of
    co-teaching do."""
    start_rate: float = 1.0
    """Share that is kept in the first epoch, above `forget_rate` and at most 1 (paper: 1; released:
    0.95)."""
    gradual_epochs: int = 6
    """T_k, epochs over which the share falls, at least 1 (paper: 6)."""
    steps: Literal["window", "sample"] = "window"
    """Optimiser steps of a window: one over all samples that are kept (the paper's accumulation),
    or one for each of them, the peer's easiest first (released), about 120 times as many."""
    ranking: Literal["training", "evaluation"] = "training"
    """Mode of the networks while they rank: in `training` dropout adds its noise to the losses, as
    released; the paper does not say."""
    window: int = 128
    """Samples (prompts) of each process that are ranked together, at least 2 (paper: 128)."""

    def __post_init__(self) -> None:
        rate = self.forget_rate
        allowed = isinstance(rate, str) or 0 <= rate < 1
        require(allowed, "co_teaching.forget_rate", rate, "in [0, 1) or noise_rate")
        require(
            self.gradual_epochs >= 1,
            "co_teaching.gradual_epochs",
            self.gradual_epochs,
            "at least 1",
        )
        require(self.window >= 2, "co_teaching.window", self.window, "at least 2")
        self.require_start_above(0 if isinstance(rate, str) else rate)

    def require_start_above(self, forget_rate: float) -> None:
        """Refuses a start from which `forget_rate`, once it is known, leaves no sample.

        Raises:
            ActisegError: Naming both.
        """
        allowed = forget_rate < self.start_rate <= 1
        above = f"above the forget rate ({forget_rate:g}), at most 1"
        require(allowed, "co_teaching.start_rate", self.start_rate, above)

    def recipe_changes(self, recipe: Recipe, *, published: bool) -> Mapping[str, Any]:
        """The paper trains it for ten epochs, with a step for each window."""
        if not published or self.steps == "sample":
            return {}
        return {"epochs": 10, "accumulate": math.ceil(self.window / recipe.batch_size)}


def keep_rate(
    forget_rate: float, epoch: int, gradual_epochs: int, start_rate: float = 1.0
) -> float:
    """R_n = 1 - rho min(n / T_k, 1) (paper Sec. IV-A), or another start for the 1.

    Args:
        forget_rate: rho in [0, 1).
        epoch: n, counted from 0, so that all samples count in the first epoch.
        gradual_epochs: T_k, at least 1.
        start_rate: in (`forget_rate`, 1].
    """
    return start_rate - forget_rate * min(epoch / gradual_epochs, 1)


def easiest(losses: Tensor, share: float) -> Tensor:
    """The samples whose loss has a rank (1 to S, divided by S) of at most `share`.

    Args:
        losses: float [S]; of equal losses the earlier one ranks lower.
        share: in (0, 1].

    Returns:
        Their indices in rising order of the loss, int64 [K], at least one.
    """
    count = max(1, math.floor(share * len(losses) + _ROUNDING))
    return losses.argsort(stable=True)[:count]


@register(
    "co-teaching",
    "Co-teaching",
    CoTeachingOptions,
    released={"start_rate": 0.95, "forget_rate": 0.1, "steps": "sample"},
    released_run={"action_weights": False},
)
class CoTeaching(Strategy[CoTeachingOptions]):
    """Two networks; each trains on the share R_n of samples with the least loss for its peer.

    The samples of a window are ranked on each process by their total loss, with the weights at the
    start of the window; a window at the end of an epoch may be shorter. A
    sample is a prompt of a clip: what noise over names spoils as a whole. Each process holds its
    window in memory (1.7 GB for 128 samples of 288x512).

    Both networks must differ, or they would pick alike: whatever is fresh has two seeds. A common
    pretrained start leaves only the heads fresh and so removes most of what the method lives on;
    how much the picks agree is logged as `overlap`. The first network is validated and exported.

    Args:
        options: Rates and window.
        noise_rate: Rate of the run's noise over names, which `forget_rate` may refer to.

    Raises:
        ActisegError: If the forget rate is not below the start rate.
    """

    networks = 2

    def __init__(self, options: CoTeachingOptions, noise_rate: float = 0.0) -> None:
        super().__init__(options)
        self.window = options.window
        self.step_for_each_sample = options.steps == "sample"
        self.ranking_mode = options.ranking
        rate = options.forget_rate
        self.forget_rate = noise_rate if isinstance(rate, str) else rate
        options.require_start_above(self.forget_rate)

    @classmethod
    def from_config(cls, config: TrainConfig) -> CoTeaching:
        """The strategy of a run, which names its noise."""
        return cls(cast("CoTeachingOptions", config.strategy_options), config.text_noise)

    def select(self, losses: Sequence[Tensor], position: StepPosition) -> Selection:
        """What the peer of each network finds easy.

        Args:
            losses: Of both networks, float [S].
            position: The epoch says how many samples are kept.

        Returns:
            The second network's picks for the first to train on and the reverse, the easiest first;
            R_n, and the share of its own picks that a network finds among its peer's.
        """
        options = self.options
        rate = keep_rate(
            self.forget_rate, position.epoch, options.gradual_epochs, options.start_rate
        )
        first, second = (easiest(values, rate) for values in losses)
        overlap = torch.isin(first, second).float().mean().item()
        return Selection([second, first], {"keep_rate": rate, "overlap": overlap})
