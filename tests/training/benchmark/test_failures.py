"""Areas under risk and coverage, by hand and by their properties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from training.benchmark.failures import FAILURES_FILE, Samples, area, read_samples

cases = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


def test_by_hand() -> None:
    found = area(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]))
    assert found.found == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found.best == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert found.random == 0.5
    assert found.relative == pytest.approx((found.found - found.best) / (found.random - found.best))


@given(cases)
def test_the_best_order_is_best_and_saying_nothing_is_the_failure_rate(
    samples: list[tuple[int, bool]],
) -> None:
    uncertainty = np.array([float(value) for value, _ in samples])
    failed = np.array([fails for _, fails in samples])
    found = area(uncertainty, failed)
    assert found.best <= found.found + 1e-12
    assert area(np.zeros(len(failed)), failed).found == pytest.approx(failed.mean())
    # Only the order counts, and the order of samples in the file does not.
    assert area(np.exp(uncertainty), failed).found == pytest.approx(found.found)
    assert area(uncertainty[::-1], failed[::-1]).found == pytest.approx(found.found)
    told = area(failed.astype(float), failed)
    assert told.found == pytest.approx(told.best)
    assert 0 < failed.sum() < len(failed) or np.isnan(told.relative)


def test_what_is_not_drawn_can_be_left_out() -> None:
    samples = Samples(np.array([1, 1, 0.2]), np.array([1, 0.3, 1]), np.array([0, 0.4, 0.9]))
    np.testing.assert_array_equal(samples.drawn.iou, [0.4, 0.9])
    np.testing.assert_array_equal(samples.drawn.worst, [1, 1])
    np.testing.assert_array_equal(samples.drawn.failed, [True, False])


def test_damaged_files_are_told(tmp_path: Path) -> None:
    assert read_samples(tmp_path) is None
    (tmp_path / FAILURES_FILE).write_text('{"p_uncertainty": [0.1], "iou": [1, 2]}')
    with pytest.raises(ActisegError, match="remove it and measure again"):
        read_samples(tmp_path)
