"""``clips.json``: what a cell reached on each clip, from which its numbers follow for any clips.

The six metrics are quotients of sums over samples. Kept for each clip, the sums tell what the
metrics would be on another draw of clips (bootstrap) or on a part of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actiseg_ros.errors import ActisegError
from training.evaluation.metrics import METRICS, Tally
from training.files.disk import read_json, write_json

CLIPS_FILE = "clips.json"
SUMS = tuple(Tally().sums())
"""Columns; see ``Tally.sums``."""
_QUOTIENTS = {
    "p_miou": ("p_iou", "p_samples"),
    "n_miou": ("n_iou", "n_samples"),
    "p_ciou": ("p_intersection", "p_union"),
    "n_ciou": ("n_intersection", "n_union"),
    "giou": ("giou", "samples"),
    "acc": ("right", "samples"),
}
_DIGITS = 6


@dataclass(frozen=True)
class ClipScores:
    """A cell's results by clip."""

    clips: tuple[str, ...]
    """Names of the sequences."""
    sums: NDArray[np.float64]
    """[clips, SUMS]."""


def clip_scores(tallies: Mapping[str, Tally]) -> ClipScores:
    """Results by clip of an evaluation (``evaluate_sequences``)."""
    rows = [list(tally.sums().values()) for tally in tallies.values()]
    return ClipScores(tuple(tallies), np.array(rows, np.float64).reshape(-1, len(SUMS)))


def metrics_of(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The six metrics in percent of summed rows, [...] each; NaN where they are undefined.

    Args:
        sums: [..., SUMS].
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            name: 100 * sums[..., SUMS.index(above)] / sums[..., SUMS.index(below)]
            for name, (above, below) in ((name, _QUOTIENTS[name]) for name in METRICS)
        }


def write_clip_scores(folder: Path, scores: ClipScores) -> None:
    """Writes ``clips.json`` into a cell's folder."""
    rows = {
        name: [round(float(value), _DIGITS) for value in row]
        for name, row in zip(scores.clips, scores.sums, strict=True)
    }
    write_json(folder / CLIPS_FILE, {"sums": list(SUMS), "clips": rows}, indent=None)


def read_clip_scores(folder: Path) -> ClipScores | None:
    """Reads a cell's ``clips.json``; None if it has none, as cells of older versions.

    Raises:
        ActisegError: If the file is damaged.
    """
    path = folder / CLIPS_FILE
    if not path.exists():
        return None
    content = read_json(path)
    try:
        if content["sums"] != list(SUMS):
            raise ValueError(f"its columns are {content['sums']}")
        rows = np.array(list(content["clips"].values()), np.float64)
        return ClipScores(tuple(content["clips"]), rows.reshape(-1, len(SUMS)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ActisegError(f"{path}: damaged ({error}); run its cell again") from error
