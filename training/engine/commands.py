"""The command `actiseg train`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.config.run import TrainConfig


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model; `--resume` continues an interrupted run, `torchrun` uses several devices."""

    def run(self) -> int:
        """Trains; 0 when all epochs are done, 130 when a signal stopped it after a checkpoint."""
        from training.engine.trainer import train

        return train(self)
