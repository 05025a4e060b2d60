"""Go or no-go over time: what the rule says, and whether that still holds.

`Gate` adds to the rule (`rule.judge`) what depends on time: freshness, frozen images, the
narration's life, and the number of good frames in a row. No-go is the default; go is only ever
the result of positive evidence. This is a decision aid, not a safety function.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from actiseg_ros.gate.calibration import Calibration
from actiseg_ros.gate.rule import Features, Reason, judge


@dataclass(frozen=True)
class GateOptions:
    """Settings of the gate that belong to the robot and not to the model.

    Attributes:
        hold_frames: Good, distinct frames in a row before the first go.
        image_timeout: Largest age of the judged image in seconds, by its stamp and its arrival.
        narration_timeout: Life of a narration that brings no duration of its own, in seconds.
        frozen_frames: Identical images in a row that count as a frozen camera.
        require_certificate: Whether limits without a certified risk count as not calibrated.
    """

    hold_frames: int = 3
    image_timeout: float = 0.5
    narration_timeout: float = 10.0
    frozen_frames: int = 5
    require_certificate: bool = False

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            ValueError: A value would switch a check off or can never be met.
        """
        for name in ("hold_frames", "image_timeout", "narration_timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"`{name}` is {value!r}, it must be above 0")
        if self.frozen_frames < 2:
            raise ValueError(f"`frozen_frames` is {self.frozen_frames}, it must be at least 2")


@dataclass(frozen=True)
class Decision:
    """One answer of the gate.

    Attributes:
        go: True only if there is no reason against it.
        reasons: Why not; empty exactly when `go` is true.
        target: Name of the target object, may be empty.
        stamp_ns: Header stamp of the image judged, nanoseconds; 0 if there is none.
        active_score: Feature of the image judged (as the next three), nan without an image.
        p_uncertainty: In [0, 1] or nan.
        n_uncertainty: In [0, 1] or nan.
        distance: From 0 on, or nan.
        p_limit: Limit of the p-uncertainty, nan if not calibrated.
        n_limit: Limit of the n-uncertainty, nan if not calibrated.
        age: Seconds since the judged image's stamp, nan if unknown or without an image.
        latency: Seconds from the judged image's arrival to its judgement, nan without an image.
        good_frames: Good, distinct frames in a row so far.
    """

    go: bool
    reasons: tuple[Reason, ...]
    target: str = ""
    stamp_ns: int = 0
    active_score: float = math.nan
    p_uncertainty: float = math.nan
    n_uncertainty: float = math.nan
    distance: float = math.nan
    p_limit: float = math.nan
    n_limit: float = math.nan
    age: float = math.nan
    latency: float = math.nan
    good_frames: int = 0

    @property
    def state(self) -> str:
        """``GO`` or ``NO_GO``."""
        return "GO" if self.go else "NO_GO"


@dataclass(frozen=True)
class _Arrival:
    """One image message, as it came in."""

    stamp_ns: int
    time: float

    def age(self, ros_now_ns: int) -> float:
        """Seconds since the stamp; nan if there is no stamp, or the clock tells no time yet."""
        known = self.stamp_ns > 0 and ros_now_ns > 0
        return (ros_now_ns - self.stamp_ns) * 1e-9 if known else math.nan


@dataclass(frozen=True)
class _Judgement:
    """The features of one image, and what the rule said."""

    arrival: _Arrival
    features: Features
    reasons: tuple[Reason, ...]
    latency: float


class Gate:
    """Joins the frames' judgements with everything that depends on time.

    The methods may be called from several threads. The node reports each event when it
    happens, and asks `decide` at the rate of its heartbeat.

    Args:
        calibration: From `load_calibration`; None means that go is impossible.
        options: Settings of the robot.
        clock: Monotonic seconds. It must keep running when simulated time stands still.
    """

    def __init__(
        self,
        calibration: Calibration | None,
        options: GateOptions | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.calibration = calibration
        self.options = options or GateOptions()
        self._clock = clock
        self._lock = threading.RLock()
        self._active = False
        self.reset()

    def reset(self) -> None:
        """Forgets images, narration and judgements; the answer is then no-go."""
        with self._lock:
            self._arrival: _Arrival | None = None
            self._arrived_digest: int | None = None
            self._judged_digest: int | None = None
            self._changed_at = -math.inf
            self._repeats = 0
            self._bad_image = False
            self._narration = ""
            self._narration_until = -math.inf
            self._drop_evidence()

    def _drop_evidence(self) -> None:
        self._judgement: _Judgement | None = None
        self._failed = False
        self._good_frames = 0

    def set_active(self, active: bool) -> None:
        """Follows the node's lifecycle; every change starts from nothing."""
        with self._lock:
            self._active = active
            self.reset()

    def narration(self, text: str, duration: float = 0.0) -> None:
        """A narration came in; a new one makes the old evidence void.

        Args:
            text: What is being done; empty ends the action.
            duration: Seconds that it holds; 0 or less is `GateOptions.narration_timeout`.
        """
        with self._lock:
            if text != self._narration:
                self._drop_evidence()
            self._narration = text
            life = duration if duration > 0 else self.options.narration_timeout
            self._narration_until = self._clock() + life

    def prompt_changed(self) -> None:
        """The objects or the target changed: old evidence says nothing about the new ones."""
        with self._lock:
            self._drop_evidence()

    def image_arrived(self, stamp_ns: int, digest: int) -> None:
        """An image message came in, whether it will be judged or dropped.

        Args:
            stamp_ns: Header stamp in nanoseconds; 0 is unknown and never counts as fresh.
            digest: Number made from the image's content (`images.content_digest`).
        """
        with self._lock:
            now = self._clock()
            # Only the last picture counts: a recording that is played in a loop repeats older ones.
            if digest == self._arrived_digest:
                self._repeats += 1
            else:
                self._repeats, self._changed_at = 0, now
            self._arrived_digest = digest
            self._arrival = _Arrival(stamp_ns, now)

    def image_rejected(self) -> None:
        """An image message could not be decoded; `image_accepted` or `judged` clears this."""
        with self._lock:
            self._bad_image = True
            self._good_frames = 0

    def image_accepted(self) -> None:
        """An image message was decoded (needed only if it will not be judged)."""
        with self._lock:
            self._bad_image = False

    def inference_failed(self) -> None:
        """The network failed on an image; the next success clears this."""
        with self._lock:
            self._failed = True
            self._good_frames = 0

    def judged(self, features: Features, stamp_ns: int, digest: int, arrived: float) -> None:
        """The network's evidence for one image.

        Args:
            features: Evidence about the target.
            stamp_ns: Header stamp of that image in nanoseconds, 0 if unknown.
            digest: Digest that was given to `image_arrived` for it.
            arrived: Value of the gate's clock when it arrived.
        """
        with self._lock:
            now = self._clock()
            last = self._judgement
            limits = self.calibration.limits if self.calibration else None
            reasons = judge(features, limits) if limits else (Reason.NOT_CALIBRATED,)
            self._failed = self._bad_image = False
            # Remembered beyond a new prompt: the same image again is no further evidence.
            repeated, self._judged_digest = digest == self._judged_digest, digest
            arrival = _Arrival(stamp_ns, arrived)
            self._judgement = _Judgement(arrival, features, reasons, now - arrived)
            if reasons or (last is not None and stamp_ns < last.arrival.stamp_ns):
                self._good_frames = 0
            elif not repeated and (last is None or stamp_ns > last.arrival.stamp_ns):
                self._good_frames += 1

    def decide(self, ros_now_ns: int) -> Decision:
        """Answers from all that is known at this moment.

        Args:
            ros_now_ns: The node's ROS time in nanoseconds, to compare with image stamps.

        Returns:
            The decision; asking does not count as evidence.
        """
        with self._lock:
            now = self._clock()
            reasons = list(self._reasons(now, ros_now_ns))
            if reasons:
                self._good_frames = 0
            elif self._judgement is None or self._good_frames < self.options.hold_frames:
                reasons.append(Reason.HOLDING)
            return self._decision(tuple(reasons), ros_now_ns)

    def _reasons(self, now: float, ros_now_ns: int) -> tuple[Reason, ...]:
        """All reasons against going but `HOLDING`, most basic first."""
        if not self._active:
            return (Reason.NOT_ACTIVE,)
        reasons: list[Reason] = []
        if self.calibration is None or (
            self.options.require_certificate and not self.calibration.certified
        ):
            reasons.append(Reason.NOT_CALIBRATED)
        narrated = bool(self._narration) and now <= self._narration_until
        reasons.extend(self._image_reasons(now, ros_now_ns, narrated))
        if not narrated:
            reasons.append(Reason.STALE_NARRATION if self._narration else Reason.NO_NARRATION)
        if self._failed:
            reasons.append(Reason.INFERENCE_ERROR)
        elif self._judgement is not None:
            reasons.extend(self._judgement.reasons)
        return tuple(dict.fromkeys(reasons))

    def _image_reasons(self, now: float, ros_now_ns: int, narrated: bool) -> list[Reason]:
        if self._bad_image:
            return [Reason.BAD_IMAGE]
        if self._arrival is None:
            return [Reason.NO_IMAGE]
        timeout = self.options.image_timeout
        # The judged image counts, not the last one: a hanging model must not look fresh.
        # Without a narration nothing is judged, and the last image tells about the camera.
        judged = self._judgement if narrated else None
        shown = judged.arrival if judged else self._arrival
        # A stamp from the future is as wrong as one from the past, and nan is never fresh.
        if not (now - shown.time <= timeout and abs(shown.age(ros_now_ns)) <= timeout):
            return [Reason.STALE_IMAGE]
        repeating = self._repeats > 0 and now - self._changed_at > timeout
        if self._repeats + 1 >= self.options.frozen_frames or repeating:
            return [Reason.FROZEN_IMAGE]
        return []

    def _decision(self, reasons: tuple[Reason, ...], ros_now_ns: int) -> Decision:
        limits = self.calibration.limits if self.calibration else None
        p_limit = limits.p_uncertainty if limits else math.nan
        n_limit = limits.n_uncertainty if limits else math.nan
        judgement = self._judgement
        if judgement is None:
            return Decision(
                go=False, reasons=reasons, p_limit=p_limit, n_limit=n_limit, good_frames=0
            )
        features = judgement.features
        return Decision(
            go=not reasons,
            reasons=reasons,
            target=features.target,
            stamp_ns=judgement.arrival.stamp_ns,
            active_score=features.active_score,
            p_uncertainty=features.p_uncertainty,
            n_uncertainty=features.n_uncertainty,
            distance=features.distance,
            p_limit=p_limit,
            n_limit=n_limit,
            age=judgement.arrival.age(ros_now_ns),
            latency=judgement.latency,
            good_frames=self._good_frames,
        )
