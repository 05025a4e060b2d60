"""Metrics cases: the six numbers and the counts, or the refusal where the reference stops."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from tests.parity.result import Result, check, compare, guarded
from training.evaluation.metrics import Flagged, evaluate

LIMIT = 1e-9
FIELDS = {
    "videos": "videos",
    "pos-mIoU": "p_miou",
    "neg-mIoU": "n_miou",
    "pos-cIoU": "p_ciou",
    "neg-cIoU": "n_ciou",
    "gIoU": "giou",
    "acc": "acc",
    "TN": "tn",
    "TP": "tp",
    "FN": "fn",
    "FP": "fp",
}
FILTERS: dict[str, Flagged] = {"filter_true": "leave-out", "filter_false": "include"}


def run(folder: Path) -> Iterator[Result]:
    """Evaluates every case of ``metrics/`` with and without the flagged sequences."""
    file = folder / "metrics" / "expected.json"
    if not file.is_file():
        return
    for name, settings in json.loads(file.read_text()).items():
        yield from guarded(f"metrics/{name}", _case(file.parent / name, settings))


def _case(case: Path, settings: Mapping[str, Any]) -> Iterator[Result]:
    for setting, expected in settings.items():
        if setting in FILTERS:
            label = f"metrics/{case.name}/{setting}"
            yield from _compare(label, case, case / "split.json", FILTERS[setting], expected)
    for key, expected in settings.get("one_by_one", {}).items():
        with tempfile.TemporaryDirectory() as scratch:
            split = Path(scratch) / "split.json"
            split.write_text(json.dumps(_selected(case, expected["sequences_in_run"])))
            label = f"metrics/{case.name}/sequence_{key}"
            yield from _compare(label, case, split, "leave-out", expected)


def _selected(case: Path, sequences: list[int]) -> list[Any]:
    entries = json.loads((case / "split.json").read_text())
    return [entry for entry in entries if entry["seq_id"] in sequences]


def _compare(
    label: str, case: Path, split: Path, flagged: Flagged, expected: Mapping[str, Any]
) -> Iterator[Result]:
    folders = case / "pred", case / "gt"
    stops = "error" in expected
    if stops:
        yield _refusal(label, *folders, split, flagged, expected["error"])
    wanted = {key: value for key, value in expected.items() if key in FIELDS}
    if not wanted:
        return
    try:
        got = evaluate(*folders, split, flagged=flagged, strict=not stops)
    except ActisegError as refusal:
        note = f"printed by the reference before it stops; refused here: {_short(str(refusal))}"
        yield check(label, ", ".join(wanted), stops, note)
        return
    for key, value in wanted.items():
        limit = LIMIT if isinstance(value, float) else 0.0
        yield compare(label, key, getattr(got, FIELDS[key]), value, absolute=limit)


def _refusal(
    label: str, predictions: Path, annotations: Path, split: Path, flagged: Flagged, error: str
) -> Result:
    try:
        evaluate(predictions, annotations, split, flagged=flagged)
    except ActisegError as refusal:
        return check(label, "refuses", True, f"{error.split(':')[0]}: {_short(str(refusal))}")
    return check(label, "refuses", False, f"no error; the reference stops with {error}")


def _short(text: str) -> str:
    return text if len(text) <= 80 else f"…{text[-79:]}"
