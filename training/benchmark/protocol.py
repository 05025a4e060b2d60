"""The protocol of the findings (docs/findings_protocol.md) as constants and options.

What the pilot settles is None until it stands here; a grid then needs it on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

WorldName = Literal["painted", "kitchen"]

TRAIN_SPLIT, START_SPLIT = "train_cells", "train_start"
CHOOSE_SPLIT, TEST_SPLIT = "val_choose", "val_test"

LONGER = 10 / 6
"""Epochs of co-teaching's second cell relative to the others' (the paper: 10 and 6)."""


@dataclass(frozen=True)
class WorldSize:
    """How many clips the parts of a world have, at least."""

    cells: int
    choose: int


SIZES: Mapping[WorldName, WorldSize] = {
    "painted": WorldSize(cells=500, choose=100),
    "kitchen": WorldSize(cells=300, choose=60),
}

START_EPOCHS, START_SEED, START_LOOK = 6, 1, 1

EPOCHS = 3
"""E, the budget of every cell; settled by the pilot (docs/results/pilot.json)."""
LEARNING_RATE: Mapping[WorldName, float | None] = {"painted": 3e-4, "kitchen": None}
"""R, the peak rate; settled by the pilot, in each world."""
POSITIVE_THRESHOLD: Mapping[WorldName, float | None] = {"painted": 0.65, "kitchen": None}
"""Chosen once on clean validation clips."""


def cell_options(epochs: int) -> tuple[str, ...]:
    """Options of `actiseg train` that all cells of a budget share, but rate and threshold."""
    drops = str(max(1, round(epochs / 2))), str(max(1, round(5 * epochs / 6)))
    return (
        *("--fresh-heads", "--negative-masks", "False", "--ema", "0"),
        *("--schedule", "multistep", "--lr-drop", *drops),
        *("--co-teaching.gradual-epochs", str(epochs)),
    )


def longer(epochs: int) -> int:
    """Epochs of a cell that is trained longer."""
    return round(LONGER * epochs)
