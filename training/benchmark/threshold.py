"""Which positive threshold suits a network, on clips that no result is reported on.

The published threshold is 0.75; a network from other weights and a shorter training may be less
sure. Networks are asked once for each clip, and the objects compete for pixels at each threshold.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from training import cli
from training.benchmark.answers import answers
from training.evaluation.inference import is_active, label_maps
from training.evaluation.metrics import METRICS, Metrics, Tally
from training.files.disk import write_json

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class Threshold:
    """Evaluate a network at several positive thresholds and tell the one with the best gIoU."""

    checkpoint: Path
    """Weights of a training."""
    data: Path
    """Folder in the ActionVOS layout."""
    split: Path
    """Clean clips on which nothing is reported."""
    clip_length: int = 1
    """Most frames evaluated together."""
    json: Path | None = None
    """Also write the numbers to this file."""


def measure(options: Threshold) -> dict[float, Metrics]:
    """The metrics at each of `THRESHOLDS`.

    Raises:
        ActisegError: If the split, an image or the weights cannot be read.
    """
    tallies = {threshold: Tally() for threshold in THRESHOLDS}
    found = answers(
        options.checkpoint, options.data, options.split, options.clip_length, "thresholds"
    )
    for part in found:
        for threshold, tally in tallies.items():
            active = is_active(part.answer.positives, threshold)
            maps = label_maps(part.answer.masks, active, part.size)
            for drawn, truth in zip(maps, part.truths, strict=True):
                tally.add_frame(part.clip.labels[drawn], truth, part.clip.positive)
    return {threshold: tally.metrics() for threshold, tally in tallies.items()}


def best(measured: dict[float, Metrics]) -> float:
    """The threshold with the highest gIoU; the larger one of equals."""
    return max(measured, key=lambda threshold: (measured[threshold].giou, threshold))


def main() -> None:
    """Measures and prints the table."""
    options = tyro.cli(Threshold, prog="python -m training.benchmark.threshold")
    measured = measure(options)
    print("threshold" + "".join(f"{name:>8}" for name in METRICS))
    for threshold, metrics in measured.items():
        values = metrics.as_percent()
        print(f"{threshold:9.2f}" + "".join(f"{values[name]:8.2f}" for name in METRICS))
    print(f"best: {best(measured)}")
    if options.json is not None:
        numbers = {str(threshold): metrics.as_percent() for threshold, metrics in measured.items()}
        write_json(options.json, {"best": best(measured), "thresholds": numbers})


if __name__ == "__main__":
    sys.exit(cli.told(main))
