"""Can the evidence be fresh at all? A model or a camera that is too slow can never get a go."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from actiseg_ros.ros.diagnostics.problems import Level, Problem

_ENOUGH = 3


def explain_pace(
    latencies: Sequence[float], interval: float, silence: float, timeout: float
) -> Problem | None:
    """Compares the pace of camera and network with the largest age of an image.

    Args:
        latencies: Seconds from the arrival to the judgement of the last images.
        interval: Usual seconds between two arrivals, nan if not known.
        silence: Seconds since the last arrival.
        timeout: Parameter `image_timeout`, seconds.

    Returns:
        A problem if no go, or none that lasts, is possible.
    """
    latency = statistics.median(latencies) if len(latencies) >= _ENOUGH else math.nan
    if latency > timeout:
        return Problem(
            "model",
            Level.WARN,
            f"judging an image takes {latency:.2g} s, but `image_timeout` is {timeout:g} s, so no "
            "go is possible; use a faster model or provider, fewer objects, or raise "
            "`image_timeout`",
        )
    if interval > timeout and silence < 5 * interval:
        return Problem(
            "image",
            Level.WARN,
            f"images come every {interval:.2g} s, but `image_timeout` is {timeout:g} s, so each is "
            "stale before the next; use a faster camera, or raise `image_timeout`",
        )
    if latency + interval > timeout and silence < 5 * interval:
        return Problem(
            "model",
            Level.WARN,
            f"judging an image takes {latency:.2g} s and images come every {interval:.2g} s, but "
            f"`image_timeout` is {timeout:g} s, so a go cannot last from one image to the next; "
            "use a faster model, provider or camera, or raise `image_timeout`",
        )
    return None
