"""Intervals over seeds against numerical integration and against simulation."""

from __future__ import annotations

import math
import random
from statistics import fmean, variance

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.report.estimates import combination, mean, t95

numbers = st.lists(st.floats(-100, 100), min_size=2, max_size=8)


@pytest.mark.parametrize("degrees", [1, 2, 3, 5, 9, 17, 30])
def test_quantiles_hold_95_percent_of_students_distribution(degrees):
    x = np.linspace(-t95(degrees), t95(degrees), 200_001)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    density = np.exp(scale - (degrees + 1) / 2 * np.log1p(x**2 / degrees))
    mass = np.trapezoid(density, x) / math.sqrt(degrees * math.pi)
    assert mass == pytest.approx(0.95, abs=2e-4)


def test_quantiles_as_printed_tables_have_them():
    """Student's t to the digits that statistics books print (one to 30 degrees of freedom)."""
    printed = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 10: 2.228, 20: 2.086, 30: 2.042}
    assert {degrees: round(t95(degrees), 3) for degrees in printed} == printed


def test_mean_of_three_seeds_by_hand():
    found = mean([60.0, 62.0, 64.0])
    assert found.value == 62
    assert found.half_width == pytest.approx(4.303 * 2 / math.sqrt(3), rel=1e-4)
    assert found.text() == "62.0 ± 5.0"


def test_one_seed_has_no_interval():
    assert mean([60.0]).half_width is None
    assert combination([(1, [60.0, 61.0]), (-1, [50.0])]).half_width is None
    assert mean([-1.26]).text(signed=True) == "−1.3"


@given(numbers, numbers)
def test_difference_is_antisymmetric_and_at_least_as_wide_as_either_error(first, second):
    one, other = combination([(1, first), (-1, second)]), combination([(1, second), (-1, first)])
    assert one.value == pytest.approx(-other.value, abs=1e-9)
    assert one.half_width == pytest.approx(other.half_width, abs=1e-9)
    error = math.sqrt(variance(first) / len(first) + variance(second) / len(second))
    assert one.half_width >= 1.9 * error
    assert one.value == pytest.approx(fmean(first) - fmean(second), abs=1e-9)


def test_difference_covers_the_truth_in_95_of_100_cases():
    rng = random.Random(3)
    covered = 0
    for _ in range(2000):
        first = [rng.gauss(10, 1) for _ in range(3)]
        second = [rng.gauss(4, 3) for _ in range(4)]
        found = combination([(1, first), (-1, second)])
        covered += found.low <= 6 <= found.high
    assert covered / 2000 >= 0.94  # degrees of freedom are rounded down, so rather more
