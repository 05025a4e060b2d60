"""Claims about effects, and the verdict on a finding that rests on them.

Each claim is tested in two directions: against no effect, and against the least effect that would
count. All claims of a report are judged together (Holm), each at the level of a two-sided 95 %
interval. Rejecting one of the two hypotheses of a claim decides it; Holm's procedure keeps the
probability of any wrong decision, directions included, at 5 % (Shaffer 1980). That an effect which
is there is too small to count is a second decision, for which the other hypothesis has to be
rejected as well, among as many as there are claims (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Literal

from training.report.conditions import Condition, strategy_name
from training.report.effects import Effect, Evidence, effect, holm
from training.report.paper import LABELS, paper_values

LEVEL = 0.025
"""Of each one-sided test: 95 % intervals leave out as much on each side."""
LEAST_POINTS, LEAST_SHARE = 1.0, 0.25
"""An effect counts from one percentage point and from a quarter of the paper's on. Written down
before any grid of the protocol was run (docs/findings_protocol.md)."""

Sign = Literal["+", "-"]


class Verdict(str, Enum):
    """Whether something shows up in our numbers."""

    SHOWS = "shows"
    DOES_NOT = "does not show"
    OPEN = "cannot be told"


@dataclass(frozen=True)
class Claim:
    """An effect that the paper has on one side of zero.

    Attributes:
        text: In words.
        sign: The expected side.
        ours: Percentage points, or percent if relative; None if a cell is missing.
        paper: The same from the paper's values.
        least: The least effect that counts, above 0, in the expected direction.
        beyond: What the effect must exceed in that direction to show, from 0 to `least`.
        missing: Cells that are missing; empty if there is none.
        decides: Whether the finding's verdict rests on it; else it is shown for comparison only.
        adjusted: p-value of the better of its two tests after Holm; None before it is judged.
        among: How many claims are judged together with it, itself included.
    """

    text: str
    sign: Sign
    ours: Effect | None
    paper: float
    least: float
    beyond: float = 0.0
    missing: str = ""
    decides: bool = True
    adjusted: float | None = None
    among: int = 1

    @property
    def p_shows(self) -> float:
        """p-value of the hypothesis that the effect does not exceed `beyond`."""
        return self._p(self.beyond, above=True)

    @property
    def p_does_not(self) -> float:
        """p-value of the hypothesis that the effect is at least `least`."""
        return self._p(self.least, above=False)

    @property
    def p(self) -> float:
        """The better of the two."""
        return min(self.p_shows, self.p_does_not)

    @property
    def verdict(self) -> Verdict:
        """Shows, does not show (smaller than what counts, or contrary) or cannot be told."""
        if self.adjusted is None or self.adjusted > LEVEL:
            return Verdict.OPEN
        # What is certainly there and certainly too small to count does not show, either.
        too_small = self.p_does_not <= max(self.p_shows, LEVEL / self.among)
        return Verdict.DOES_NOT if too_small else Verdict.SHOWS

    @property
    def reason(self) -> str:
        """Why it cannot be told, or how it does not show; may be empty."""
        if self.missing:
            return f"missing: {self.missing}"
        if self.ours is not None and self.ours.error is None:
            return self.ours.unknown
        if self.verdict is Verdict.DOES_NOT and self.p_shows <= LEVEL / self.among:
            return "there, but smaller than what counts"
        if self.verdict is not Verdict.OPEN:
            return ""
        if self.p <= LEVEL:
            return "not certain among all claims"
        return "the interval holds both no effect and one that counts"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "claim": self.text,
            "verdict": self.verdict.value,
            "expected": self.sign,
            "ours": None if self.ours is None else self.ours.as_json(),
            "paper": self.paper,
            "least": self.least,
            "p_shows": self.p_shows,
            "p_does_not": self.p_does_not,
            "p_holm": self.adjusted,
            "reason": self.reason,
            "decides": self.decides,
        }

    def _p(self, size: float, *, above: bool) -> float:
        """Of the hypothesis that the effect in the expected direction is at most (at least) so."""
        if self.ours is None:
            return 1.0
        if (self.sign == "+") == above:
            return self.ours.p_at_most(size if self.sign == "+" else -size)
        return self.ours.p_at_least(size if self.sign == "+" else -size)


@dataclass(frozen=True)
class Finding:
    """One of the paper's findings, and whether it shows up here."""

    id: str
    title: str
    claims: tuple[Claim, ...]
    remarks: tuple[str, ...] = ()
    """Whole sentences that are no claims, such as rankings."""
    own_verdict: Verdict | None = None
    """Verdict of a finding that rests on no claims."""

    @property
    def verdict(self) -> Verdict:
        """Shows if all its deciding claims do, and does not if one of them does not."""
        if self.own_verdict is not None:
            return self.own_verdict
        found = {claim.verdict for claim in self.claims if claim.decides}
        if Verdict.DOES_NOT in found:
            return Verdict.DOES_NOT
        return Verdict.SHOWS if found == {Verdict.SHOWS} else Verdict.OPEN

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "finding": self.title,
            "verdict": self.verdict.value,
            "claims": [claim.as_json() for claim in self.claims],
            "remarks": list(self.remarks),
        }


def claim(
    evidence: Evidence,
    text: str,
    metric: str,
    sign: Sign,
    terms: Sequence[tuple[float, Condition]],
    *,
    decides: bool = True,
) -> Claim:
    """A claim about a weighted sum of means; not judged yet.

    Args:
        evidence: Our cells.
        text: The claim in words.
        metric: One of `METRICS`.
        sign: Expected sign of the sum.
        terms: The sum.
        decides: See `Claim`.
    """
    printed = paper_values()
    paper = sum(weight * printed[condition][metric] for weight, condition in terms)
    least = max(LEAST_POINTS, LEAST_SHARE * abs(paper))
    ours, missing = _ours(evidence, metric, terms)
    return Claim(text, sign, ours, paper, least, missing=missing, decides=decides)


def fall(
    evidence: Evidence,
    text: str,
    metric: str,
    percent: float,
    first: Condition,
    second: Condition,
) -> Claim:
    """The claim that `first` lies more than so many percent below `second`; not judged yet."""
    printed = paper_values()
    paper = 100 * (printed[first][metric] / printed[second][metric] - 1)
    ours, missing = _ours(evidence, metric, [(1.0, first), (-1.0, second)], relative=True)
    return Claim(text, "-", ours, paper, percent, percent, missing=missing)


def difference(
    evidence: Evidence,
    metric: str,
    sign: Sign,
    first: Condition,
    second: Condition,
    *,
    decides: bool = True,
) -> Claim:
    """The claim that `first` is above (`+`) or below (`-`) `second` in one metric.

    The two share their noise or their strategy.
    """
    relation = "above" if sign == "+" else "below"
    if first.strategy == second.strategy:
        name = strategy_name(first.strategy)
        text = f"{name}: {LABELS[metric]} at {first.noise} {relation} {second.noise}"
    else:
        names = strategy_name(first.strategy), strategy_name(second.strategy)
        text = f"{first.noise}: {LABELS[metric]} of {names[0]} {relation} {names[1]}"
    return claim(evidence, text, metric, sign, [(1.0, first), (-1.0, second)], decides=decides)


def judged(findings: Sequence[Finding]) -> list[Finding]:
    """The findings with their claims judged: those that decide together, others one by one."""
    deciding = [claim for found in findings for claim in found.claims if claim.decides]
    adjusted = iter(holm([claim.p for claim in deciding]))
    return [
        replace(
            found,
            claims=tuple(
                replace(claim, adjusted=next(adjusted), among=len(deciding))
                if claim.decides
                else replace(claim, adjusted=claim.p)
                for claim in found.claims
            ),
        )
        for found in findings
    ]


def _ours(
    evidence: Evidence,
    metric: str,
    terms: Iterable[tuple[float, Condition]],
    *,
    relative: bool = False,
) -> tuple[Effect | None, str]:
    """The effect, or the conditions that are missing."""
    listed = list(terms)
    missing = dict.fromkeys(c for _, c in listed if not evidence.results.get(c))
    if missing:
        return None, "; ".join(map(str, missing))
    return effect(evidence, metric, listed, relative=relative), ""
