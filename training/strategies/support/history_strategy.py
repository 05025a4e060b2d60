"""What strategies with a history of each pixel share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.strategies.base import O_co, Strategy
from training.strategies.support.history import PixelHistory

FOLDER = "histories"
"""Where they lie in the folder of a run."""


class HistoryStrategy(Strategy[O_co]):
    """A strategy with a value for each pixel of the last decoder layer's matched masks."""

    spatial_augmentation = False
    dtype: str
    """Of the values on disk."""

    def __init__(self, options: O_co) -> None:
        super().__init__(options)
        self._history: PixelHistory | None = None

    @property
    def history(self) -> PixelHistory:
        """The histories of this run."""
        if self._history is None:
            raise RuntimeError("open comes before training")
        return self._history

    def open(self, folder: Path, *, resume: bool) -> None:
        """Histories begin anew unless `load_state_dict` follows."""
        self._history = PixelHistory(folder / FOLDER, self.dtype)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Takes in what the former epoch updated."""
        self.history.begin_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the histories are, not what they hold."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to that place."""
        self.history.load_state_dict(state)
