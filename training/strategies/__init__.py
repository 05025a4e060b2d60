"""Learning strategies against label noise, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.files.errors import ActisegError
from training.strategies.apl import APL
from training.strategies.base import Matched, Strategy
from training.strategies.baseline import Baseline
from training.strategies.co_teaching import CoTeaching
from training.strategies.elr import ELR
from training.strategies.gce import GCE
from training.strategies.npn import NPN
from training.strategies.pmhm import PMHM
from training.strategies.sce import SCE

if TYPE_CHECKING:
    from training.config.run import TrainConfig

__all__ = ["STRATEGIES", "Matched", "Strategy", "make_strategy"]

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Baseline, CoTeaching, GCE, SCE, APL, ELR, NPN, PMHM)
}


def make_strategy(config: TrainConfig) -> Strategy:
    """The strategy that a run names, with its options.

    Raises:
        ActisegError: If there is none of that name.
    """
    if config.strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ActisegError(f"--strategy {config.strategy} is unknown; known are {known}")
    return STRATEGIES[config.strategy].from_config(config)
