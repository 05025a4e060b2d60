"""Learning strategies against label noise: each is one module here, found by looking."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module
from typing import Any

from actiseg_ros.errors import ActisegError
from training.config.noise import RELEASED_NOISE
from training.config.run import Reference, StrategyOptions, TrainConfig
from training.strategies.base import STRATEGIES, Selection, StepInputs, Strategy, register

__all__ = [
    "STRATEGIES",
    "Selection",
    "StepInputs",
    "Strategy",
    "make_strategy",
    "reference_values",
    "register",
    "run_config",
    "with_strategy_options",
]

_NAMES = [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")]
for _name in sorted(_NAMES, key=lambda name: name != "baseline"):  # what others are compared with
    import_module(f"{__name__}.{_name}")


def reference_values(reference: Reference, strategy: str) -> dict[str, Any]:
    """The fields of a `TrainConfig` that a reference sets for a strategy.

    Raises:
        ActisegError: If there is no strategy of that name.
    """
    kind = _known(strategy)
    if reference == "paper":
        return {"strategy_options": kind.Options()}
    return {"noise": RELEASED_NOISE, **kind.released_run, "strategy_options": kind.released}


def run_config(
    strategy: str = "baseline", reference: Reference = "paper", **values: Any
) -> TrainConfig:
    """A run as the command line makes it: what the reference says, with some values of its own.

    Raises:
        ActisegError: If there is no strategy of that name.
    """
    chosen = {"strategy": strategy, "reference": reference, **values}
    return TrainConfig(**{**reference_values(reference, strategy), **chosen})


def with_strategy_options(config: TrainConfig) -> TrainConfig:
    """The run with its strategy's options, those of its reference if it has none.

    Raises:
        ActisegError: If there is no strategy of that name.
    """
    values = reference_values(config.reference, config.strategy)
    if config.strategy_options is not None:
        return config
    return replace(config, strategy_options=values["strategy_options"])


def make_strategy(config: TrainConfig) -> Strategy[StrategyOptions]:
    """The strategy that a run names, with its options.

    Raises:
        ActisegError: If there is none of that name.
    """
    return STRATEGIES[config.strategy].from_config(with_strategy_options(config))


def _known(strategy: str) -> type[Strategy[Any]]:
    if strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ActisegError(f"--strategy {strategy} is unknown; known are {known}")
    return STRATEGIES[strategy]
