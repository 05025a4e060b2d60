"""The paper's values, and tables of synthetic cells beside them."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from tests.training.report.cells import cell, paper_cells
from training.benchmark.cell_result import CellResult, Scores
from training.evaluation.metrics import METRICS
from training.report.conditions import Condition, by_condition
from training.report.paper import paper_noun_shares, paper_tables, paper_values
from training.report.tables import make_tables, markdown

TABLES = {table.id: table for table in paper_tables()}


@pytest.mark.parametrize(
    ("condition", "printed"),
    [
        (Condition(0.0, 0, "baseline"), (65.0, 19.7, 71.8, 34.1, 70.7, 81.7)),
        (Condition(0.6, 0, "baseline"), (49.0, 10.0, 57.4, 12.7, 67.1, 73.1)),
        (Condition(0.0, 21, "baseline"), (44.8, 13.9, 57.4, 29.9, 60.3, 79.2)),
        (Condition(0.2, 0, "sce"), (63.8, 25.3, 67.3, 36.9, 50.4, 67.4)),
        (Condition(0.0, 9, "pmhm"), (55.6, 13.6, 64.3, 21.5, 67.8, 81.1)),
        (Condition(0.0, 15, "apl"), (51.6, 13.6, 61.5, 24.0, 64.7, 82.5)),
        (Condition(0.6, 21, "elr"), (41.5, 15.9, 51.2, 33.3, 48.8, 72.4)),
    ],
)
def test_the_papers_values(condition, printed):
    assert tuple(paper_values()[condition][metric] for metric in METRICS) == printed


def test_shared_rows_agree_between_the_papers_tables():
    for table in paper_tables():
        for row in table.rows:
            assert paper_values()[row.condition] == row.values
    assert [len(TABLES[name].rows) for name in ("1", "2", "3a", "3f", "5")] == [4, 4, 6, 7, 8]
    assert paper_noun_shares()["Others"] == (44.43, 75.47)


def test_every_value_is_in_the_papers_text(shared):
    text = (shared / "paper.md").read_text(encoding="utf-8")
    lines = {
        tuple(map(float, re.findall(r"(?<=\t)\d+\.\d(?!\d)", line))) for line in text.split("\n")
    }
    rows = {line[i : i + 6] for line in lines for i in range(0, len(line), 6)}
    assert all(tuple(values.values()) in rows for values in paper_values().values())


def made(cells):
    return {table.id: table for table in make_tables(by_condition(cells))}


def test_best_follows_the_arrow_and_keeps_ties():
    low, high = Scores(40, 10, 40, 10, 60, 70.04), Scores(50, 20, 50, 20, 70, 70.0)
    table = made([cell(0.6, 21, "sce", 0, metrics=low), cell(0.6, 21, "gce", 0, metrics=high)])["5"]
    labels = [row.label for row in table.rows]
    sce, gce = labels.index("SCE"), labels.index("GCE")
    assert table.best("p_miou") == {gce}
    assert table.best("n_miou") == {sce}
    assert table.best("acc") == {sce, gce}
    assert [table.rows[i].label for i in table.paper_best("n_ciou")] == ["SCE"]
    assert not made([cell(0.6, 21, "sce", 0)])["5"].best("p_miou")


def test_missing_cells_and_differences_are_told():
    cells = [
        cell(0.0, 0, "baseline", 0),
        cell(0.0, 0, "baseline", 1),
        cell(0.2, 0, "baseline", 0, epochs=3),
        cell(0.4, 0, "baseline", 0, code="v2"),
    ]
    tables = made(cells)
    notes = " ".join(tables["1"].notes)
    assert "Missing: 60." in notes
    assert "One seed, so no interval: 20, 40." in notes
    assert "3 epochs (300 steps of 8 samples) for 20" in notes
    assert "code version throughout: v1 for 0, 20; v2 for 40." in notes
    assert tables["1"].rows[3].ours == {}
    assert tables["3a"].notes == ("None of this table's cells has been run.",)
    complete = made(paper_cells())["1"]
    assert complete.notes == ()


def test_different_code_within_one_row_is_told():
    cells = [cell(0.0, 0, "baseline", 0), cell(0.0, 0, "baseline", 1, code="v2")]
    assert "Not the same code version throughout: v1, v2 for 0." in made(cells)["2"].notes


def test_a_start_that_was_made_again_is_another_one():
    def started(seed: int, digest: str | None) -> CellResult:
        made_of = cell(0.0, 0, "baseline", seed)
        return replace(made_of, budget=replace(made_of.budget, pretrained="last.safetensors",
                                               pretrained_sha256=digest))  # fmt: skip

    (note,) = [
        note for note in made([started(0, "a" * 64), started(1, "b" * 64)])["2"].notes
        if "start weights" in note
    ]  # fmt: skip
    assert f"last.safetensors ({'a' * 8}), last.safetensors ({'b' * 8}) for 0." in note


def test_another_reference_and_a_strategy_of_ones_own_are_told():
    cells = [
        cell(0.6, 21, "sce", 0),
        cell(0.6, 21, "gce", 0, reference="released"),
        cell(0.6, 21, "own", 0),
        cell(0.2, 0, "own", 0),
    ]
    tables = made(cells)
    assert "reference throughout: paper for SCE, own; released for GCE." in " ".join(
        tables["5"].notes
    )
    for name in ("3a", "5"):
        row = tables[name].rows[-1]
        assert (row.label, row.paper, row.seeds) == ("own", {}, (0,))
        assert tables[name].as_json()["rows"][-1]["paper"] is None
    assert len(tables["3b"].rows) == 6
    assert "| own | 50.0 | – |" in markdown(list(tables.values()))
    assert all(index < 8 for index in tables["5"].paper_best("acc"))


def test_markdown_has_both_numbers_and_the_sign():
    text = markdown(make_tables(by_condition(paper_cells(spread=0.0))))
    assert "| 0 | **65.0 ± 0.0 ↑** | **65.0 ↑** | 19.7 ± 0.0 | 19.7 |" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert widths == {14}
    missing = markdown(make_tables(by_condition([cell(0.0, 0, "baseline", 0)])))
    assert "| 60 | – | 49.0 |" in missing
