"""The rule of the gate: a pure function of one frame's features and of calibrated limits.

Calibration evaluates the very function that the robot runs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

from actiseg_ros.prompts import Candidates

FEATURE_VERSION = 5
"""Changes whenever a feature's definition changes, which makes old calibrations invalid."""


class Reason(str, Enum):
    """Why the answer is no-go."""

    NOT_ACTIVE = "NOT_ACTIVE"
    SECOND_PUBLISHER = "SECOND_PUBLISHER"
    NOT_CALIBRATED = "NOT_CALIBRATED"
    NO_IMAGE = "NO_IMAGE"
    STALE_IMAGE = "STALE_IMAGE"
    FROZEN_IMAGE = "FROZEN_IMAGE"
    SOURCE_CHANGED = "SOURCE_CHANGED"
    BAD_IMAGE = "BAD_IMAGE"
    NO_NARRATION = "NO_NARRATION"
    STALE_NARRATION = "STALE_NARRATION"
    NO_TARGET = "NO_TARGET"
    P_UNCERTAIN = "P_UNCERTAIN"
    N_UNCERTAIN = "N_UNCERTAIN"
    OUT_OF_DISTRIBUTION = "OUT_OF_DISTRIBUTION"
    HOLDING = "HOLDING"
    INFERENCE_ERROR = "INFERENCE_ERROR"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Features:
    """What one frame says about the target. The defaults are the unfavourable ends.

    Attributes:
        target: Name of the target object, empty if there is none.
        drawn: Whether the label map has any pixel of the target.
        active_score: Probability in [0, 1] that the target is used in the action.
        p_uncertainty: See `uncertainty.p_uncertainty`, in [0, 1].
        n_uncertainty: See `uncertainty.n_uncertainty`, in [0, 1].
        distance: See `novelty.NoveltyDetector.distance`, from 0 on.
        candidates: Where the prompt's candidates came from, which decides what is certified.
    """

    target: str = ""
    drawn: bool = False
    active_score: float = 0.0
    p_uncertainty: float = 1.0
    n_uncertainty: float = 1.0
    distance: float = math.inf
    candidates: Candidates = "named"


@dataclass(frozen=True)
class Limits:
    """Limits of the features; a feature may equal its limit.

    Attributes:
        active_score: Smallest allowed activity.
        p_uncertainty: Largest allowed p-uncertainty.
        n_uncertainty: Largest allowed n-uncertainty.
        distance: Largest allowed distance from the calibration images.
    """

    active_score: float
    p_uncertainty: float
    n_uncertainty: float
    distance: float


def judge(features: Features, limits: Limits) -> tuple[Reason, ...]:
    """The rule: every reason against going, from one frame's features.

    Comparisons are written so that a number that is not a number counts against going.

    Args:
        features: Evidence of one frame.
        limits: Calibrated limits.

    Returns:
        Reasons in a fixed order; empty means that the frame is good.
    """
    reasons = []
    if not (features.drawn and features.target and features.active_score >= limits.active_score):
        reasons.append(Reason.NO_TARGET)
    if not features.p_uncertainty <= limits.p_uncertainty:
        reasons.append(Reason.P_UNCERTAIN)
    if not features.n_uncertainty <= limits.n_uncertainty:
        reasons.append(Reason.N_UNCERTAIN)
    if not features.distance <= limits.distance:
        reasons.append(Reason.OUT_OF_DISTRIBUTION)
    return tuple(reasons)
