"""What a model answers on a kitchen that it never saw, without the narration and without hands.

An object is active because the narration names it, or because a hand uses it. A model that has
learned both must lose accuracy when the narration is withheld, and when the hands are painted out
of the pictures. The labels stay the same in all three cases, and the hands themselves are left out
of the count, because nobody can find a hand that is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from training import cli
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.layout import split_file
from training.data.prepare import prepare
from training.data.splits import read_split
from training.evaluation.metrics import METRICS, evaluate
from training.evaluation.predict import predict
from training.files.disk import write_json

SIZE = (854, 480)
_HANDS = frozenset({300, 301})
"""EPIC-KITCHENS class ids of the left and the right hand."""

Numbers = Mapping[str, float | int]


@dataclass(frozen=True)
class Ablations:
    """Evaluate a bundle on a new kitchen: as it is, without narration, and without hands."""

    bundle: Path
    """Model bundle; it is evaluated as the robot runs it, one frame at a time."""
    work: Path
    """Folder for the kitchen and the predictions; an interrupted run continues there."""
    clips: int = 150
    """Clips of the kitchen."""
    seed: int = 3001
    """Seed of the kitchen; take one that neither training nor calibration used."""
    json: Path | None = None
    """Also write the numbers to this file."""


def measure(options: Ablations) -> dict[str, Numbers]:
    """Runs the comparison.

    Returns:
        The six metrics in percent and the counts: for ``all objects`` (hands included, nothing
        withheld), and without hands for ``complete``, ``narration withheld`` and ``hands painted
        out``.
    """
    seen = _kitchen(options, hands=True)
    unseen = _kitchen(options, hands=False)
    records = read_split(split_file(seen, "val"))
    splits = options.work / "splits"
    everything = _write(splits / "val_all.json", records)
    objects = _write(splits / "val_objects.json", [_without_hands(record) for record in records])
    silent = [{**record, "narration": ""} for record in records]
    unspoken = _write(splits / "val_unspoken.json", silent)
    truth = seen / "Annotations_Sparse" / "val"

    def numbers(name: str, data: Path, prompts: Path, counted: Path) -> Numbers:
        out = options.work / "predictions" / name
        predict(data, prompts, out, bundle=options.bundle, clip_length=1)
        return evaluate(out, truth, counted).as_percent()

    return {
        "all objects": numbers("complete", seen, everything, everything),
        "complete": numbers("complete", seen, everything, objects),
        "narration withheld": numbers("unspoken", seen, unspoken, objects),
        "hands painted out": numbers("unseen", unseen, everything, objects),
    }


def table(results: Mapping[str, Numbers]) -> str:
    """The metrics of each case as text."""
    lines = [f"{'':20}" + "".join(f"{name:>8}" for name in METRICS)]
    lines += [
        f"{case:20}" + "".join(f"{values[name]:8.1f}" for name in METRICS)
        for case, values in results.items()
    ]
    return "\n".join(lines)


def _kitchen(options: Ablations, *, hands: bool) -> Path:
    """Draws and prepares the kitchen; returns the folder in the ActionVOS layout."""
    name = "with_hands" if hands else "without_hands"
    tree, data = options.work / f"tree_{name}", options.work / f"data_{name}"
    config = KitchenConfig(
        options.clips, seed=options.seed, val_share=1.0, frame_size=SIZE, hands=hands
    )
    make_kitchen(tree, config)
    prepare(tree / "VISOR", tree / "annotations", data, ("val",))
    return data


def _without_hands(record: Mapping[str, Any]) -> dict[str, Any]:
    objects = {
        label: entry
        for label, entry in record["object_classes"].items()
        if entry["class_id"] not in _HANDS
    }
    return {**record, "object_classes": objects}


def _write(path: Path, records: object) -> Path:
    write_json(path, records, indent=None)
    return path


def main() -> None:
    """Measures and prints the table."""
    options = tyro.cli(Ablations, prog="python -m training.benchmark.ablations")
    results = measure(options)
    if options.json is not None:
        write_json(options.json, results)
    print(table(results))


if __name__ == "__main__":
    sys.exit(cli.told(main))
