"""Learning strategies against label noise, by name."""

from __future__ import annotations

from training.errors import ActisegError
from training.strategies.apl import APL
from training.strategies.base import Strategy
from training.strategies.baseline import Baseline
from training.strategies.gce import GCE
from training.strategies.sce import SCE

__all__ = ["STRATEGIES", "Strategy", "make_strategy"]

STRATEGIES: dict[str, type[Strategy]] = {
    strategy.name: strategy for strategy in (Baseline, GCE, SCE, APL)
}


def make_strategy(name: str) -> Strategy:
    """The strategy of that name.

    Raises:
        ActisegError: If there is none.
    """
    if name not in STRATEGIES:
        raise ActisegError(f"--strategy {name} is unknown; known are {', '.join(STRATEGIES)}")
    return STRATEGIES[name]()
