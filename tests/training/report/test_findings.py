"""Verdicts on the paper's findings from invented cells."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from tests.training.report.cells import paper_cells
from training.report.conditions import by_condition
from training.report.effects import Evidence
from training.report.findings import make_findings
from training.report.ranking import kendall
from training.report.verdicts import LEVEL, Verdict


def findings_of(cells):
    return make_findings(Evidence(by_condition(cells)))


def verdicts(cells):
    return {found.id: found.verdict for found in findings_of(cells)}


def test_the_papers_own_values_show_all_findings():
    assert set(verdicts(paper_cells(spread=0.1)).values()) == {Verdict.SHOWS}


def test_one_seed_tells_nothing():
    findings = findings_of(paper_cells(seeds=[0]))
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
    found = findings_of(cells)[2]
    assert found.verdict is Verdict.OPEN
    assert found.claims[0].reason == "missing: Co-teaching, Name-60"


def test_equal_rankings_do_not_change():
    order = ["baseline", "co-teaching", "sce", "gce", "apl", "elr", "npn", "pmhm"]
    cells = [
        replace(
            result,
            metrics=replace(result.metrics, giou=50 + 5 * rank + 0.1 * (key.seed * rank % 3)),
        )
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


def test_effects_below_what_counts_do_not_show():
    """With hardly any scatter, differences of a tenth of the paper's are certain, and too small."""
    clean = {c.cell.seed: c.metrics for c in paper_cells(spread=0.01) if c.cell.noise == "clean"}

    def shrunk(result):
        start = clean[result.cell.seed]
        values = {
            name: 0.9 * value + 0.1 * getattr(result.metrics, name)
            for name, value in vars(start).items()
        }
        return replace(result, metrics=replace(result.metrics, **values))

    findings = findings_of(map(shrunk, paper_cells(spread=0.01)))
    assert {found.verdict for found in findings} == {Verdict.DOES_NOT}
    first = findings[0].claims[0]
    assert first.ours.value == pytest.approx(-1.6, abs=0.1)
    assert first.least == 4.0  # a quarter of the paper's 16 points
    assert first.reason == "there, but smaller than what counts"


def test_a_fall_is_told_in_percent():
    found = findings_of(paper_cells(spread=0.05))[1].claims[3]
    assert found.text == "Baseline: p-mIoU at Mask 21×21 more than 10 % below Clean (steep)"
    assert found.ours.value == pytest.approx(found.paper, abs=0.5)
    assert found.ours.text().startswith("−31.") and found.ours.text().endswith(" %")


def test_many_claims_need_more_certainty_than_one():
    """Holm: what is certain alone need not be among all."""
    for spread in (1.0, 2.0, 4.0, 8.0):
        for found in findings_of(paper_cells(spread=spread)):
            for claim in found.claims:
                assert claim.adjusted >= claim.p
                if claim.verdict is not Verdict.OPEN:
                    assert claim.p <= claim.adjusted <= LEVEL


@pytest.mark.parametrize("level", [(0.0, 21), (0.2, 0)])
def test_a_cell_that_finds_nothing_has_no_ratio(level):
    """One epoch may find nothing: a logarithm of 0 must not spoil the other claims."""
    key = (*level, "baseline", 1)
    cells = [
        replace(found, metrics=replace(found.metrics, p_miou=0.0)) if _key(found) == key else found
        for found in paper_cells()
    ]
    findings = findings_of(cells)
    steep = next(claim for found in findings for claim in found.claims if "steep" in claim.text)
    if level == (0.0, 21):
        assert steep.verdict is Verdict.OPEN
        assert steep.reason == "a cell's p-mIoU is 0: mask21/baseline/seed1"
        assert steep.ours.text() == "–" and steep.as_json()["ours"]["value"] is None
    else:  # it is no part of the claim, so the others tell it
        assert steep.verdict is Verdict.SHOWS and math.isfinite(steep.ours.value)
    json.dumps([found.as_json() for found in findings], allow_nan=False)


def _key(found):
    key = found.cell
    return key.text_noise, key.mask_noise, key.strategy, key.seed
