"""Noise cases: names and label maps of the released noise scripts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.result import Result, check, compare, guarded
from training.data.palette import read_label_png
from training.data.splits import read_split
from training.noise.mask import MaskNoise
from training.noise.published import EXPRESSIONS, OBJECTS, published_names
from training.noise.text import TextNoise


def run(folder: Path) -> Iterator[Result]:
    """Runs whichever of ``text_noise/`` and ``mask_noise/`` is there."""
    if (folder / "text_noise" / "facts.json").is_file():
        yield from guarded("text_noise", _names(folder / "text_noise"))
    if (folder / "mask_noise" / "expressions.json").is_file():
        yield from guarded("mask_noise", _masks(folder / "mask_noise"))


def _names(folder: Path) -> Iterator[Result]:
    """Both files of every rate and seed, drawn from one stream over names in the stored order."""
    facts = json.loads((folder / "facts.json").read_text())
    listed = facts["names_in_order_of_draws"]
    names = {
        class_id: tuple(listed[str(class_id)]) for class_id in facts["class_list_in_order_of_draws"]
    }
    records = read_split(folder / "input" / "train.json")
    for run_facts in facts["runs"]:
        noise = TextNoise(
            names, run_facts["rate"], run_facts["seed"], unflipped="same", draws="stream"
        )
        made = published_names(records, noise.table(records))
        for name, content in zip((OBJECTS, EXPRESSIONS), made, strict=True):
            expected = json.loads((folder / f"{run_facts['files']}_train_{name}").read_text())
            yield check(f"text_noise/{run_facts['files']}", name, content == expected)


def _masks(folder: Path) -> Iterator[Result]:
    """Every kernel's label map of every frame."""
    for entry in json.loads((folder / "expressions.json").read_text()):
        frame: str = entry["frame"]
        expressions: list[dict[str, Any]] = list(entry["expressions"].values())
        clean = read_label_png(folder / f"{frame}_clean.png")
        # Prepared data has a prompt for every label; the released script drops those without one.
        known = np.isin(clean, [int(one["obj_id"]) for one in expressions])
        positive = [int(one["obj_id"]) for one in expressions if one["positive"]]
        for file in sorted(folder.glob(f"{frame}_k*.png")):
            kernel = int(file.stem.rpartition("_k")[2])
            noise = MaskNoise(kernel, negatives="keep")
            made = noise.labels(np.where(known, clean, np.uint8(0)), positive)
            yield compare(f"mask_noise/{frame}", f"k{kernel}", made, read_label_png(file))
