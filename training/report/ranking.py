"""Do the strategies rank alike under text, mask and mixed noise?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations

from scipy import stats

from training.benchmark.suites import strategy_order
from training.report.estimates import Estimate, combination, mean
from training.report.paper import LABELS, paper_values
from training.report.results import (
    Condition,
    Results,
    strategy_name,
    values,
)
from training.report.verdicts import Finding, Verdict, judge

Levels = Mapping[str, tuple[float, int]]
"""Noise type -> text noise rate and mask noise kernel."""
_METRIC = "giou"
_SHOWN_FLIPS = 6


def rankings_change(results: Results, levels: Levels) -> Finding:
    """Sec. V-E, Observation 1: who leads under one noise need not lead under another.

    It shows if two strategies change places between two noise types and both orders are certain
    (the 95 % intervals of both differences leave out zero). It does not show if every order is
    certain and none changes.
    """
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
    flips, undecided = _flips(results, levels)
    verdict = Verdict.OPEN
    if flips:
        verdict = Verdict.SHOWS
    elif not undecided and all(len(ranked) > 1 for ranked in ours.values()):
        verdict = Verdict.DOES_NOT
    remarks = [*_rankings("Ours", ours), *_rankings("The paper", paper), _flip_text(flips)]
    if verdict is Verdict.OPEN:
        remarks.append(f"{undecided} orders of two strategies are uncertain or miss a cell.")
    title = "The ranking of the strategies changes between text, mask and mixed noise"
    return Finding("e", title, verdict, (), tuple(remarks))


def _flips(results: Results, levels: Levels) -> tuple[list[str], int]:
    """Certain changes of place in words, and how many orders are not certain."""
    flips, undecided = [], 0
    for first, second in combinations(strategy_order(), 2):
        orders: dict[str, tuple[Verdict, Estimate]] = {}
        for kind, level in levels.items():
            pair = [values(results, Condition(*level, name), _METRIC) for name in (first, second)]
            if any(not found for found in pair):
                # A strategy that the paper leaves out of a table is not missed there.
                undecided += all(Condition(*level, n) in paper_values() for n in (first, second))
                continue
            gap = combination([(1.0, pair[0]), (-1.0, pair[1])])
            verdict, _ = judge(gap, "+")
            undecided += verdict is Verdict.OPEN
            orders[kind] = verdict, gap
        for one, other in combinations(orders, 2):
            if {orders[one][0], orders[other][0]} == {Verdict.SHOWS, Verdict.DOES_NOT}:
                gaps = ", ".join(f"{orders[k][1].text(signed=True)} ({k})" for k in (one, other))
                flips.append(f"{strategy_name(first)} against {strategy_name(second)}: {gaps}")
    return flips, undecided


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
