"""Effects against textbook formulas and simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.training.report.cells import cell
from training.benchmark.cell_result import Scores
from training.benchmark.clip_scores import SUMS, ClipScores, metrics_of
from training.report.conditions import Condition, by_condition
from training.report.effects import Effect, Evidence, add_errors, effect, holm
from training.report.verdicts import LEVEL, Claim, Finding, Verdict, judged

BASE, GCE, SCE = (Condition(0.6, 0, name) for name in ("baseline", "gce", "sce"))
CLEAN, MASK = Condition(0.0, 0, "baseline"), Condition(0.0, 21, "baseline")


def evidence(values: dict[Condition, list[float]], seeds: list[int] | None = None) -> Evidence:
    """Cells with these values of p-mIoU, for seeds 0, 1, ...; NaN leaves a cell out."""
    cells = [
        cell(c.text_noise, c.mask_noise, c.strategy, seed,
             metrics=Scores(value, 50, 50, 50, 50, 50))
        for c, own in values.items()
        for seed, value in enumerate(own)
        if not math.isnan(value)
    ]  # fmt: skip
    return Evidence(by_condition(cells))


def gap(found: Evidence, first: Condition = GCE, second: Condition = BASE) -> Effect:
    return effect(found, "p_miou", [(1.0, first), (-1.0, second)])


def test_two_strategies_are_a_paired_t_test():
    one, other = [50.0, 54.0, 47.0, 60.0], [52.0, 55.5, 50.0, 61.0]
    found = gap(evidence({BASE: one, GCE: other}))
    expected = stats.ttest_rel(other, one)
    assert found.value == pytest.approx(1.875)
    assert found.p_at_most(0) == pytest.approx(expected.pvalue / 2)
    interval = expected.confidence_interval(0.95)
    assert found.interval() == pytest.approx((interval.low, interval.high))
    assert (found.design, found.degrees, found.seeds) == ("blocks of seeds", 3, 4)


def test_three_strategies_are_a_randomised_block_design():
    table = np.array([[50, 54, 47, 60.0], [52, 55.5, 50, 61.0], [51, 53, 49, 62.5]])
    found = gap(evidence(dict(zip((BASE, GCE, SCE), table, strict=True))))
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    square = (rest**2).sum() / 6
    assert found.degrees == 6
    assert found.error == pytest.approx(math.sqrt(2 * square / 4))
    assert found.value == pytest.approx(table[1].mean() - table[0].mean())


def test_levels_of_one_strategy_are_blocks_too():
    found = gap(evidence({CLEAN: [60.0, 62, 61], MASK: [50.0, 52.5, 50]}), MASK, CLEAN)
    expected = stats.ttest_rel([50.0, 52.5, 50], [60.0, 62, 61])
    assert found.p_at_least(0) == pytest.approx(expected.pvalue / 2)


def test_gains_at_two_levels_add_their_errors():
    other = [Condition(0.0, 21, name) for name in ("baseline", "gce")]
    values = {BASE: [50.0, 54, 47], GCE: [52.0, 55, 50], other[0]: [40.0, 44, 41],
              other[1]: [45.0, 46, 43]}  # fmt: skip
    both = effect(evidence(values), "p_miou",
                  [(1.0, GCE), (-1.0, BASE), (-1.0, other[1]), (1.0, other[0])])  # fmt: skip
    one, two = gap(evidence(values)), gap(evidence(values), other[1], other[0])
    assert both.value == pytest.approx(one.value - two.value)
    assert both.error == pytest.approx(math.hypot(one.error, two.error))
    assert 2 <= both.degrees <= 4


def test_what_is_no_difference_is_summed_for_each_seed():
    values = {CLEAN: [60.0, 62, 61], MASK: [50.0, 52.5, 50]}
    found = effect(evidence(values), "p_miou", [(1.0, MASK), (-0.5, CLEAN)])
    sums = [20.0, 21.5, 19.5]
    assert found.design == "the same seeds"
    assert found.value == pytest.approx(np.mean(sums))
    assert found.error == pytest.approx(np.std(sums, ddof=1) / math.sqrt(3))


def test_relative_effects_are_ratios():
    values = {CLEAN: [60.0, 62, 61], MASK: [45.0, 47, 44]}
    found = effect(evidence(values), "p_miou", [(1.0, MASK), (-1.0, CLEAN)], relative=True)
    ratios = np.log(np.array(values[MASK]) / values[CLEAN])
    assert found.value == pytest.approx(100 * np.expm1(ratios.mean()))
    expected = stats.ttest_1samp(ratios, math.log(0.9), alternative="less")
    assert found.p_at_least(-10) == pytest.approx(expected.pvalue)
    low, high = found.interval()
    assert low < found.value < high < 0


def test_a_missing_cell_leaves_the_others_in_place():
    nan = math.nan
    table = {BASE: [50.0, 60, 55, 70], GCE: [nan, 62, 57, 72], SCE: [51.0, 61, nan, 71]}
    assert gap(evidence(table)).value == pytest.approx(2)  # not the difference of plain means
    alone = gap(evidence({BASE: [50.0, nan], GCE: [nan, 52.0], SCE: [51.0, 51.0]}))
    assert alone.error is None and alone.interval() is None
    assert alone.p_at_most(0) == alone.p_at_least(0) == 1
    assert alone.value == pytest.approx(2)  # each against the third, of the same seed


def test_one_seed_is_compared_with_the_same_seed():
    nan = math.nan
    found = gap(evidence({BASE: [50.0, 60.0, 55.0], GCE: [nan, 62.0, nan]}))
    assert found.value == pytest.approx(2) and found.error is None and found.design is None
    mixed = effect(
        evidence({CLEAN: [60.0, 62.0], MASK: [nan, 50.0]}), "p_miou", [(1.0, MASK), (-0.5, CLEAN)]
    )
    assert mixed.value == pytest.approx(19) and mixed.error is None
    # Without a seed in common there are only means.
    apart = gap(evidence({BASE: [50.0, nan, 55.0], GCE: [nan, 62.0, nan]}))
    assert apart.value == pytest.approx(9.5) and apart.error is None


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_what_a_seed_does_to_all_drops_out(number):
    rng = np.random.default_rng(number)
    table = {c: rng.normal(50, 3, 4).tolist() for c in (BASE, GCE, SCE)}
    shift = rng.normal(0, 20, 4)
    moved = {c: [v + s for v, s in zip(own, shift, strict=True)] for c, own in table.items()}
    one, other = gap(evidence(table)), gap(evidence(moved))
    assert one.value == pytest.approx(other.value)
    assert one.error == pytest.approx(other.error)
    low, high = one.interval()
    assert (low > 0) == (one.p_at_most(0) < 0.025)
    assert (high < 0) == (one.p_at_least(0) < 0.025)


def test_intervals_hold_the_truth_in_95_of_100_cases():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        seeds = rng.normal(0, 5, 4)
        table = {
            c: (truth + seeds + rng.normal(0, 1, 4)).tolist()
            for c, truth in ((BASE, 50), (GCE, 52), (SCE, 47))
        }
        low, high = gap(evidence(table)).interval()
        held += low <= 2 <= high
    assert 0.93 <= held / 600 <= 0.97


def clips(rng: np.random.Generator, shift: float, base: np.ndarray) -> ClipScores:
    """One active object in each clip; its IoU is that of the base, shifted."""
    sums = np.zeros((len(base), len(SUMS)))
    for name in ("p_samples", "samples", "right", "p_union", "n_samples", "n_union"):
        sums[:, SUMS.index(name)] = 1
    sums[:, SUMS.index("p_iou")] = base + shift + rng.normal(0, 0.02, len(base))
    return ClipScores(tuple(map(str, range(len(base)))), sums)


def test_bootstrap_tells_what_the_choice_of_clips_adds():
    rng = np.random.default_rng(1)
    base = rng.uniform(0.2, 0.8, 60)
    values = {BASE: [50.0, 54, 47], GCE: [52.0, 55.5, 50.0]}
    plain = evidence(values)
    scores = {
        found.cell: clips(rng, 0.02 if condition == GCE else 0.0, base)
        for condition, cells in plain.results.items()
        for found in cells
    }
    with_clips = Evidence(plain.results, scores)
    found = gap(with_clips)
    assert found.value == gap(plain).value
    pairs = zip(plain.results[GCE], plain.results[BASE], strict=True)
    difference = np.mean([scores[c.cell].sums - scores[b.cell].sums for c, b in pairs], 0)
    of_clips = 100 * difference[:, SUMS.index("p_iou")]
    # Clips differ by 17 points and the two strategies' by less than 3: both see the same clips.
    assert found.clip_error == pytest.approx(np.std(of_clips) / math.sqrt(60), rel=0.1)
    assert found.error == pytest.approx(math.hypot(gap(plain).error, found.clip_error))
    key = plain.results[BASE][0].cell
    assert with_clips.drawn(key)["p_miou"].mean() == pytest.approx(
        float(metrics_of(scores[key].sums.sum(0))["p_miou"]), abs=0.5
    )
    elsewhere = {**scores, key: replace(scores[key], clips=("other",) * 60)}
    assert gap(Evidence(plain.results, elsewhere)).clip_error is None


def test_clips_are_drawn_for_the_sum_that_is_estimated():
    """A cell that has no partner of its seed has no part in a difference, and in its error none."""
    rng = np.random.default_rng(2)
    base = rng.uniform(0.2, 0.8, 60)
    plain = evidence({BASE: [50.0, 54, 47, 30], GCE: [52.0, 55.5, 50.0]})
    scores = {
        found.cell: clips(rng, 0.0, base if found.cell.seed < 3 else rng.uniform(0, 1, 60))
        for cells in plain.results.values()
        for found in cells
    }
    paired = dict(plain.results)
    paired[BASE] = [found for found in plain.results[BASE] if found.cell.seed < 3]
    found, expected = gap(Evidence(plain.results, scores)), gap(Evidence(paired, scores))
    assert found.value == pytest.approx(expected.value)
    assert found.clip_error == pytest.approx(expected.clip_error)


def test_errors_add_as_welch_has_it():
    one, other = [50.0, 54, 47], [40.0, 41, 43.5, 39]
    parts = [(np.std(v, ddof=1) / math.sqrt(len(v)), len(v) - 1) for v in (one, other)]
    error, degrees = add_errors(parts)
    expected = stats.ttest_ind(one, other, equal_var=False)
    assert degrees == pytest.approx(expected.df)
    assert (np.mean(one) - np.mean(other)) / error == pytest.approx(expected.statistic)
    assert add_errors([(0.0, 3), (0.0, 5)]) == (0.0, 3)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_that_something_is_too_small_is_decided_among_all_claims_too():
    """Every effect is as large as what counts, and certainly there."""
    rng = np.random.default_rng(6)
    wrong = 0
    for _ in range(1000):
        effects = [Effect(float(rng.normal(1, 0.1)), 0.1, 1e6, None, 5) for _ in range(11)]
        claims = tuple(Claim(str(i), "+", e, 1.0, 1.0) for i, e in enumerate(effects))
        (found,) = judged([Finding("x", "x", claims)])
        wrong += any(claim.verdict is Verdict.DOES_NOT for claim in found.claims)
    assert wrong / 1000 <= 0.05


def test_wrong_decisions_are_rare_among_many_claims():
    """Half of the claims are truly nothing, half truly just count; no seed tells the sides."""
    rng = np.random.default_rng(5)
    wrong = 0
    for _ in range(1000):
        truths = [0.0, 1.0] * 6
        claims = tuple(
            Claim(str(i), "+", Effect(float(rng.normal(t, 0.5)), 0.5, 1e6, None, 5), 1.0, 1.0)
            for i, t in enumerate(truths)
        )
        (found,) = judged([Finding("x", "x", claims)])
        wrong += any(
            claim.verdict is (Verdict.DOES_NOT if truth else Verdict.SHOWS)
            for claim, truth in zip(found.claims, truths, strict=True)
        )
    assert LEVEL == 0.025
    assert wrong / 1000 <= 0.05


def test_why_there_is_no_interval_is_told():
    nan = math.nan
    apart = gap(evidence({BASE: [50.0, 51.0, 52.0, nan, nan, nan],
                          GCE: [nan, nan, nan, 50.0, 51.0, 53.0]}))  # fmt: skip
    assert apart.seeds == 3 and apart.unknown == "no seeds are shared"
    one = gap(evidence({BASE: [50.0, 51.0, nan], GCE: [nan, 52.0, 53.0]}))
    assert one.unknown == "one shared seed alone has no interval"
    assert gap(evidence({BASE: [50.0], GCE: [51.0]})).unknown == "one seed alone has no interval"
    assert not gap(evidence({BASE: [50.0, 51.0], GCE: [51.0, 53.0]})).unknown


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_seeds_that_do_not_differ_make_nothing_certain(shift):
    """With the same numbers twice the error is 0, or what rounding leaves of it."""
    base = [41.7, 41.7 + shift]
    found = gap(evidence({BASE: base, GCE: [value + 0.3 for value in base]}))
    assert found.value == pytest.approx(0.3) and found.error is None
    assert found.p_at_most(0) == found.p_at_least(1) == 1
    assert found.unknown == "the seeds do not differ, so they tell no interval"
    judgement = judged([Finding("x", "x", (Claim("x", "+", found, 4.0, 1.0),))])[0]
    assert judgement.verdict is Verdict.OPEN and judgement.claims[0].reason == found.unknown
