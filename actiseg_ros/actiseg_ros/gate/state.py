"""What the gate is told by the robot, what it remembers, and what it answers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actiseg_ros.gate.calibration import Certificate
from actiseg_ros.gate.events import NEVER, Frame, Time
from actiseg_ros.gate.rule import Features, Reason
from actiseg_ros.prompts import Candidates


@dataclass(frozen=True)
class GateOptions:
    """Settings of the gate that belong to the robot and not to the model.

    Attributes:
        hold_frames: Good, distinct frames in a row before the first go.
        image_timeout: Largest age of the judged image in seconds, by its stamp and its arrival;
            also the longest gap within a row of frames, the longest time that an unchanged picture
            or a simulated clock that stands still are tolerated, and how long a camera must be the
            only one before its images count.
        narration_timeout: Life of a narration that brings no duration of its own, in seconds.
        frozen_frames: Identical images in a row that count as a frozen camera.
        allow_still_images: Whether identical images are no frozen camera and count as evidence
            (for simulators without noise).
        require_certificate: Whether limits without a certificate count as not calibrated.
        max_risk: Largest certified risk that the robot accepts.
        min_confidence: Smallest confidence of the certificate that the robot accepts.
    """

    hold_frames: int = 3
    image_timeout: float = 0.5
    narration_timeout: float = 10.0
    frozen_frames: int = 5
    allow_still_images: bool = False
    require_certificate: bool = True
    max_risk: float = 0.1
    min_confidence: float = 0.9

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
        for name in ("max_risk", "min_confidence"):
            value = getattr(self, name)
            if not 0 < value < 1:
                raise ValueError(f"`{name}` is {value!r}, it must lie between 0 and 1")


DEFAULTS = GateOptions()
"""A careful robot's settings."""


@dataclass(frozen=True)
class Narration:
    """What is being done, and for how long that holds.

    Attributes:
        text: The narration.
        heard: When it was heard.
        duration: Seconds that an action said it lasts; 0 if nobody said.
        age: Seconds since its beginning when it was heard; infinite if that cannot be.
        kept: Seconds since it was said when it was heard; 0 if it was heard as it was said.
        repeated: When it was heard last.
    """

    text: str
    heard: Time
    duration: float = 0.0
    age: float = 0.0
    kept: float = 0.0
    repeated: Time | None = None

    @property
    def bounded(self) -> bool:
        """Whether an action told its duration."""
        return self.duration > 0

    def life(self, timeout: float) -> float:
        """Seconds that it holds from its beginning; `timeout` if nobody said how long."""
        return self.duration if self.bounded else timeout

    def age_at(self, now: Time) -> float:
        """Seconds since its beginning."""
        return self.age + now.since(self.heard)

    def silence(self, now: Time) -> float:
        """Seconds since it was said last."""
        return now.since(self.repeated) if self.repeated else self.kept + now.since(self.heard)

    def left(self, now: Time, timeout: float) -> float:
        """Seconds that it still holds, 0 or less when it is over."""
        return self.life(timeout) - self.age_at(now)


@dataclass(frozen=True)
class Judgement:
    """The evidence of one image and how long it took to find, in seconds."""

    frame: Frame
    features: Features
    target_label: int
    latency: float


@dataclass(frozen=True)
class GateState:
    """Everything that the gate remembers. The default is the state of a new, inactive gate.

    Attributes:
        active: Whether the node is active.
        session: Grows when images from before may no longer count.
        prompt_version: Grows when evidence from before may no longer count.
        narration: Current narration, over or not; None if there is none.
        ended: What an empty narration ended last, heard when that was; None if there was none.
        frame: Image that arrived last.
        repeats: How often its content came again.
        unchanged_since: When its content came first.
        source_changed: When images of another source came, None if never.
        source_changes: How often that happened in this session.
        rejected: Whether the image handled last could not be decoded.
        failed: Whether the network failed last.
        judgement: Evidence of the image judged last.
        judged_digest: Its content, remembered beyond a new prompt: the same image again is no
            further evidence.
        good_frames: Good, distinct frames in a row.
        restarts: How often the count of good frames started anew.
        restart_cause: Why it did so last.
        publishers: Publishers of the decision.
        clock: Time of the last event, None before the first.
        clock_moved: Last event at which ROS time had advanced.
    """

    active: bool = False
    session: int = 0
    prompt_version: int = 0
    narration: Narration | None = None
    ended: Narration | None = None
    frame: Frame | None = None
    repeats: int = 0
    unchanged_since: Time | None = None
    source_changed: Time | None = None
    source_changes: int = 0
    rejected: bool = False
    failed: bool = False
    judgement: Judgement | None = None
    judged_digest: int | None = None
    good_frames: int = 0
    restarts: int = 0
    restart_cause: str = ""
    publishers: int = 1
    clock: Time | None = None
    clock_moved: Time | None = None

    @property
    def candidates(self) -> Candidates:
        """Where the judged prompt's candidates came from; `named` while nothing is judged."""
        return self.judgement.features.candidates if self.judgement else "named"


@dataclass(frozen=True)
class Decision:
    """One answer of the gate.

    Attributes:
        go: True only if there is no reason against it.
        reasons: Why not; empty exactly when `go` is true.
        decided: When it was made.
        valid_until_ns: ROS time until which the evidence lasts if nothing happens; the time of
            the decision for no-go.
        frame: The image judged; None if there is none.
        target: Name of the target object, may be empty.
        target_label: Its value in the label map, 0 if there is none.
        active_score: Feature of the image judged (as the next three), nan without an image.
        p_uncertainty: In [0, 1] or nan.
        n_uncertainty: In [0, 1] or nan.
        distance: From 0 on, or nan.
        p_limit: Limit of the p-uncertainty, nan if not calibrated.
        n_limit: Limit of the n-uncertainty, nan if not calibrated.
        age: Seconds since the judged image was taken, nan if unknown or without an image.
        latency: Seconds from the judged image's arrival to its judgement, nan without an image.
        good_frames: Good, distinct frames in a row so far.
        certificate: What was shown about the limits that decided; None if nothing was.
    """

    go: bool
    reasons: tuple[Reason, ...]
    decided: Time = NEVER
    valid_until_ns: int = 0
    frame: Frame | None = None
    target: str = ""
    target_label: int = 0
    active_score: float = math.nan
    p_uncertainty: float = math.nan
    n_uncertainty: float = math.nan
    distance: float = math.nan
    p_limit: float = math.nan
    n_limit: float = math.nan
    age: float = math.nan
    latency: float = math.nan
    good_frames: int = 0
    certificate: Certificate | None = None

    @property
    def state(self) -> str:
        """``GO`` or ``NO_GO``."""
        return "GO" if self.go else "NO_GO"
