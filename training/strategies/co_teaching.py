"""Co-teaching: each of two networks learns from the samples that the other finds easy."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from training.config.strategies import CoTeachingOptions
from training.strategies.base import Strategy

if TYPE_CHECKING:
    from training.config.run import TrainConfig

_ROUNDING = 1e-9
"""Share times number of samples may miss a whole number by this much."""


def keep_rate(forget_rate: float, epoch: int, gradual_epochs: int) -> float:
    """R_n = 1 - rho min(n / T_k, 1) (paper Sec. IV-A).

    Args:
        forget_rate: rho in [0, 1).
        epoch: n, counted from 0, so that all samples count in the first epoch.
        gradual_epochs: T_k, at least 1.
    """
    return 1 - forget_rate * min(epoch / gradual_epochs, 1)


def smallest(losses: Tensor, share: float) -> Tensor:
    """Marks the samples whose loss has a rank (1 to S, divided by S) of at most `share`.

    Args:
        losses: float [S]; of equal losses the earlier one ranks lower.
        share: in (0, 1].

    Returns:
        bool [S], at least one of them true.
    """
    count = max(1, math.floor(share * len(losses) + _ROUNDING))
    kept = torch.zeros_like(losses, dtype=torch.bool)
    kept[losses.argsort(stable=True)[:count]] = True
    return kept


class CoTeaching(Strategy):
    """Two networks; each trains on the share R_n of samples with the least loss for its peer.

    The samples of a window are ranked on each process by their total loss, with the weights at the
    start of the window and without dropout; a window at the end of an epoch may be shorter. A
    sample is a prompt of a clip: what noise over names spoils as a whole. Each process holds its
    window in memory (1.7 GB for 128 samples of 288x512).

    Both networks must differ, or they would pick alike: whatever is fresh has two seeds. A common
    pretrained start leaves only the heads fresh and so removes most of what the method lives on;
    how much the picks agree is logged as `overlap`. The first network is validated and exported.

    Args:
        options: Rates and window.
        noise_rate: Rate of the run's noise over names, which `forget_rate` may refer to.
    """

    name = "co-teaching"
    networks = 2

    def __init__(self, options: CoTeachingOptions, noise_rate: float = 0.0) -> None:
        super().__init__(options)
        self.window = options.window
        rate = options.forget_rate
        self.forget_rate = noise_rate if isinstance(rate, str) else rate
        self._log: dict[str, float] = {}

    @classmethod
    def from_config(cls, config: TrainConfig) -> CoTeaching:
        """The strategy of a run, which names its noise."""
        return cls(config.co_teaching, config.text_noise)

    def keep(self, losses: Sequence[Tensor], epoch: int) -> Sequence[Tensor]:
        """What the peer of each network finds easy.

        Args:
            losses: Of both networks, float [S].
            epoch: Counted from 0.

        Returns:
            The second network's picks for the first to train on and the reverse, bool [S] each.
        """
        rate = keep_rate(self.forget_rate, epoch, self.options.gradual_epochs)
        first, second = (smallest(values, rate) for values in losses)
        both = (first & second).sum().item()
        self._log = {"keep_rate": rate, "overlap": both / first.sum().item()}
        return [second, first]

    def log(self) -> Mapping[str, float]:
        """R_n, and the share of its own picks that a network finds among its peer's."""
        return self._log
