"""The ninth strategy's endpoints: is it the best or as good, and better than the baseline?

docs/findings_protocol.md: in each condition the strategy is compared with the best of the paper's
that were run there (by the mean of the seeds, which favours it) and with the baseline, in gIoU
and in p-mIoU less n-mIoU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from training.benchmark.suites import settings_of
from training.report.conditions import Condition, Results
from training.report.effects import P_LESS_N, Effect, Evidence, effect, holm
from training.report.paper import paper_values

ENDPOINTS = {"giou": "gIoU", P_LESS_N: "p-mIoU − n-mIoU"}
LEVEL = 0.05
"""Of each family of one-sided tests, after Holm."""
MOST_LOST = 1.0
"""Percentage points that may be lost on clean data."""


@dataclass(frozen=True)
class Comparison:
    """The strategy in one condition and endpoint."""

    condition: Condition
    best: Condition
    """The best of the others."""
    to_best: Effect
    worse: float
    """p-value of the hypothesis that it is not worse than the best; Holm over the conditions."""
    to_baseline: Effect
    better: float | None
    """p-value of the hypothesis that it is not better than the baseline; Holm over the noisy
    conditions, None on clean data."""

    @property
    def keeps_up(self) -> bool | None:
        """Whether it is best or not distinguishable from the best; None without an interval."""
        return None if self.to_best.error is None else self.worse > LEVEL

    @property
    def beats_baseline(self) -> bool | None:
        """Whether it is better than the baseline, None without an interval.

        On clean data: whether it loses little enough.
        """
        if self.better is None:
            return self.to_baseline.value >= -MOST_LOST
        return None if self.to_baseline.error is None else self.better <= LEVEL


def compare(evidence: Evidence, endpoint: str) -> list[Comparison]:
    """All conditions of the suite `findings-ninth` that have been run.

    Args:
        evidence: Cells.
        endpoint: One of `ENDPOINTS`.
    """
    results = evidence.results
    found = [(condition, *_effects(evidence, endpoint, condition)) for condition in _run(results)]
    worse = holm([to_best.p_at_least(0) for _, _, to_best, _ in found])
    noisy = {own: gain for own, _, _, gain in found if own.text_noise or own.mask_noise}
    tests = holm([gain.p_at_most(0) for gain in noisy.values()])
    better = dict(zip(noisy, tests, strict=True))
    return [
        Comparison(condition, best, to_best, p, to_baseline, better.get(condition))
        for (condition, best, to_best, to_baseline), p in zip(found, worse, strict=True)
    ]


def told(comparisons: Sequence[Comparison], endpoint: str) -> str:
    """What one endpoint comes to, in a sentence."""
    kept = [found.keeps_up for found in comparisons if found.keeps_up is not None]
    noisy = [found for found in comparisons if found.better is not None]
    beaten = [found.beats_baseline for found in noisy if found.beats_baseline is not None]
    clean = [found.to_baseline.text() for found in comparisons if found.better is None]
    return (
        f"{ENDPOINTS[endpoint]}: the best or not distinguishable from it in {sum(kept)} of "
        f"{len(kept)} conditions, certainly better than the baseline in {sum(beaten)} of "
        f"{len(beaten)} noisy ones (those with an interval)"
        + (f"; on clean data {clean[0]} against the baseline." if clean else ".")
    )


def _run(results: Results) -> Iterator[Condition]:
    """The strategy's conditions with a baseline beside them."""
    for row in settings_of("findings-ninth"):
        own = Condition(*row)
        if results.get(own) and results.get(_baseline(own)):
            yield own


def _baseline(condition: Condition) -> Condition:
    return Condition(condition.text_noise, condition.mask_noise, "baseline")


def _effects(
    evidence: Evidence, endpoint: str, condition: Condition
) -> tuple[Condition, Effect, Effect]:
    """The best of the others, and how far the strategy is above it and above the baseline."""
    printed = {row.strategy for row in paper_values()}
    others = [
        other
        for other in evidence.results
        if _baseline(other) == _baseline(condition) and other.strategy in printed
    ]
    effects = {
        other: effect(evidence, endpoint, [(1.0, condition), (-1.0, other)]) for other in others
    }
    best = min(others, key=lambda other: effects[other].value)
    return best, effects[best], effects[_baseline(condition)]
