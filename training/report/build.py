"""``actiseg report``: reads a benchmark folder and writes tables, figures and the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from actiseg_ros.errors import ActisegError
from training.benchmark.cell_result import CellKey, CellResult, read_results
from training.benchmark.clip_scores import ClipScores, read_clip_scores
from training.benchmark.settings import BenchmarkData, read_data
from training.files.disk import write_text, write_whole
from training.report.conditions import by_condition
from training.report.costs import costs_by_device
from training.report.effects import Evidence
from training.report.findings import make_findings
from training.report.gains import gains_markdown, make_gains
from training.report.options import ReportOptions
from training.report.page import Page, facts, render
from training.report.paper import paper_source
from training.report.sections import (
    costs_section,
    curves_section,
    failures_section,
    ninth_section,
    noise_sections,
    panels_section,
    tradeoff_section,
)
from training.report.tables import make_tables, markdown


def write_report(options: ReportOptions) -> Path:
    """Writes the report once all of it is made; files of an earlier one are replaced.

    Returns:
        The page.

    Raises:
        ActisegError: If there are no finished cells, or what the options name cannot be read;
            what nobody named is left out then, and the page says why.
    """
    if options.clips < 1:
        raise ActisegError(f"--clips is {options.clips}; it must be at least 1")
    cells = list(read_results(options.runs))
    results = by_condition(cells)
    evidence = Evidence(results, _clips(options.runs, cells))
    tables, costs = make_tables(results), costs_by_device(results)
    findings, gains = make_findings(evidence), make_gains(evidence)
    source = _source(options)
    learned = options.data is not None or options.split is not None
    shown = options.data is not None or options.val_split is not None or bool(options.cells)
    sections = [
        tradeoff_section(results),
        *noise_sections(source, asked=learned),
        panels_section(options.runs, options.cells, source, options.clips, asked=shown),
        ninth_section(evidence),
        failures_section(options.runs, results),
        curves_section(results),
        costs_section(costs),
    ]
    page = Page(options.about, facts(cells), findings, gains, tables, sections)
    content = {
        "about": options.about,
        "facts": dict(page.facts),
        "paper": paper_source(),
        "findings": [finding.as_json() for finding in findings],
        "gains": [table.as_json() for table in gains],
        **{section.id: section.grid.as_json() for section in sections if section.grid is not None},
        "tables": [table.as_json() for table in tables],
        "costs": {device: [cost.as_json() for cost in own] for device, own in costs.items()},
    }
    texts = {
        "tables.md": markdown(tables) + "\n" + gains_markdown(gains),
        "report.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        "index.html": render(page),
    }
    for picture in (picture for section in sections for picture in section.pictures()):
        file = options.out / "figures" / f"{picture.name}.{picture.kind}"
        write_whole(file, picture.content)
    for name, text in texts.items():
        write_text(options.out / name, text)
    return options.out / "index.html"


def _clips(runs: Path, cells: Sequence[CellResult]) -> dict[CellKey, ClipScores]:
    """Results by clip of the cells that have them."""
    found = {cell.cell: read_clip_scores(runs / cell.cell.folder) for cell in cells}
    return {key: scores for key, scores in found.items() if scores is not None}


def _source(options: ReportOptions) -> BenchmarkData | None:
    """The data to describe: what the options say, else what the benchmark was run on."""
    recorded = read_data(options.runs)
    data = options.data
    if data is None and recorded is not None and recorded.data.is_dir():
        data = recorded.data
    if data is None:
        return None
    return BenchmarkData(
        data,
        split=options.split or (recorded.split if recorded else "train"),
        val_split=options.val_split or (recorded.val_split if recorded else "val"),
    )
