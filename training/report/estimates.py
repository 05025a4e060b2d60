"""Means over seeds with 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

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

    def text(self) -> str:
        """``63.2 ± 1.4``, or ``63.2`` without an interval."""
        value = f"{self.value:.1f}".replace("-", "−")
        return value if self.half_width is None else f"{value} ± {self.half_width:.1f}"


def mean(values: Sequence[float]) -> Estimate:
    """Mean of at least one value per seed; Student's t for the interval."""
    if len(values) < 2:
        return Estimate(fmean(values), None)
    half_width = t95(len(values) - 1) * stdev(values) / math.sqrt(len(values))
    return Estimate(fmean(values), half_width)
