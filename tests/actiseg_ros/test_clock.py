"""The clock for ages counts what a machine sleeps."""

import time

from actiseg_ros.clock import steady_seconds


def test_sleep_counts() -> None:
    before = time.clock_gettime(time.CLOCK_BOOTTIME)
    assert before <= steady_seconds() <= time.clock_gettime(time.CLOCK_BOOTTIME)
