"""The clock for ages that no correction of the time of day may change."""

from __future__ import annotations

import time


def steady_seconds() -> float:
    """Seconds from an unknown beginning, which never go back.

    They also pass while the machine sleeps: `time.monotonic` stands still then, and what was said
    before would count as just said.
    """
    return time.clock_gettime(time.CLOCK_BOOTTIME)
