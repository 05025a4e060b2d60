"""The report as one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from training.benchmark.cell_result import CellResult
from training.benchmark.suites import strategy_order
from training.evaluation.metrics import METRICS
from training.report.charts import Picture
from training.report.conditions import strategy_name
from training.report.gains import GainTable
from training.report.paper import LABELS, arrow, paper_source
from training.report.sections import Section
from training.report.tables import Table, budget_text, start_text
from training.report.verdicts import Finding

_MIME = {"svg": "image/svg+xml", "jpg": "image/jpeg", "png": "image/png"}


@dataclass(frozen=True)
class Page:
    """Everything that the page shows."""

    about: str
    facts: Mapping[str, str]
    """Name -> value, see `facts`."""
    findings: Sequence[Finding]
    gains: Sequence[GainTable]
    tables: Sequence[Table]
    sections: Sequence[Section]


def facts(cells: Sequence[CellResult]) -> dict[str, str]:
    """What the numbers rest on; several values are listed with their number of cells."""

    def listed(read: Callable[[CellResult], object]) -> str:
        counts = Counter(str(read(cell)) for cell in cells)
        if len(counts) == 1:
            return next(iter(counts))
        return ", ".join(f"{value} ({count})" for value, count in sorted(counts.items()))

    present, order = {cell.cell.strategy for cell in cells}, strategy_order()
    processor = sum(cell.run.cpu_seconds or 0.0 for cell in cells)
    started = sorted(cell.run.started for cell in cells)
    return {
        "Cells": str(len(cells)),
        # Cells may name strategies that are not here any more, or longer trainings of one.
        "Strategies": ", ".join(
            strategy_name(name)
            for name in (*filter(present.__contains__, order), *sorted(present - {*order}))
        ),
        "Seeds": ", ".join(str(seed) for seed in sorted({cell.cell.seed for cell in cells})),
        "Preset": listed(lambda cell: cell.cell.preset),
        "Reference": listed(lambda cell: cell.reference or "not recorded"),
        "Budget": listed(lambda cell: budget_text(cell.budget)),
        "Start weights": listed(lambda cell: start_text(cell.budget)),
        "Device": listed(lambda cell: cell.run.device),
        "Code": listed(lambda cell: cell.run.code),
        "Trained": f"{started[0][:10]} to {started[-1][:10]}, "
        f"{sum(cell.run.seconds for cell in cells) / 3600:.1f} hours in all"
        + (f", {processor / 3600:.1f} CPU-hours" if processor else ""),
    }


def render(page: Page) -> str:
    """The page's HTML; the same report gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("training.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = _data_uri
    template = environment.get_template("page.html.jinja")
    return template.render(
        page=page, metrics=METRICS, labels=LABELS, arrow=arrow, paper=paper_source()
    )


def _data_uri(picture: Picture) -> str:
    coded = base64.b64encode(picture.content).decode()
    return f"data:{_MIME[picture.kind]};base64,{coded}"
