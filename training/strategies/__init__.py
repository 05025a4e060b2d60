"""Learning strategies against label noise: each is one module here, found by looking."""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from importlib import import_module

from training.config.run import StrategyOptions, TrainConfig
from training.files.errors import ActisegError
from training.strategies.base import STRATEGIES, Selection, StepInputs, Strategy, register

__all__ = [
    "STRATEGIES",
    "Selection",
    "StepInputs",
    "Strategy",
    "make_strategy",
    "register",
    "with_strategy_options",
]

_NAMES = [module.name for module in pkgutil.iter_modules(__path__)]
for _name in sorted(_NAMES, key=lambda name: name != "baseline"):  # what others are compared with
    import_module(f"{__name__}.{_name}")


def with_strategy_options(config: TrainConfig) -> TrainConfig:
    """The run with its strategy's options, the default ones if it has none.

    Raises:
        ActisegError: If there is no strategy of that name.
    """
    if config.strategy not in STRATEGIES:
        known = ", ".join(STRATEGIES)
        raise ActisegError(f"--strategy {config.strategy} is unknown; known are {known}")
    if config.strategy_options is not None:
        return config
    return replace(config, strategy_options=STRATEGIES[config.strategy].Options())


def make_strategy(config: TrainConfig) -> Strategy[StrategyOptions]:
    """The strategy that a run names, with its options.

    Raises:
        ActisegError: If there is none of that name.
    """
    return STRATEGIES[config.strategy].from_config(with_strategy_options(config))
