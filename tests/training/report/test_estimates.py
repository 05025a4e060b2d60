"""Intervals over seeds against numerical integration."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.report.estimates import mean, t95


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
    assert mean([-1.26]).text() == "−1.3"
