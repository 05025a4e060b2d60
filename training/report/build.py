"""``actiseg report``: reads a benchmark folder and writes tables, figures and the page."""

from __future__ import annotations

from pathlib import Path

from training.benchmark.results import Source, read_results, read_source
from training.files.disk import write_json, write_text, write_whole
from training.files.errors import ActisegError
from training.report.costs import costs_by_device
from training.report.findings import make_findings
from training.report.options import ReportOptions
from training.report.page import Page, facts, render
from training.report.paper import paper_source
from training.report.results import by_condition
from training.report.sections import (
    costs_section,
    curves_section,
    nouns_section,
    panels_section,
    severity_section,
    tradeoff_section,
)
from training.report.tables import make_tables, markdown


def write_report(options: ReportOptions) -> Path:
    """Writes the report; files of an earlier one are replaced.

    Returns:
        The page.

    Raises:
        ActisegError: If there are no finished cells, or data or weights cannot be read.
    """
    if options.clips < 1:
        raise ActisegError(f"--clips is {options.clips}; it must be at least 1")
    cells = list(read_results(options.runs))
    results = by_condition(cells)
    tables, findings, costs = make_tables(results), make_findings(results), costs_by_device(results)
    source = _source(options)
    sections = [
        tradeoff_section(results),
        nouns_section(source),
        severity_section(source),
        panels_section(options.runs, options.cells, source, options.clips),
        curves_section(results),
        costs_section(costs),
    ]
    page = Page(options.about, facts(cells), findings, tables, sections)
    content = {
        "about": options.about,
        "facts": dict(page.facts),
        "paper": paper_source(),
        "findings": [finding.as_json() for finding in findings],
        "tables": [table.as_json() for table in tables],
        "costs": {device: [cost.as_json() for cost in own] for device, own in costs.items()},
    }
    for picture in (picture for section in sections for picture in section.pictures()):
        file = options.out / "figures" / f"{picture.name}.{picture.kind}"
        write_whole(file, picture.content)
    write_text(options.out / "tables.md", markdown(tables))
    write_json(options.out / "report.json", content)
    write_text(options.out / "index.html", render(page))
    return options.out / "index.html"


def _source(options: ReportOptions) -> Source | None:
    """The data to describe: what the options say, else what the benchmark was run on."""
    recorded = read_source(options.runs)
    data = options.data
    if data is None and recorded is not None and recorded.data.is_dir():
        data = recorded.data
    if data is None:
        return None
    return Source(
        data,
        split=options.split or (recorded.split if recorded else "train"),
        val_split=options.val_split or (recorded.val_split if recorded else "val"),
    )
