"""Does a network's uncertainty tell where it fails? One file for each cell of a benchmark.

A sample is an active object in a frame where it is visible. Its uncertainty is the larger of the
gate's two (p and n, Eq. 4), 1 where nothing is drawn; it fails if what is drawn overlaps it by
less than half. Taking samples in the order of their uncertainty, the share of failures among those
taken so far is the risk at that coverage; the area under it is 0 for a network that never fails,
its failure rate if uncertainty says nothing, and less the better it tells.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray

from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.uncertainty import (
    ambiguous_pixels,
    claimed_pixels,
    n_uncertainty,
    p_uncertainty,
)
from training import cli
from training.benchmark.answers import ClipAnswer, answers
from training.benchmark.cell_result import RESULT_FILE
from training.benchmark.settings import SETTINGS_FILE, read_data
from training.checkpoints.reading import load_weights
from training.data.layout import split_file
from training.evaluation.inference import MASK_THRESHOLD, is_active, label_maps, trained_threshold
from training.files.disk import read_json, write_json

FAILURES_FILE = "failures.json"
FAILS_BELOW = 0.5
"""IoU below which a sample counts as a failure."""
_DIGITS = 4
_COLUMNS = ("p_uncertainty", "n_uncertainty", "iou")
"""Of the file, as `Samples` calls them; newer ones have `in_map` too."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Samples:
    """Uncertainty and overlap of a cell's samples, [N] each, in [0, 1]."""

    p_uncertainty: Floats
    n_uncertainty: Floats
    iou: Floats
    in_map: NDArray[np.bool_] | None = None
    """Whether the label map has any pixel of it, [N]; None where files of before do not say."""

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Which samples fail, [N]."""
        return np.asarray(self.iou < FAILS_BELOW)

    @property
    def worst(self) -> Floats:
        """The larger of both uncertainties, [N]."""
        return np.maximum(self.p_uncertainty, self.n_uncertainty)

    @property
    def drawn(self) -> Samples:
        """Those of which anything is drawn: of the others it is no art to say that they fail.

        Files of before do not say what the label map has (docs/results/painted was counted so):
        there it is what is not as unsure as can be. That takes in masks whose every pixel goes to
        another object, and leaves out the few that are drawn where both uncertainties are 1.
        """
        some = self.in_map
        if some is None:
            some = (self.p_uncertainty < 1) | (self.n_uncertainty < 1)
        return Samples(
            self.p_uncertainty[some], self.n_uncertainty[some], self.iou[some],
            None if self.in_map is None else self.in_map[some],
        )  # fmt: skip


@dataclass(frozen=True)
class Area:
    """Area under risk and coverage, fractions."""

    found: float
    random: float
    """In random order: the failure rate."""
    best: float
    """With all failures last."""

    @property
    def relative(self) -> float:
        """0 for the best order, 1 for a random one; NaN where they are the same."""
        gap = self.random - self.best
        return (self.found - self.best) / gap if gap > 0 else float("nan")


def area(uncertainty: Floats, failed: NDArray[np.bool_]) -> Area:
    """Area under risk and coverage; equal uncertainties count as if in random order.

    Args:
        uncertainty: [N], N at least 1.
        failed: [N].
    """
    rate = float(failed.mean())
    return Area(_area(uncertainty, failed), rate, _area(failed.astype(float), failed))


def _area(uncertainty: Floats, failed: NDArray[np.bool_]) -> float:
    _, group = np.unique(uncertainty, return_inverse=True)
    shares = np.bincount(group, failed) / np.bincount(group)
    expected = shares[np.sort(group)]
    return float(np.mean(np.cumsum(expected) / np.arange(1, len(failed) + 1)))


def measure(checkpoint: Path, data: Path, split: Path, clip_length: int = 1) -> Samples:
    """Asks a network about all clips of a split.

    Raises:
        ActisegError: If the split, an image or the weights cannot be read, or no active object is
            visible.
    """
    threshold = trained_threshold(load_weights(checkpoint)[1])
    rows: list[tuple[float, float, float, bool]] = []
    for found in answers(checkpoint, data, split, clip_length, "uncertainty"):
        rows += _samples(found, threshold)
    if not rows:
        raise ActisegError(f"{split}: no active object is visible in any frame")
    p, n, iou, in_map = np.array(rows).T
    return Samples(p, n, iou, in_map.astype(bool))


def _samples(found: ClipAnswer, threshold: float) -> list[tuple[float, float, float, bool]]:
    """Each active object in each frame that shows it: p- and n-uncertainty, IoU, is it drawn?"""
    active = is_active(found.answer.positives, threshold)
    drawn = label_maps(found.answer.masks, active, found.size)
    probabilities = found.answer.masks.float().sigmoid().cpu().numpy()
    rows = []
    for position, entry in enumerate(found.clip.objects):
        if not entry.positive:
            continue
        for frame, truth in enumerate(found.truths):
            true = truth == entry.object_id
            if not true.any():
                continue
            mine = drawn[frame] == position + 1
            overlap = float((true & mine).sum() / (true | mine).sum())
            p = n = 1.0
            if active[position]:
                mask = probabilities[position, frame] >= MASK_THRESHOLD
                ambiguous = ambiguous_pixels(probabilities[position, frame])
                others = claimed_pixels(np.delete(probabilities[:, frame], position, axis=0))
                p = p_uncertainty(mask, ambiguous)
                n = n_uncertainty(mask, ambiguous, others)
            rows.append((p, n, overlap, bool(mine.any())))
    return rows


def write_samples(folder: Path, samples: Samples) -> None:
    """Writes ``failures.json`` into a cell's folder."""
    columns = {name: np.round(getattr(samples, name), _DIGITS).tolist() for name in _COLUMNS}
    if samples.in_map is not None:
        columns["in_map"] = samples.in_map.tolist()
    write_json(folder / FAILURES_FILE, columns, indent=None)


def read_samples(folder: Path) -> Samples | None:
    """Reads a cell's ``failures.json``; None if it has none.

    Raises:
        ActisegError: If the file is damaged.
    """
    path = folder / FAILURES_FILE
    if not path.exists():
        return None
    content = read_json(path)
    try:
        columns = {name: np.array(content[name], np.float64) for name in _COLUMNS}
        in_map = np.array(content["in_map"], np.bool_) if "in_map" in content else None
        lengths = {len(values) for values in (*columns.values(), in_map) if values is not None}
        if len(lengths) != 1 or not len(columns["iou"]):
            raise ValueError("its columns differ in length or are empty")
        return Samples(**columns, in_map=in_map)
    except (KeyError, TypeError, ValueError) as error:
        raise ActisegError(f"{path}: damaged ({error}); remove it and measure again") from error


@dataclass(frozen=True)
class Failures:
    """Measure how well uncertainty tells failures, for all finished cells that have none yet."""

    runs: tyro.conf.Positional[Path]
    """Folder of a benchmark."""
    clip_length: int = 1
    """Most frames that are asked about together, as in the cells' evaluation."""


def main() -> None:
    """Measures and prints a line for each cell.

    Raises:
        ActisegError: If the folder is no benchmark's, or a cell cannot be measured.
    """
    options = tyro.cli(Failures, prog="python -m training.benchmark.failures")
    source = read_data(options.runs)
    if source is None:
        raise ActisegError(
            f"{options.runs / SETTINGS_FILE}: is missing or does not say what data the cells were "
            "made with; name the folder of a benchmark"
        )
    split = split_file(source.data, source.val_split)
    for result in sorted(options.runs.glob(f"*/*/*/{RESULT_FILE}")):
        folder = result.parent
        weights = folder / "run" / "last.safetensors"
        samples = read_samples(folder)
        if samples is None and weights.exists():
            samples = measure(weights, source.data, split, options.clip_length)
            write_samples(folder, samples)
        name = folder.relative_to(options.runs)
        if samples is None:
            print(f"{name}: its weights are gone")
            continue
        print(f"{name}: {_told(samples)}; of what is drawn {_told(samples.drawn)}")


def _told(samples: Samples) -> str:
    if not len(samples.iou):
        return "nothing"
    found = area(samples.worst, samples.failed)
    return (
        f"{100 * found.random:.1f} % fail, area {100 * found.found:.1f} "
        f"(best {100 * found.best:.1f}), relative {found.relative:.2f}"
    )


if __name__ == "__main__":
    sys.exit(cli.told(main))
