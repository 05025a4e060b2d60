"""Means over seeds with 95 % confidence intervals, and weighted differences of means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom.
_T95 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
    2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
    2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def t95(degrees: int) -> float:
    """Two-sided 95 % quantile of Student's t; above 30 degrees that of 30 (slightly too wide)."""
    return _T95[min(degrees, len(_T95)) - 1]


@dataclass(frozen=True)
class Estimate:
    """A value and half the width of its 95 % confidence interval."""

    value: float
    half_width: float | None
    """None where some mean rests on one seed alone."""

    @property
    def low(self) -> float | None:
        """Lower end of the interval."""
        return None if self.half_width is None else self.value - self.half_width

    @property
    def high(self) -> float | None:
        """Upper end of the interval."""
        return None if self.half_width is None else self.value + self.half_width

    def text(self, signed: bool = False) -> str:
        """``63.2 ± 1.4``, or ``63.2`` without an interval; `signed` shows a plus."""
        value = f"{self.value:{'+' if signed else ''}.1f}".replace("-", "−")
        return value if self.half_width is None else f"{value} ± {self.half_width:.1f}"


def mean(values: Sequence[float]) -> Estimate:
    """Mean of at least one value per seed; Student's t for the interval."""
    return combination([(1.0, values)])


def combination(terms: Sequence[tuple[float, Sequence[float]]]) -> Estimate:
    """Weighted sum of independent means, such as a difference (weights 1 and -1).

    The variances of the means may differ: Welch's interval with Satterthwaite's degrees of
    freedom, rounded down.

    Args:
        terms: Weight, and the values of one mean (at least one).
    """
    value = math.fsum(weight * fmean(values) for weight, values in terms)
    if any(len(values) < 2 for _, values in terms):
        return Estimate(value, None)
    parts = [weight**2 * variance(values) / len(values) for weight, values in terms]
    total = math.fsum(parts)
    if total == 0:
        return Estimate(value, 0.0)
    shares = math.fsum(
        (part / total) ** 2 / (len(values) - 1)
        for part, (_, values) in zip(parts, terms, strict=True)
    )
    degrees = math.floor(1 / shares + 1e-9)  # whole degrees survive rounding errors
    return Estimate(value, t95(degrees) * math.sqrt(total))
