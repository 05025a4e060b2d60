"""Chooses the gate's limits so that the risk of going wrong is bounded with confidence.

Pure functions of what the gate would see on held-out frames and of what would have happened.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.rule import Features, Limits, judge

_LEVELS = tuple(np.linspace(0.01, 1.0, 100).round(2).tolist())
"""Quantiles that are tried as limits, from strict to loose."""


@dataclass(frozen=True)
class Criteria:
    """What calibration asks for.

    Attributes:
        risk: Largest allowed share of failing clips among the accepted ones.
        confidence: Confidence that the risk holds.
        horizon: The risk is promised for the next `horizon` accepted clips, and so for the long run
            too.
        min_iou: A target mask with a smaller IoU is a p-failure.
        max_collision: A target mask with a larger share of its pixels on other objects is an
            n-failure.
        max_spill: No limit of the n-uncertainty lies above this: a mask of whose reach more is
            spill or overlap is never certified, however sure the network is.
        novelty_quantile: Quantile of the held-out distances that is their limit: so many familiar
            images pass, whatever the number of views that are joined.
    """

    risk: float = 0.05
    confidence: float = 0.9
    horizon: int = 250
    min_iou: float = 0.5
    max_collision: float = 0.1
    max_spill: float = 0.1
    novelty_quantile: float = 0.98

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
    """One held-out frame: what the gate would see, and whether going would fail.

    Attributes:
        clip: Sequence.
        features: What the gate would see.
        p_failure: Whether going would miss.
        n_failure: Whether going would collide.
        alone: Whether nothing else lies at the target.
    """

    clip: str
    features: Features
    p_failure: bool
    n_failure: bool
    alone: bool = False

    @property
    def failure(self) -> bool:
        """Whether going on this frame would miss or collide."""
        return self.p_failure or self.n_failure


@dataclass(frozen=True)
class Step:
    """Limits that were tried, and what they accept.

    Attributes:
        limits: The limits.
        accepted: Clips with at least one accepted frame.
        failures: Accepted clips with at least one accepted frame that fails.
        accepted_frames: Frames that the limits accept.
    """

    limits: Limits
    accepted: int
    failures: int
    accepted_frames: int


@dataclass(frozen=True)
class Outcome:
    """Limits with the evidence for them.

    Attributes:
        limits: Chosen limits.
        certified: Whether `bound` is at most the risk by a valid sequence of tests.
        clips: Clips with a target.
        accepted: Clips with at least one accepted frame.
        failures: Accepted clips with at least one accepted frame that fails.
        bound: Upper bound of the share of failures, see `upper_bound`.
        frames: Frames with a target.
        accepted_frames: Frames that the limits accept.
        steps: All limits that were tried, from strict to loose.
    """

    limits: Limits
    certified: bool
    clips: int
    accepted: int
    failures: int
    bound: float
    frames: int
    accepted_frames: int
    steps: tuple[Step, ...] = ()

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
    steps = evaluate_steps(trials, _path(trials, active_score, distance, criteria))
    clips = len({trial.clip for trial in trials})
    chosen = certified_step(steps, clips, criteria)
    certified = chosen is not None
    if chosen is None:
        failed, accepted = np.array([(step.failures, step.accepted) for step in steps]).T
        chosen = int(np.argmin(_binomial_upper_bounds(failed, accepted, criteria.confidence)))
    step = steps[chosen]
    return Outcome(
        limits=step.limits,
        certified=certified,
        clips=clips,
        accepted=step.accepted,
        failures=step.failures,
        bound=upper_bound(step.failures, step.accepted, criteria),
        frames=len(trials),
        accepted_frames=step.accepted_frames,
        steps=steps,
    )


def _path(
    trials: Sequence[Trial], active_score: float, distance: float, criteria: Criteria
) -> list[Limits]:
    drawn = [trial.features for trial in trials if trial.features.drawn]
    return [
        Limits(max(active_score, 1 - doubt), p, min(n, criteria.max_spill), distance)
        for doubt, p, n in zip(
            _quantiles([1 - features.active_score for features in drawn]),
            _quantiles([features.p_uncertainty for features in drawn]),
            _quantiles([features.n_uncertainty for features in drawn]),
            strict=True,
        )
    ]


def _quantiles(values: Sequence[float]) -> list[float]:
    if not values:
        return [0.0] * len(_LEVELS)
    return [float(value) for value in np.quantile(values, _LEVELS)]


def evaluate_steps(trials: Sequence[Trial], path: Sequence[Limits]) -> tuple[Step, ...]:
    """What each of some limits accepts.

    Args:
        trials: Frames with a target.
        path: Limits from strict to loose; none is stricter than the one before in any feature.
    """
    clips: dict[str, int] = {}
    failing: dict[str, int] = {}
    frames = np.zeros(len(path) + 1, np.int64)
    for trial in trials:
        first = _first_accepting(trial.features, path)
        frames[first] += 1
        clips[trial.clip] = min(first, clips.get(trial.clip, first))
        if trial.failure:
            failing[trial.clip] = min(first, failing.get(trial.clip, first))
    accepted, failed = (
        np.bincount(list(found.values()), minlength=len(path) + 1).cumsum()
        for found in (clips, failing)
    )
    return tuple(
        Step(limits, int(accepted[i]), int(failed[i]), int(frames[: i + 1].sum()))
        for i, limits in enumerate(path)
    )


def _first_accepting(features: Features, path: Sequence[Limits]) -> int:
    """Place of the first limits that accept a frame, by bisection; the length if none does."""
    low, high = 0, len(path)
    while low < high:
        middle = (low + high) // 2
        if judge(features, path[middle]):
            low = middle + 1
        else:
            high = middle
    return low


def certified_step(steps: Sequence[Step], clips: int, criteria: Criteria) -> int | None:
    """The loosest step that the sequence of tests reaches; None if it fails at once.

    Args:
        steps: From `evaluate_steps`.
        clips: Clips with a target.
        criteria: Risk and confidence.
    """
    accepted = np.array([step.accepted for step in steps])
    kept = keeps_risk(np.array([step.failures for step in steps]), accepted, criteria)
    start = _first_step(accepted, clips, criteria)
    end = start + int(np.argmin([*kept[start:], False]))
    return end - 1 if end > start else None


def _first_step(accepted: npt.NDArray[np.int64], clips: int, criteria: Criteria) -> int:
    """First step of the sequence; looks at the numbers of accepted clips only.

    A start with few clips fails by a single unlucky one, and nothing can be tried after it. So it
    starts at the first step with as many clips as it takes for the bound to pass even if half of
    the risk is used up; if that is more than half of all clips, or more than any step accepts, with
    as many as it takes without a failure. How many that are does not hang on the numbers that the
    steps happen to accept.
    """
    counts = np.arange(1, clips + 1)
    for share, most in ((criteria.risk / 2, clips // 2), (0.0, clips)):
        allowed = np.ceil(share * counts).astype(np.int64)
        enough = counts[keeps_risk(allowed, counts, criteria) & (counts <= most)]
        if len(enough) and accepted.max(initial=0) >= enough[0]:
            return int(np.argmax(accepted >= enough[0]))
    return len(accepted)


def keeps_risk(
    failures: npt.NDArray[np.int64], trials: npt.NDArray[np.int64], criteria: Criteria
) -> npt.NDArray[np.bool_]:
    """Whether so many failures show that the risk is kept.

    It is kept by the share of failures in the long run (Clopper-Pearson), and by the share among
    the next `criteria.horizon` trials (Thatcher's exact prediction limit of a binomial number),
    each with the confidence asked for. The second asks for more: what a user will count is not
    the long run.

    Args:
        failures: int64 [N], failures seen.
        trials: int64 [N], independent trials.
        criteria: Risk, confidence and horizon.

    Returns:
        bool [N].
    """
    allowed = math.floor(criteria.risk * criteria.horizon)
    # With `allowed` + 1 failures among the next ones, so few seen now would be too unlikely.
    together = failures + allowed + 1
    unlikely = stats.hypergeom.cdf(failures, trials + criteria.horizon, together, trials)
    long_run = stats.binom.cdf(failures, trials, criteria.risk)
    kept = (unlikely <= 1 - criteria.confidence) & (long_run <= 1 - criteria.confidence)
    return np.asarray(kept & (trials > 0))


def upper_bound(failures: int, trials: int, criteria: Criteria) -> float:
    """The smallest risk that `keeps_risk` would call kept.

    Args:
        failures: Failures seen.
        trials: Independent trials.
        criteria: Confidence and horizon.
    """
    low, high = 0, criteria.horizon
    while low < high:
        allowed = (low + high) // 2
        unlikely = stats.hypergeom.cdf(
            failures, trials + criteria.horizon, failures + allowed + 1, trials
        )
        if unlikely <= 1 - criteria.confidence:
            high = allowed
        else:
            low = allowed + 1
    return max(low / criteria.horizon, binomial_upper_bound(failures, trials, criteria.confidence))


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
    bounds = _binomial_upper_bounds(np.array([failures]), np.array([trials]), confidence)
    return float(bounds[0])


def _binomial_upper_bounds(
    failures: npt.NDArray[np.int64], trials: npt.NDArray[np.int64], confidence: float
) -> npt.NDArray[np.float64]:
    """`binomial_upper_bound` of each pair, float64 [N]."""
    bounded = failures < trials
    found = np.ones(len(trials))
    found[bounded] = stats.beta.ppf(
        confidence, failures[bounded] + 1, trials[bounded] - failures[bounded]
    )
    return found
