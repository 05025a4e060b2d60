"""The ninth strategy's endpoints, on cells that nobody trained."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from tests.training.report.cells import cell, paper_cells, write_cells
from training.benchmark.cell_result import CellResult, Scores
from training.report.build import write_report
from training.report.conditions import Condition, by_condition
from training.report.effects import P_LESS_N, Evidence, effect
from training.report.ninth import Comparison, compare
from training.report.options import ReportOptions

SEEDS = (0, 1, 2, 3, 4)
MIXED, NAME_20 = (0.6, 21), (0.2, 0)


def cells(gains: dict[tuple[float, int], float]) -> list[CellResult]:
    """The paper's cells, and repair at some levels: so far above the paper's best in gIoU and p."""
    rng, found = random.Random(3), list(paper_cells(SEEDS))
    for level, gain in gains.items():
        there = [c for c in found if (c.cell.text_noise, c.cell.mask_noise) == level]
        top = max(there, key=lambda c: c.metrics.giou).metrics
        found += [
            cell(*level, "repair", seed, metrics=Scores(
                top.p_miou + gain, top.n_miou, 50, 50, top.giou + gain + rng.gauss(0, 0.2), 50,
            ))
            for seed in SEEDS
        ]  # fmt: skip
    return found


def compared(gains: dict[tuple[float, int], float], endpoint: str = "giou") -> list[Comparison]:
    return compare(Evidence(by_condition(cells(gains))), endpoint)


def test_best_and_worse_are_told_apart():
    mixed, name = sorted(compared({MIXED: 5.0, NAME_20: -5.0}), key=lambda c: -c.to_best.value)
    assert (mixed.condition.noise, mixed.best.strategy) == ("Name-60 + Mask 21×21", "gce")
    assert mixed.keeps_up and mixed.beats_baseline
    assert mixed.to_best.value == pytest.approx(5, abs=1)
    assert name.condition.noise == "Name-20"
    assert not name.keeps_up


def test_clean_data_may_lose_a_point():
    for lost, allowed in ((-0.5, True), (-2.0, False)):
        (clean,) = compared({(0.0, 0): lost})
        assert clean.better is None
        assert clean.beats_baseline == allowed


def test_a_strategy_that_was_not_run_is_compared_with_nothing():
    assert compare(Evidence(by_condition(paper_cells(SEEDS))), "giou") == []


def test_p_less_n_is_the_difference_of_both():
    found = Evidence(by_condition(cells({MIXED: 2.0})))
    terms = [(1.0, Condition(*MIXED, "repair")), (-1.0, Condition(*MIXED, "baseline"))]
    p, n, both = (effect(found, name, terms).value for name in ("p_miou", "n_miou", P_LESS_N))
    assert both == pytest.approx(p - n)


def test_the_report_tells_it(tmp_path: Path):
    runs = write_cells(tmp_path / "runs", cells({MIXED: 5.0}))
    page = write_report(ReportOptions(runs, tmp_path / "out"))
    rows = json.loads((tmp_path / "out" / "report.json").read_text())["ninth"]
    assert [row["Endpoint"] for row in rows] == ["gIoU", "p-mIoU − n-mIoU"]
    assert {row["Best or as good"] for row in rows} == {"yes"}
    assert "certainly better than the baseline in 1 of 1 noisy ones" in page.read_text()


def test_without_an_interval_nothing_is_told():
    alone = [c for c in cells({MIXED: 5.0}) if c.cell.seed == 0]
    (mixed,) = compare(Evidence(by_condition(alone)), "giou")
    assert mixed.to_best.error is None
    assert mixed.keeps_up is None
    assert mixed.beats_baseline is None
