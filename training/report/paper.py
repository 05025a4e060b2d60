"""The paper's printed values (``paper_values.json``), to stand beside ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

from training.evaluation.metrics import METRICS
from training.report.conditions import Condition

LABELS = {
    "p_miou": "p-mIoU",
    "n_miou": "n-mIoU",
    "p_ciou": "p-cIoU",
    "n_ciou": "n-cIoU",
    "giou": "gIoU",
    "acc": "Acc",
}
"""The paper's column heads."""


def arrow(metric: str) -> str:
    """``↑`` where higher is better, ``↓`` where lower is."""
    return "↓" if metric.startswith("n_") else "↑"


@dataclass(frozen=True)
class PaperRow:
    """One line of a table."""

    label: str
    condition: Condition
    values: Mapping[str, float]
    """Percent, by metric."""


@dataclass(frozen=True)
class PaperTable:
    """One table, or one part of Table III."""

    id: str
    """``1``, ``2``, ``3a`` to ``3f`` or ``5``."""
    title: str
    head: str
    """Head of the first column."""
    rows: tuple[PaperRow, ...]


@lru_cache(maxsize=1)
def paper_tables() -> tuple[PaperTable, ...]:
    """Tables I, II, III (a) to (f) and V."""
    content = _content()
    if tuple(content["metrics"]) != METRICS:
        raise AssertionError("paper_values.json has other columns than the benchmark")
    return tuple(
        PaperTable(table["id"], table["title"], table["head"], tuple(map(_row, table["rows"])))
        for table in content["tables"]
    )


@lru_cache(maxsize=1)
def paper_values() -> Mapping[Condition, Mapping[str, float]]:
    """Values of each condition; rows that two tables share agree."""
    return {row.condition: row.values for table in paper_tables() for row in table.rows}


def paper_source() -> str:
    """Where the values come from, for readers."""
    return str(_content()["source"])


def paper_noun_shares() -> Mapping[str, tuple[float, float]]:
    """Noun -> share of the objects in percent, clean and at a rate of 60 % (Sec. III-A, Fig. 2)."""
    shares = _content()["noun_shares"]
    return {noun: (clean, shares["noisy"][noun]) for noun, clean in shares["clean"].items()}


def _row(entry: Mapping[str, Any]) -> PaperRow:
    condition = Condition(entry["text_noise"], entry["mask_noise"], entry["strategy"])
    return PaperRow(entry["label"], condition, dict(zip(METRICS, entry["values"], strict=True)))


@lru_cache(maxsize=1)
def _content() -> Any:
    file = resources.files("training.report") / "paper_values.json"
    return json.loads(file.read_text(encoding="utf-8"))
