"""Claims about differences, and the verdict on a finding that rests on them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from training.report.estimates import Estimate, combination
from training.report.paper import LABELS, paper_values
from training.report.results import Condition, Results, strategy_name, values

Term = tuple[float, Condition, str]
"""Weight, condition and metric."""


class Verdict(str, Enum):
    """Whether something shows up in our numbers."""

    SHOWS = "shows"
    DOES_NOT = "does not show"
    OPEN = "cannot be told"


@dataclass(frozen=True)
class Claim:
    """A weighted sum of means, usually a difference, that the paper has on one side of zero."""

    text: str
    verdict: Verdict
    ours: Estimate | None
    """Percentage points; None if a cell is missing."""
    paper: float
    """The same from the paper's values."""
    reason: str
    """Why it cannot be told; empty otherwise."""
    decides: bool = True
    """Whether the finding's verdict rests on it; else it is shown for comparison only."""

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        numbers = None
        if self.ours is not None:
            numbers = {"value": self.ours.value, "half_width": self.ours.half_width}
        return {
            "claim": self.text,
            "verdict": self.verdict.value,
            "ours": numbers,
            "paper": self.paper,
            "reason": self.reason,
            "decides": self.decides,
        }


@dataclass(frozen=True)
class Finding:
    """One of the paper's findings, and whether it shows up here."""

    id: str
    title: str
    verdict: Verdict
    claims: tuple[Claim, ...]
    remarks: tuple[str, ...] = ()
    """Whole sentences that are no claims, such as rankings."""

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
    results: Results,
    text: str,
    sign: Literal["+", "-"],
    terms: Sequence[Term],
    *,
    decides: bool = True,
) -> Claim:
    """Decides whether a weighted sum of means lies on the expected side of zero.

    It shows if the whole 95 % interval lies on that side, does not show if it lies on the other,
    and cannot be told if the interval holds zero, a cell is missing or has one seed only.

    Args:
        results: Our cells.
        text: The claim in words.
        sign: Expected sign of the sum.
        terms: The sum.
        decides: See `Claim`.
    """
    printed = paper_values()
    paper = sum(weight * printed[condition][metric] for weight, condition, metric in terms)
    missing = dict.fromkeys(condition for _, condition, _ in terms if not results.get(condition))
    if missing:
        reason = "missing: " + "; ".join(map(str, missing))
        return Claim(text, Verdict.OPEN, None, paper, reason, decides)
    ours = combination(
        [(weight, values(results, condition, metric)) for weight, condition, metric in terms]
    )
    verdict, reason = judge(ours, sign)
    return Claim(text, verdict, ours, paper, reason, decides)


def judge(number: Estimate, sign: Literal["+", "-"]) -> tuple[Verdict, str]:
    """Verdict on the expected sign of a number, and the reason if it cannot be told."""
    if number.low is None or number.high is None:
        return Verdict.OPEN, "one seed alone has no interval"
    if number.low <= 0 <= number.high:
        return Verdict.OPEN, "the interval holds zero"
    return (Verdict.SHOWS if (number.low > 0) == (sign == "+") else Verdict.DOES_NOT), ""


def difference(
    results: Results,
    metric: str,
    sign: Literal["+", "-"],
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
    return claim(
        results, text, sign, [(1.0, first, metric), (-1.0, second, metric)], decides=decides
    )


def joint(claims: Iterable[Claim]) -> Verdict:
    """A finding shows if all its deciding claims do, and does not if one of them does not."""
    found = {claim.verdict for claim in claims if claim.decides}
    if Verdict.DOES_NOT in found:
        return Verdict.DOES_NOT
    return Verdict.SHOWS if found == {Verdict.SHOWS} else Verdict.OPEN


def finding(id: str, title: str, claims: Sequence[Claim], *remarks: str) -> Finding:
    """A finding with its joint verdict."""
    return Finding(id, title, joint(claims), tuple(claims), remarks)
