"""Which frames of a recording are taken."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SLACK_NS = 10**6


@dataclass(frozen=True)
class Doubt:
    """What the node made of one image.

    Attributes:
        go: Whether the target might be grasped.
        target: Name of the target; empty without one.
        reasons: Why not.
        p_uncertainty: Will the mask touch where it says? 0 to 1, NaN if not known.
        n_uncertainty: Does the mask reach what must not be touched? 0 to 1, NaN if not known.
        p_limit: Limit of `p_uncertainty`; NaN without a calibration.
        n_limit: Limit of `n_uncertainty`.
    """

    go: bool
    target: str
    reasons: tuple[str, ...]
    p_uncertainty: float
    n_uncertainty: float
    p_limit: float
    n_limit: float

    @property
    def degree(self) -> float:
        """How unsure the node was: 1 is at a limit, more beyond it; NaN if it did not judge.

        Without limits the larger uncertainty itself, from 0 to 1.
        """
        degrees = [
            value / limit if math.isfinite(limit) and limit > 0 else value
            for value, limit in (
                (self.p_uncertainty, self.p_limit),
                (self.n_uncertainty, self.n_limit),
            )
            if math.isfinite(value)
        ]
        return max(degrees, default=math.nan)

    def record(self) -> dict[str, Any]:
        """The doubt for a JSON file: what is not known is null."""
        values = {
            name: getattr(self, name)
            for name in ("p_uncertainty", "n_uncertainty", "p_limit", "n_limit", "degree")
        }
        return {
            "go": self.go,
            "target": self.target,
            "reasons": list(self.reasons),
            **{name: value if math.isfinite(value) else None for name, value in values.items()},
        }


def choose(
    times_ns: Sequence[int], every_ns: int, degrees: Sequence[float] | None = None
) -> list[int]:
    """Chooses one frame of each interval.

    Args:
        times_ns: Times of the frames, growing.
        every_ns: Length of an interval; the first one begins with the first frame.
        degrees: How unsure the node was at each frame, NaN where it did not judge. The most unsure
            frame of an interval is taken, the first one if none was judged; without `degrees`
            the first.

    Returns:
        Places of the chosen frames, growing.
    """
    # Stamps are rounded, and a first frame at time 0 is stamped a little later.
    slack = min(_SLACK_NS, every_ns // 10)
    best: dict[int, int] = {}
    for place, time_ns in enumerate(times_ns):
        interval = (time_ns - times_ns[0] + slack) // every_ns
        known = best.setdefault(interval, place)
        if degrees is not None and _above(degrees[place], degrees[known]):
            best[interval] = place
    return sorted(best.values())


def _above(value: float, other: float) -> bool:
    return value > other or (math.isnan(other) and not math.isnan(value))
