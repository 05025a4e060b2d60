"""What a few clips of one's own give: from the embedded network against from scratch.

``python -m training.demo.curve --out build/curve`` draws a kitchen in another style, trains on ever
more of its clips, with clean labels and with noisy ones, for the same number of steps each, and
writes what every network reaches on clips of other videos. All of it is drawn.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tyro

from actiseg_ros.errors import ActisegError
from training import cli
from training.config.run import RECIPES, TrainConfig
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.kitchen.style import Style
from training.data.layout import split_file
from training.data.prepare import prepare
from training.data.splits import read_split
from training.files.claims import claim
from training.files.disk import read_json, write_json, write_text
from training.files.processes import in_processes, usable_cores
from training.model.device import choose_device

STARTS = ("embedded", "scratch")
_NUMBERS = ("p_miou", "n_miou", "acc")


@dataclass(frozen=True)
class Curve:
    """Train on ever more clips of a drawn kitchen in another style; run again, it goes on."""

    out: Path = Path("build/curve")
    """Folder for data, runs, curve.json and curve.md."""
    clips: tuple[int, ...] = (5, 10, 20, 50, 100)
    """Numbers of clips."""
    val_clips: int = 40
    """Clips of other videos that every network is measured on."""
    steps: int = 200
    """Optimiser steps of each training, at least."""
    style: Style = "ink"
    """How the kitchen is drawn."""
    seed: int = 21
    """Kitchen to draw; also of the trainings."""
    text_noise: float = 0.4
    """Share of wrong nouns in noisy labels."""
    mask_noise: int = 15
    """Kernel of the mask noise in noisy labels, pixels."""
    labels: tuple[str, ...] = ("clean", "noisy")
    """Which labels."""
    starts: tuple[str, ...] = STARTS
    """Which networks to start from."""
    device: str = "auto"
    """Where to train and measure: `auto` (CUDA if there is any), `cpu`, `cuda` or `cuda:N`."""
    jobs: int = 1
    """Trainings at a time, which share the device and the cores."""


@dataclass(frozen=True)
class _Cell:
    """One training."""

    clips: int
    start: str
    labels: str

    @property
    def name(self) -> str:
        return f"{self.clips}-{self.start}-{self.labels}"


def run(options: Curve) -> list[dict[str, Any]]:
    """Trains and measures what is not there yet.

    Returns:
        One row for each training, in percent.

    Raises:
        ActisegError: An option is impossible, or a command failed.
    """
    for given, known in ((options.labels, ("clean", "noisy")), (options.starts, STARTS)):
        for name in given:
            if name not in known:
                raise ActisegError(f"{name!r} is none of {', '.join(known)}")
    if not options.clips or min(options.clips) < 1:
        raise ActisegError(f"--clips is {options.clips}; expected numbers from 1 on")
    if options.jobs < 1:
        raise ActisegError(f"--jobs is {options.jobs}; expected at least 1")
    choose_device(options.device)
    _data(options)
    rows = []
    jobs = [(cell, options) for cell in _cells(options)]
    for row in in_processes(_row, jobs, options.jobs):
        rows.append(row)
        write_json(options.out / "curve.json", rows)
        write_text(options.out / "curve.md", "\n".join(table(rows)) + "\n")
    return rows


def _row(job: tuple[_Cell, Curve]) -> dict[str, Any]:
    """The result of a training, which is made if it is not there."""
    cell, options = job
    result = options.out / "cells" / cell.name / "result.json"
    if not result.is_file():
        write_json(result, {**asdict(cell), **_measure(cell, options)})
    row: dict[str, Any] = read_json(result)
    return row


def _cells(options: Curve) -> Iterator[_Cell]:
    for clips in options.clips:
        for start in options.starts:
            for labels in options.labels:
                yield _Cell(clips, start, labels)


def _data(options: Curve) -> None:
    """Makes the kitchen in the ActionVOS layout, with a split for each number of clips."""
    data = options.out / "data"
    most = max(options.clips)
    plan = {
        name: value
        for name, value in asdict(options).items()
        if name in ("val_clips", "style", "seed", "steps", "text_noise", "mask_noise")
    }
    claim(options.out / "plan.json", {**plan, "most": most}, "a learning curve")
    if not split_file(data, "val").is_file():
        every = most + options.val_clips
        share = options.val_clips / every
        drawn = KitchenConfig(every, options.seed, share, (854, 480), style=options.style)
        make_kitchen(options.out / "tree", drawn)
        tree = options.out / "tree"
        prepare(tree / "VISOR", tree / "annotations", data)
    train = read_split(split_file(data, "train"))
    for count in options.clips:
        write_json(split_file(data, f"train_{count}"), train[:count])


def _measure(cell: _Cell, options: Curve) -> dict[str, Any]:
    """Trains one network and says what it reaches."""
    data = options.out / "data"
    folder = options.out / "cells" / cell.name
    samples = sum(
        len(record["sparse_frames"])
        for record in read_split(split_file(data, f"train_{cell.clips}"))
    )
    batch = min(RECIPES[TrainConfig.preset].batch_size, samples)
    epochs = -(-options.steps // max(1, samples // batch))
    train = [
        *("train", "--data", data, "--split", f"train_{cell.clips}", "--val-split", ""),
        *("--epochs", epochs, "--batch-size", batch, "--seed", options.seed, "--out", folder),
        *("--device", options.device),
        *(_share(options.jobs) if options.jobs > 1 else []),
        *(["--pretrained", "embedded"] if cell.start == "embedded" else []),
        *(["--resume"] if (folder / "checkpoint.pt").is_file() else []),
    ]
    if cell.labels == "noisy":
        train += ["--text-noise", options.text_noise, "--mask-noise", options.mask_noise]
    _command(train)
    split = split_file(data, "val")
    _command(
        ["predict", "--checkpoint", folder / "last.safetensors", "--data", data, "--split", split,
         "--clip-length", 1, "--device", options.device, "--out", folder / "predictions"]
    )  # fmt: skip
    _command(
        ["evaluate", "--predictions", folder / "predictions", "--annotations",
         data / "Annotations_Sparse" / "val", "--split", split, "--json", folder / "metrics.json",
         *(["--workers", 1] if options.jobs > 1 else [])]
    )  # fmt: skip
    metrics = read_json(folder / "metrics.json")
    return {"epochs": epochs, **{name: metrics[name] for name in _NUMBERS}}


def _share(jobs: int) -> list[object]:
    """Options of a training that leaves the others their part of the cores."""
    cores = max(1, usable_cores() // jobs)
    return ["--threads", cores, "--workers", cores - 1]


def _command(arguments: Sequence[object]) -> None:
    words = [str(argument) for argument in arguments]
    if status := cli.main(words):
        raise ActisegError(f"actiseg {words[0]} ended with status {status}; see above")


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The rows as a Markdown table."""
    lines = ["| clips | start | labels | p-mIoU | n-mIoU | Acc |", "|---|---|---|---|---|---|"]
    for row in rows:
        numbers = " | ".join(f"{row[name]:.1f}" for name in _NUMBERS)
        lines.append(f"| {row['clips']} | {row['start']} | {row['labels']} | {numbers} |")
    return lines


def main() -> None:
    """Makes the curve and prints the table."""
    rows = run(tyro.cli(Curve, prog="python -m training.demo.curve"))
    print("\n".join(table(rows)))


if __name__ == "__main__":
    sys.exit(cli.told(main))
