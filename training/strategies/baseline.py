"""ActionVOS's own training: the action-guided focal mask loss on labels taken as they are."""

from __future__ import annotations

from training.config.run import StrategyOptions
from training.strategies.base import Strategy, register


@register("baseline", "Baseline")
class Baseline(Strategy[StrategyOptions]):
    """Changes nothing."""
