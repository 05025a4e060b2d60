"""Means over seeds with 95 % confidence intervals, and weighted differences of means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, variance

from scipy import stats


def t95(degrees: float) -> float:
    """Two-sided 95 % quantile of Student's t."""
    return float(stats.t.ppf(0.975, degrees))


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
    freedom, rounded down, which is on the safe side with the few seeds that there are. (SciPy has
    Welch's test for two samples, but not for the differences of differences that are needed here.)

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
