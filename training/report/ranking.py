"""Do the strategies rank alike under text, mask and mixed noise?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from scipy import stats

from training.benchmark.suites import strategy_order
from training.report.conditions import (
    Condition,
    strategy_name,
    values,
)
from training.report.effects import Effect, Evidence, effect, holm
from training.report.estimates import mean
from training.report.paper import LABELS, paper_values
from training.report.verdicts import LEAST_POINTS, LEVEL, Finding, Verdict

Levels = Mapping[str, tuple[float, int]]
"""Noise type -> text noise rate and mask noise kernel."""
_METRIC = "giou"
_SHOWN_FLIPS = 6


def rankings_change(evidence: Evidence, levels: Levels) -> Finding:
    """Sec. V-E, Observation 1: who leads under one noise need not lead under another.

    It shows if two strategies change places between two noise types, both orders are certain (Holm
    over the orders of all pairs under all types) and neither gap is certainly too small to count.
    It does not show if it is certain of all pairs that they do not change places by what counts,
    one point on each side, between any two types (Holm over all of these).
    """
    results = evidence.results
    ours = {
        kind: {
            name: mean(found).value
            for name in strategy_order()
            if (found := values(results, Condition(*level, name), _METRIC))
        }
        for kind, level in levels.items()
    }
    paper = {
        kind: {
            name: paper_values()[condition][_METRIC]
            for name in strategy_order()
            if (condition := Condition(*level, name)) in paper_values()
        }
        for kind, level in levels.items()
    }
    gaps, missing = _gaps(evidence, levels)
    flips, uncertain = _flips(gaps)
    possible = _possible_flips(gaps)
    verdict = Verdict.OPEN
    if flips:
        verdict = Verdict.SHOWS
    elif gaps and not possible and not missing:
        verdict = Verdict.DOES_NOT
    remarks = [*_rankings("Ours", ours), *_rankings("The paper", paper), _flip_text(flips)]
    if verdict is Verdict.OPEN:
        remarks.append(
            f"{uncertain} orders of two strategies are uncertain and {missing} miss a cell; "
            f"{possible} changes of place by {LEAST_POINTS:g} point or more cannot be ruled out."
        )
    title = "The ranking of the strategies changes between text, mask and mixed noise"
    return Finding("e", title, (), tuple(remarks), verdict)


_Gaps = Mapping[tuple[str, str], Mapping[str, Effect]]
"""Two strategies -> noise type -> how far the first is above the second."""


def _gaps(evidence: Evidence, levels: Levels) -> tuple[_Gaps, int]:
    """The gaps between all strategies of the paper, and how many miss a cell."""
    printed = {condition.strategy for condition in paper_values()}
    gaps: dict[tuple[str, str], dict[str, Effect]] = {}
    missing = 0
    for pair in combinations([name for name in strategy_order() if name in printed], 2):
        for kind, level in levels.items():
            conditions = [Condition(*level, name) for name in pair]
            if all(evidence.results.get(condition) for condition in conditions):
                terms = [(1.0, conditions[0]), (-1.0, conditions[1])]
                gaps.setdefault(pair, {})[kind] = effect(evidence, _METRIC, terms)
            else:
                # A strategy that the paper leaves out of a table is not missed there.
                missing += all(condition in paper_values() for condition in conditions)
    return gaps, missing


def _flips(gaps: _Gaps) -> tuple[list[str], int]:
    """Certain changes of place in words, and how many orders are not certain."""
    listed = [(pair, kind, gap) for pair, own in gaps.items() for kind, gap in own.items()]
    adjusted = holm([min(gap.p_at_most(0), gap.p_at_least(0)) for _, _, gap in listed])
    certain: dict[tuple[str, str], dict[str, Effect]] = {}
    for (pair, kind, gap), p in zip(listed, adjusted, strict=True):
        if p <= LEVEL:
            certain.setdefault(pair, {})[kind] = gap
    flips = []
    for (first, second), orders in certain.items():
        for one, other in combinations(orders, 2):
            counts = not any(_too_small(orders[kind]) for kind in (one, other))
            if counts and orders[one].value * orders[other].value < 0:
                both = ", ".join(f"{orders[kind].text()} ({kind})" for kind in (one, other))
                flips.append(f"{strategy_name(first)} against {strategy_name(second)}: {both}")
    return flips, sum(p > LEVEL for p in adjusted)


def _too_small(gap: Effect) -> bool:
    return max(gap.p_at_least(LEAST_POINTS), gap.p_at_most(-LEAST_POINTS)) <= LEVEL


def _possible_flips(gaps: _Gaps) -> int:
    """How many changes of place that would count cannot be ruled out."""
    p_values = []
    for own in gaps.values():
        for one, other in combinations(own.values(), 2):
            for up, down in ((one, other), (other, one)):
                # Both sides must be wrong for the hypothesis to be true (Bonferroni for the two).
                against = min(up.p_at_least(LEAST_POINTS), down.p_at_most(-LEAST_POINTS))
                p_values.append(min(1.0, 2 * against))
    return sum(p > LEVEL for p in holm(p_values))


def _flip_text(flips: Sequence[str]) -> str:
    if not flips:
        return "No two strategies change places with certainty."
    more = f"; and {len(flips) - _SHOWN_FLIPS} more" if len(flips) > _SHOWN_FLIPS else ""
    return (
        f"Certain changes of place in {LABELS[_METRIC]}: {'; '.join(flips[:_SHOWN_FLIPS])}{more}."
    )


def _rankings(whose: str, ranked: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each noise type's ranking, and one for the agreement of each two."""
    lines = []
    for kind, numbers in ranked.items():
        if len(numbers) > 1:
            order = sorted(numbers, key=lambda name: -numbers[name])
            listed = ", ".join(f"{strategy_name(name)} {numbers[name]:.1f}" for name in order)
            lines.append(f"{whose}, {LABELS[_METRIC]} under {kind} noise: {listed}.")
    agreements = [
        f"{one} and {other} {tau:+.2f}"
        for one, other in combinations(ranked, 2)
        if not math.isnan(tau := kendall(ranked[one], ranked[other]))
    ]
    if agreements:
        lines.append(
            f"{whose}, rank correlation (Kendall's tau; 1 same order, −1 reversed): "
            f"{'; '.join(agreements)}."
        )
    return lines


def kendall(first: Mapping[str, float], second: Mapping[str, float]) -> float:
    """Kendall's tau-b over what both rank; nan for fewer than two or where all rank alike."""
    common = sorted(first.keys() & second.keys())
    if len(common) < 2:
        return math.nan
    values = [[ranked[name] for name in common] for ranked in (first, second)]
    return float(stats.kendalltau(*values).statistic)
