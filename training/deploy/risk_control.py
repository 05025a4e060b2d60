"""Chooses the gate's limits so that the risk of going wrong is bounded with confidence.

Pure functions of what the gate would see on held-out frames and of what would have happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.rule import Features, Limits, judge

_LEVELS = tuple(np.linspace(0.02, 1.0, 50).round(2).tolist())
"""Quantiles that are tried as limits, from strict to loose."""


@dataclass(frozen=True)
class Criteria:
    """What calibration asks for.

    Attributes:
        risk: Largest allowed share of failing clips among the accepted ones.
        confidence: Confidence that the risk holds.
        min_iou: A target mask with a smaller IoU is a p-failure.
        max_collision: A target mask with a larger share of its pixels on other objects is an
            n-failure.
        max_spill: No limit of the n-uncertainty lies above this: a mask of whose reach more is
            spill or overlap is never certified, however sure the network is.
        novelty_quantile: Quantile of the held-out distances that the distance limit starts from.
        novelty_margin: Factor on that quantile.
    """

    risk: float = 0.05
    confidence: float = 0.9
    min_iou: float = 0.5
    max_collision: float = 0.1
    max_spill: float = 0.3
    novelty_quantile: float = 0.99
    novelty_margin: float = 1.1

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ActisegError: A probability is not strictly between 0 and 1.
        """
        for name in ("risk", "confidence"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ActisegError(f"--{name} is {value}; it must lie between 0 and 1")


@dataclass(frozen=True)
class Trial:
    """One held-out frame: what the gate would see, and whether going would fail."""

    clip: str
    features: Features
    p_failure: bool
    n_failure: bool

    @property
    def failure(self) -> bool:
        """Whether going on this frame would miss or collide."""
        return self.p_failure or self.n_failure


@dataclass(frozen=True)
class Outcome:
    """Limits with the evidence for them.

    Attributes:
        limits: Chosen limits.
        certified: Whether `bound` is at most the risk by a valid sequence of tests.
        clips: Clips with a target.
        accepted: Clips with at least one accepted frame.
        failures: Accepted clips with at least one accepted frame that fails.
        bound: Upper confidence bound of the share of failures among accepted clips.
        frames: Frames with a target.
        accepted_frames: Frames that the limits accept.
    """

    limits: Limits
    certified: bool
    clips: int
    accepted: int
    failures: int
    bound: float
    frames: int
    accepted_frames: int

    def lines(self) -> list[str]:
        """What to tell the user."""
        limits = self.limits
        verdict = (
            "certified" if self.certified else "NOT certified: more or better clips are needed"
        )
        return [
            f"limits: p-uncertainty {limits.p_uncertainty:.3f}, n-uncertainty "
            f"{limits.n_uncertainty:.3f}, active score {limits.active_score:.2f}, "
            f"distance {limits.distance:.2f}",
            f"accepted: {self.accepted} of {self.clips} clips, "
            f"{self.accepted_frames} of {self.frames} frames",
            f"failures: {self.failures} clips, upper bound {self.bound:.3f} ({verdict})",
        ]


def choose_limits(
    trials: Sequence[Trial], active_score: float, distance: float, criteria: Criteria
) -> Outcome:
    """Loosens the limits as far as the risk allows (fixed-sequence testing).

    The sequence follows the joint quantiles of doubt (1 - activity) and both uncertainties; it
    depends on the features only and never on the failures. It starts where enough clips are
    accepted for the bound to pass although half of the risk is used up, or without a failure if
    that would take more than half of the clips, and ends at the first bound above the risk. Testing
    in a fixed order and stopping at the first miss needs no correction for the number of tests.

    If not even the first step passes, nothing is certified, and the limits with the smallest
    bound are returned as the best guess.

    Args:
        trials: Held-out frames with a target.
        active_score: Smallest activity at all, the model's own threshold.
        distance: Limit of the distance.
        criteria: Risk and confidence.

    Returns:
        Limits and evidence.
    """
    drawn = [trial.features for trial in trials if trial.features.drawn]
    path = [
        Limits(max(active_score, 1 - doubt), p, min(n, criteria.max_spill), distance)
        for doubt, p, n in zip(
            _quantiles([1 - features.active_score for features in drawn]),
            _quantiles([features.p_uncertainty for features in drawn]),
            _quantiles([features.n_uncertainty for features in drawn]),
            strict=True,
        )
    ]
    outcomes = [_evaluate(trials, limits, criteria) for limits in path]
    start = _first_step(outcomes, criteria)
    certified = None
    for outcome in outcomes[start:]:
        if outcome.bound > criteria.risk:
            break
        certified = replace(outcome, certified=True)
    return certified or min(outcomes, key=lambda outcome: outcome.bound)


def _quantiles(values: Sequence[float]) -> list[float]:
    if not values:
        return [0.0] * len(_LEVELS)
    return [float(value) for value in np.quantile(values, _LEVELS)]


def _first_step(outcomes: Sequence[Outcome], criteria: Criteria) -> int:
    """First step of the sequence; looks at the numbers of accepted clips only.

    A start with few clips fails by a single unlucky one, and nothing can be tried after it. So it
    starts where the bound passes even if half of the risk is used up, or, with fewer clips than
    that takes, where it passes without a failure.
    """
    for share in (criteria.risk / 2, 0.0):
        for step, outcome in enumerate(outcomes):
            allowed = math.ceil(share * outcome.accepted)
            bound = binomial_upper_bound(allowed, outcome.accepted, criteria.confidence)
            if bound <= criteria.risk and (share == 0 or 2 * outcome.accepted <= outcome.clips):
                return step
    return len(outcomes)


def _evaluate(trials: Sequence[Trial], limits: Limits, criteria: Criteria) -> Outcome:
    good = [trial for trial in trials if not judge(trial.features, limits)]
    accepted = {trial.clip for trial in good}
    failed = {trial.clip for trial in good if trial.failure}
    return Outcome(
        limits=limits,
        certified=False,
        clips=len({trial.clip for trial in trials}),
        accepted=len(accepted),
        failures=len(failed),
        bound=binomial_upper_bound(len(failed), len(accepted), criteria.confidence),
        frames=len(trials),
        accepted_frames=len(good),
    )


def binomial_upper_bound(failures: int, trials: int, confidence: float) -> float:
    """Exact (Clopper-Pearson) one-sided upper bound of a probability.

    Args:
        failures: Observed failures.
        trials: Independent trials.
        confidence: Probability that the bound holds, in (0, 1).

    Returns:
        The largest probability under which at most `failures` failures in `trials` are not less
        likely than 1 - confidence; 1 if there are no trials or all fail.
    """
    if trials <= 0 or failures >= trials:
        return 1.0
    return float(stats.beta.ppf(confidence, failures + 1, trials - failures))
