"""What strategies with a history of each pixel share."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from training.config.options import require
from training.config.run import TrainConfig
from training.strategies.base import O_co, Strategy
from training.strategies.support.history import PixelHistory

FOLDER = "histories"
"""Where they lie in the folder of a run."""


class HistoryStrategy(Strategy[O_co]):
    """A strategy with a value for each pixel of the last decoder layer's matched masks."""

    dtype: str
    """Of the values on disk."""
    of_samples: bool = False
    """Whether a frame has a history in each sample that it is in, see `PixelHistory`."""

    def __init__(self, options: O_co) -> None:
        super().__init__(options)
        self._history: PixelHistory | None = None

    @property
    def history(self) -> PixelHistory:
        """The histories of this run."""
        if self._history is None:
            raise RuntimeError("open comes before training")
        return self._history

    @classmethod
    def from_config(cls, config: TrainConfig) -> Strategy[Any]:
        """The strategy of a run, with its options.

        Raises:
            ActisegError: If pixels or frames would not be the same in every epoch.
        """
        recipe = config.recipe()
        require(
            recipe.augmentation != "all",
            "augmentation",
            recipe.augmentation,
            f"photometric or none with {cls.name}, which remembers pixels by their place",
        )
        strategy = super().from_config(config)
        require(
            not (recipe.redraw_frames and cast("HistoryStrategy[O_co]", strategy).of_samples),
            "redraw_frames",
            recipe.redraw_frames,
            f"False with --{cls.name}.history-of sample",
        )
        return strategy

    def open(self, folder: Path, *, resume: bool) -> None:
        """Histories begin anew unless `load_state_dict` follows."""
        self._history = PixelHistory(folder / FOLDER, self.dtype, of_samples=self.of_samples)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Takes in what the former epoch updated."""
        self.history.begin_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the histories are, not what they hold."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes back to that place."""
        self.history.load_state_dict(state)
