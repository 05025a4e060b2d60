"""The clock for ages counts what a machine sleeps."""

import time

import pytest

from actiseg_ros.clock import steady_seconds


def test_it_only_grows() -> None:
    times = [steady_seconds() for _ in range(1000)]
    assert times == sorted(times)


@pytest.mark.skipif(not hasattr(time, "CLOCK_BOOTTIME"), reason="no clock counts sleep here")
def test_sleep_counts() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= steady_seconds() <= time.clock_gettime(time.CLOCK_BOOTTIME)
