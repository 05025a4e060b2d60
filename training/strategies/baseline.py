"""ActionVOS's own training: the action-guided focal mask loss on labels taken as they are."""

from __future__ import annotations

from training.strategies.base import Strategy


class Baseline(Strategy):
    """Changes nothing."""

    name = "baseline"
