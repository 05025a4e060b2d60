"""Verdicts on the paper's findings from invented cells."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.training.report.cells import paper_cells
from training.report.findings import make_findings
from training.report.ranking import kendall
from training.report.results import by_condition
from training.report.verdicts import Verdict


def verdicts(cells):
    return {found.id: found.verdict for found in make_findings(by_condition(cells))}


def test_the_papers_own_values_show_all_findings():
    assert set(verdicts(paper_cells(spread=0.1)).values()) == {Verdict.SHOWS}


def test_one_seed_tells_nothing():
    findings = make_findings(by_condition(paper_cells(seeds=[0])))
    assert {found.verdict for found in findings} == {Verdict.OPEN}
    claim = findings[0].claims[0]
    assert claim.ours is not None  # the figure is shown all the same
    assert claim.reason == "one seed alone has no interval"


def test_wide_intervals_tell_nothing():
    assert set(verdicts(paper_cells(spread=60.0)).values()) == {Verdict.OPEN}


def swapped(metric, chosen):
    """The paper's cells with some of them 20 points higher in one metric."""
    for result in paper_cells(spread=0.1):
        if chosen(result.cell):
            higher = {metric: getattr(result.metrics, metric) + 20}
            result = replace(result, metrics=replace(result.metrics, **higher))
        yield result


@pytest.mark.parametrize(
    ("finding", "metric", "chosen"),
    [
        ("a", "n_miou", lambda key: key.noise == "name60" and key.strategy == "baseline"),
        ("b", "p_miou", lambda key: key.noise == "mask21" and key.strategy == "baseline"),
        ("c", "p_miou", lambda key: key.noise == "name40" and key.strategy == "baseline"),
        ("d", "n_miou", lambda key: key.noise == "mask21" and key.strategy == "pmhm"),
        ("d", "giou", lambda key: key.noise == "name60-mask21" and key.strategy == "pmhm"),
    ],
)
def test_one_contrary_difference_decides_against(finding, metric, chosen):
    assert verdicts(swapped(metric, chosen))[finding] is Verdict.DOES_NOT


def test_a_missing_cell_is_named():
    cells = [c for c in paper_cells() if c.cell.strategy != "co-teaching"]
    found = make_findings(by_condition(cells))[2]
    assert found.verdict is Verdict.OPEN
    assert found.claims[0].reason == "missing: Co-teaching, Name-60"


def test_equal_rankings_do_not_change():
    order = ["baseline", "co-teaching", "sce", "gce", "apl", "elr", "npn", "pmhm"]
    cells = [
        replace(result, metrics=replace(result.metrics, giou=50 + 5 * rank + 0.1 * key.seed))
        for result in paper_cells()
        for key, rank in [(result.cell, order.index(result.cell.strategy))]
    ]
    assert verdicts(cells)["e"] is Verdict.DOES_NOT


def test_kendall():
    ranks = {"a": 1.0, "b": 2.0, "c": 3.0}
    assert kendall(ranks, ranks) == 1
    assert kendall(ranks, {"a": 3.0, "b": 2.0, "c": 1.0, "d": 9.0}) == -1
    assert kendall(ranks, {"a": 1.0, "b": 3.0, "c": 2.0}) == pytest.approx(1 / 3)
    assert kendall(ranks, {"a": 1.0, "b": 2.0, "c": 2.0}) == pytest.approx(2 / math.sqrt(6))
    assert math.isnan(kendall(ranks, dict.fromkeys(ranks, 1.0)))
