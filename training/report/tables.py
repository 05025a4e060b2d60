"""Tables I, II, III and V: ours beside the paper's, with what must be known to compare them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from training.benchmark.cell_result import Budget, CellResult
from training.evaluation.metrics import METRICS
from training.report.conditions import Condition, Results, strategy_name, values
from training.report.estimates import Estimate, mean
from training.report.paper import LABELS, PaperRow, PaperTable, arrow, paper_tables


@dataclass(frozen=True)
class Row:
    """One line: a condition in the paper and here."""

    label: str
    condition: Condition
    paper: Mapping[str, float]
    """Percent, by metric; empty for a strategy that the paper does not have."""
    ours: Mapping[str, Estimate]
    """Percent, by metric; empty if the cell is missing."""
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Table:
    """One table, or one part of Table III."""

    id: str
    title: str
    head: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    """Whole sentences: missing cells, seeds, and what differs between rows."""

    def best(self, metric: str) -> frozenset[int]:
        """Rows with our best mean of a column, to the printed digit; none with a single row."""
        return _best({i: row.ours[metric].value for i, row in self._measured()}, metric)

    def paper_best(self, metric: str) -> frozenset[int]:
        """The same of the paper's values."""
        return _best({i: r.paper[metric] for i, r in enumerate(self.rows) if r.paper}, metric)

    def _measured(self) -> list[tuple[int, Row]]:
        return [(i, row) for i, row in enumerate(self.rows) if row.ours]

    def as_json(self) -> dict[str, Any]:
        """Numbers of the table; missing cells have ``ours: null``."""
        return {
            "id": self.id,
            "title": self.title,
            "notes": list(self.notes),
            "rows": [
                {
                    "label": row.label,
                    "text_noise": row.condition.text_noise,
                    "mask_noise": row.condition.mask_noise,
                    "strategy": row.condition.strategy,
                    "seeds": list(row.seeds),
                    "ours": {
                        metric: {"mean": number.value, "half_width": number.half_width}
                        for metric, number in row.ours.items()
                    }
                    or None,
                    "paper": dict(row.paper) or None,
                }
                for row in self.rows
            ],
        }


def budget_text(budget: Budget) -> str:
    """``6 epochs (300 steps of 8 samples)``."""
    return f"{budget.epochs} epochs ({budget.steps} steps of {budget.batch_size} samples)"


def start_text(budget: Budget) -> str:
    """``last.safetensors (1b2f38c0)``: its name and the beginning of its SHA-256, if that is known.

    A start that was made again has another digest under the same name.
    """
    digest = budget.pretrained_sha256
    return f"{budget.pretrained or 'random'}" + (f" ({digest[:8]})" if digest else "")


def make_tables(results: Results) -> list[Table]:
    """All tables of the paper, filled with what is there."""
    return [_table(paper, results) for paper in paper_tables()]


def _table(paper: PaperTable, results: Results) -> Table:
    rows = []
    for row in (*paper.rows, *_added(paper, results)):
        cells = results.get(row.condition, ())
        ours = {metric: mean(values(results, row.condition, metric)) for metric in METRICS if cells}
        seeds = tuple(cell.cell.seed for cell in cells)
        rows.append(Row(row.label, row.condition, row.values, ours, seeds))
    cells_of = {row.label: results.get(row.condition, ()) for row in rows}
    return Table(paper.id, paper.title, paper.head, tuple(rows), tuple(_notes(rows, cells_of)))


def _added(paper: PaperTable, results: Results) -> list[PaperRow]:
    """Rows of Tables III and V for strategies that the paper does not have and somebody ran."""
    if not paper.id.startswith(("3", "5")):
        return []
    known = {row.condition.strategy for table in paper_tables() for row in table.rows}
    level = paper.rows[0].condition
    return [
        PaperRow(strategy_name(condition.strategy), condition, {})
        for condition in results
        if condition.strategy not in known and replace(condition, strategy=level.strategy) == level
    ]


def _best(numbers: Mapping[int, float], metric: str) -> frozenset[int]:
    if len(numbers) < 2:
        return frozenset()
    printed = {index: round(number, 1) for index, number in numbers.items()}
    extreme = (min if arrow(metric) == "↓" else max)(printed.values())
    return frozenset(index for index, number in printed.items() if number == extreme)


def _notes(rows: Sequence[Row], cells_of: Mapping[str, Sequence[CellResult]]) -> list[str]:
    missing = [row.label for row in rows if not row.seeds]
    if len(missing) == len(rows):
        return ["None of this table's cells has been run."]
    notes = [f"Missing: {', '.join(missing)}."] if missing else []
    single = [row.label for row in rows if len(row.seeds) == 1]
    if len(single) + len(missing) == len(rows):
        notes.append("One seed for each row, so there are no intervals.")
    elif single:
        notes.append(f"One seed, so no interval: {', '.join(single)}.")
    for what, read in _COMPARED.items():
        notes += _difference(what, read, cells_of)
    return notes


_COMPARED: dict[str, Callable[[CellResult], object]] = {
    "seeds": lambda cell: cell.cell.seed,
    "preset": lambda cell: cell.cell.preset,
    "reference": lambda cell: cell.reference or "not recorded",
    "budget": lambda cell: budget_text(cell.budget),
    "start weights": lambda cell: start_text(cell.budget),
    "code version": lambda cell: cell.run.code,
}


def _difference(
    what: str,
    read: Callable[[CellResult], object],
    cells_of: Mapping[str, Sequence[CellResult]],
) -> list[str]:
    """A sentence if rows differ in something, naming which rows have what."""
    groups: dict[str, list[str]] = {}
    for label, cells in cells_of.items():
        if cells:
            found = ", ".join(str(value) for value in dict.fromkeys(map(read, cells)))
            groups.setdefault(found, []).append(label)
    several = what != "seeds" and any(
        len({read(cell) for cell in c}) > 1 for c in cells_of.values()
    )
    if len(groups) < 2 and not several:
        return []
    listed = "; ".join(f"{value} for {', '.join(labels)}" for value, labels in groups.items())
    return [f"Not the same {what} throughout: {listed}."]


def markdown(tables: Sequence[Table]) -> str:
    """All tables in Markdown, for repositories and papers."""
    parts = [
        "Ours is the mean over seeds ± half of its 95 % confidence interval (Student's t); "
        "bold with ↑ or ↓ is the best mean of a column. `paper` is the paper's printed value "
        "(VISOR). All in percent. – is a missing cell."
    ]
    for table in tables:
        heads = [f"{LABELS[metric]}{arrow(metric)} | paper" for metric in METRICS]
        lines = [
            f"## {table.title}",
            "",
            f"| {table.head} | {' | '.join(heads)} |",
            "|---" + "|--:" * (2 * len(METRICS)) + "|",
            *(_markdown_row(table, index) for index in range(len(table.rows))),
        ]
        if table.notes:
            lines += ["", " ".join(table.notes)]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _markdown_row(table: Table, index: int) -> str:
    row = table.rows[index]
    cells = []
    for metric in METRICS:
        ours = row.ours[metric].text() if row.ours else "–"
        paper = f"{row.paper[metric]:.1f}" if row.paper else "–"
        for text, best in ((ours, table.best(metric)), (paper, table.paper_best(metric))):
            cells.append(f"**{text} {arrow(metric)}**" if index in best else text)
    return f"| {row.label} | {' | '.join(cells)} |"
