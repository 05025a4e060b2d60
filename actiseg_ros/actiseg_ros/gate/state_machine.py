"""The gate over time, as a pure state machine: events in, decision out.

`step` takes a state and an event to the next state, `decide` answers from a state and changes
nothing, and every time is an argument. What the rule (`rule.judge`) says of one image is joined
with what depends on time: freshness, frozen or mixed cameras, the narration's life, and the number
of good frames in a row. No-go is the default; go is only ever the result of positive evidence.
This is a decision aid, not a safety function.

A frame is counted only if nothing at all stood against a go between it and the frame before:
`step` looks at the reasons before and after each event, and between two events they can only grow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from actiseg_ros.gate.calibration import Calibration, Certificate
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


@dataclass(frozen=True)
class Time:
    """One moment on both clocks.

    Attributes:
        ros_ns: Nanoseconds of ROS time; 0 while a simulated clock has not told any.
        steady: Monotonic seconds of the wall clock.
        simulated: Whether ROS time comes from /clock (`use_sim_time`).
    """

    ros_ns: int
    steady: float
    simulated: bool = False

    def since(self, earlier: Time) -> float:
        """Seconds passed, by the one clock that counts: simulated time, else monotonic time."""
        if self.simulated:
            return (self.ros_ns - earlier.ros_ns) * 1e-9
        return self.steady - earlier.steady


@dataclass(frozen=True)
class Source:
    """Where an image comes from; images of different sources are never counted together.

    Attributes:
        publisher: Tells publishers of the topic apart; changes when another one is heard.
        frame_id: Header's frame.
        height: Rows of the image, 0 if they cannot be told.
        width: Columns of the image, 0 if they cannot be told.
    """

    publisher: str
    frame_id: str = ""
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class Frame:
    """One arrived image.

    Attributes:
        stamp_ns: Header stamp, nanoseconds; 0 is unknown.
        taken_ns: ROS time that its age counts from: the stamp, or its arrival; 0 is unknown and
            never counts as fresh.
        digest: Number made from its content (`images.content_digest`).
        source: Where it comes from.
        arrived: When it came in.
        session: Filled in by the state machine: images of another session count for nothing.
    """

    stamp_ns: int
    taken_ns: int
    digest: int
    source: Source
    arrived: Time
    session: int = -1

    def age(self, now: Time) -> float:
        """Seconds since it was taken; nan if that or the time is unknown."""
        known = self.taken_ns > 0 and now.ros_ns > 0
        return (now.ros_ns - self.taken_ns) * 1e-9 if known else math.nan


# Events


@dataclass(frozen=True)
class Activated:
    """The node became active; everything from before is forgotten."""


@dataclass(frozen=True)
class Deactivated:
    """The node is no longer active."""


@dataclass(frozen=True)
class Reset:
    """Images, narration and evidence shall be forgotten."""


@dataclass(frozen=True)
class PromptChanged:
    """Narration, objects or target changed: old evidence says nothing about the new ones."""


@dataclass(frozen=True)
class Narrated:
    """A narration came in.

    Attributes:
        text: What is being done; empty ends the action.
        duration: Seconds that an action lasts from its beginning; 0 is unknown.
        age: Seconds since the action began.
        from_action: Whether it came with an action; a plain narration of the same text never
            makes an action of known duration last longer.
    """

    text: str
    duration: float = 0.0
    age: float = 0.0
    from_action: bool = False


@dataclass(frozen=True)
class ImageArrived:
    """An image message came in, whether it will be judged or dropped."""

    frame: Frame


@dataclass(frozen=True)
class ImageRejected:
    """An image message could not be decoded; `Judged` or `ImageUnused` ends this."""


@dataclass(frozen=True)
class ImageUnused:
    """An image was decoded, and nothing was looked for in it."""


@dataclass(frozen=True)
class InferenceFailed:
    """The network failed; the next `Judged` ends this."""


@dataclass(frozen=True)
class Judged:
    """The network's evidence for one image.

    Attributes:
        frame: The image, as `ImageArrived` left it in the state.
        prompt_version: The state's, when the prompt was read.
        features: Evidence about the target.
        target_label: Value of the target in the label map, 0 if there is none.
    """

    frame: Frame
    prompt_version: int
    features: Features
    target_label: int = 0


@dataclass(frozen=True)
class PublishersCounted:
    """How many publishers the decision has, this node's own included."""

    count: int


@dataclass(frozen=True)
class SettingsChanged:
    """Calibration or options are others than before."""


@dataclass(frozen=True)
class ClockRead:
    """Nothing happened but that the time was read."""


Event = (
    Activated | Deactivated | Reset | PromptChanged | Narrated | ImageArrived | ImageRejected
    | ImageUnused | InferenceFailed | Judged | PublishersCounted | SettingsChanged | ClockRead
)  # fmt: skip


# State


@dataclass(frozen=True)
class Narration:
    """What is being done, and for how long that holds.

    Attributes:
        text: The narration.
        heard: When it was heard.
        life: Seconds that it holds, counted from `age` before it was heard.
        age: Seconds since its beginning when it was heard.
        bounded: Whether an action told its duration.
        repeated: When it was heard last.
    """

    text: str
    heard: Time
    life: float
    age: float = 0.0
    bounded: bool = False
    repeated: Time | None = None

    def left(self, now: Time) -> float:
        """Seconds that it still holds, 0 or less when it is over."""
        return self.life - self.age - now.since(self.heard)


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
    decided: Time = Time(0, 0.0)
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


@dataclass(frozen=True)
class StateMachine:
    """The gate's transitions and its answer, for one calibration and one robot.

    Attributes:
        calibration: From `load_calibration`; None means that go is impossible.
        options: Settings of the robot.
    """

    calibration: Calibration | None = None
    options: GateOptions = GateOptions()

    def step(self, state: GateState, event: Event, now: Time) -> GateState:
        """The state after an event.

        Args:
            state: State before.
            event: What happened.
            now: When it happened; on the steady clock not before the events of `state`.
        """
        state = self._read_clock(state, now)
        before = self._blocked_count(state, now)
        return self._blocked_count(self._apply(before, event, now), now)

    def decide(self, state: GateState, now: Time) -> Decision:
        """Answers from all that is known; asking changes nothing.

        Args:
            state: Current state.
            now: Time of the question.
        """
        reasons = self.reasons(state, now)
        if not reasons and state.good_frames < self.options.hold_frames:
            reasons = (Reason.HOLDING,)
        limits = self.calibration.limits(state.candidates) if self.calibration else None
        decision = Decision(
            go=not reasons,
            reasons=reasons,
            decided=now,
            valid_until_ns=now.ros_ns,
            p_limit=limits.p_uncertainty if limits else math.nan,
            n_limit=limits.n_uncertainty if limits else math.nan,
            good_frames=state.good_frames,
            certificate=(
                self.calibration.certificate(state.candidates) if self.calibration else None
            ),
        )
        judgement = state.judgement
        if judgement is None:
            return decision
        left = 0 if reasons else max(0, int(1e9 * self._seconds_left(state, now)))
        features = judgement.features
        return replace(
            decision,
            valid_until_ns=now.ros_ns + left,
            frame=judgement.frame,
            target=features.target,
            target_label=judgement.target_label,
            active_score=features.active_score,
            p_uncertainty=features.p_uncertainty,
            n_uncertainty=features.n_uncertainty,
            distance=features.distance,
            age=judgement.frame.age(now),
            latency=judgement.latency,
        )

    def reasons(self, state: GateState, now: Time) -> tuple[Reason, ...]:
        """All reasons against going but `HOLDING`, most basic first."""
        if not state.active:
            return (Reason.NOT_ACTIVE,)
        reasons: list[Reason] = []
        if state.publishers > 1:
            reasons.append(Reason.SECOND_PUBLISHER)
        if not self.calibrated(state.candidates):
            reasons.append(Reason.NOT_CALIBRATED)
        narration = state.narration
        narrated = narration is not None and self._holds(narration, now)
        reasons.extend(self._image_reasons(state, now, narrated))
        if not narrated:
            reasons.append(Reason.STALE_NARRATION if narration else Reason.NO_NARRATION)
        if state.failed:
            reasons.append(Reason.INFERENCE_ERROR)
        elif state.judgement is not None:
            reasons.extend(self._feature_reasons(state.judgement.features))
        return tuple(dict.fromkeys(reasons))

    def calibrated(self, candidates: Candidates) -> bool:
        """Whether there are limits for such candidates, certified as the robot demands."""
        if self.calibration is None or self.calibration.limits(candidates) is None:
            return False
        options = self.options
        return not options.require_certificate or self.calibration.certifies(
            options.max_risk, options.min_confidence, candidates
        )

    # Reasons

    def _holds(self, narration: Narration, now: Time) -> bool:
        # Time that went back behind the narration is no time in which it holds.
        return narration.left(now) > 0 and now.since(narration.heard) >= 0

    def _image_reasons(self, state: GateState, now: Time, narrated: bool) -> list[Reason]:
        if state.rejected:
            return [Reason.BAD_IMAGE]
        if state.frame is None:
            return [Reason.NO_IMAGE]
        timeout = self.options.image_timeout
        if not self._fresh(state, state.frame, now):
            return [Reason.STALE_IMAGE]
        if state.source_changed and now.since(state.source_changed) <= timeout:
            return [Reason.SOURCE_CHANGED]
        if self._frozen(state, now):
            return [Reason.FROZEN_IMAGE]
        # The judged image counts, not the last one: a hanging model must not look fresh.
        # Without a narration nothing is judged, and the last image tells about the camera.
        if state.judgement and narrated and not self._fresh(state, state.judgement.frame, now):
            return [Reason.STALE_IMAGE]
        return []

    def _frozen(self, state: GateState, now: Time) -> bool:
        """Whether the picture does not change any more."""
        if self.options.allow_still_images or not state.repeats or state.unchanged_since is None:
            return False
        unchanged = now.since(state.unchanged_since)
        return (
            state.repeats + 1 >= self.options.frozen_frames
            or unchanged > self.options.image_timeout
        )

    def _fresh(self, state: GateState, frame: Frame, now: Time) -> bool:
        timeout = self.options.image_timeout
        if now.simulated and self._stands_still(state, now):
            return False  # the clock tells no age
        # A stamp from the future is as wrong as one from the past, and nan is never fresh.
        return 0 <= now.since(frame.arrived) <= timeout and abs(frame.age(now)) <= timeout

    def _stands_still(self, state: GateState, now: Time) -> bool:
        """Whether simulated time has not moved for too long by the wall clock."""
        moved = state.clock_moved
        return moved is None or now.steady - moved.steady > self.options.image_timeout

    def _feature_reasons(self, features: Features) -> tuple[Reason, ...]:
        if self.calibration is None:
            return (Reason.NOT_CALIBRATED,)
        return self.calibration.judge(features)

    def _seconds_left(self, state: GateState, now: Time) -> float:
        """Seconds until the evidence or the narration of a go is over by time alone."""
        assert state.judgement is not None and state.narration is not None
        frame, timeout = state.judgement.frame, self.options.image_timeout
        return min(
            timeout - now.since(frame.arrived),
            timeout - frame.age(now),
            state.narration.left(now),
        )

    # Transitions

    def _read_clock(self, state: GateState, now: Time) -> GateState:
        last = state.clock
        if last is None or (not now.simulated and not last.simulated):
            return replace(state, clock=now, clock_moved=now)
        if now.simulated != last.simulated:
            state = _forget(state, "another clock is used", narration=True)
            return replace(state, clock=now, clock_moved=now)
        if now.ros_ns < last.ros_ns:
            narration = state.narration
            ahead = narration is not None and now.since(narration.heard) < 0
            state = _forget(state, "time went back", narration=ahead)
            return replace(state, clock=now, clock_moved=now)
        if now.ros_ns == last.ros_ns:
            return replace(state, clock=now)
        if self._stands_still(state, now):
            state = _restart(state, "simulated time stood still")
        narration = state.narration
        if last.ros_ns == 0 and narration is not None:
            # Heard before the clock told any time: it begins now, unless it is over by the wall.
            waited = now.steady - narration.heard.steady
            begun = replace(narration, heard=now) if waited <= narration.life else None
            state = replace(state, narration=begun)
        return replace(state, clock=now, clock_moved=now)

    def _blocked_count(self, state: GateState, now: Time) -> GateState:
        """Ends the row of good frames if anything stands against a go."""
        if not state.good_frames:
            return state
        reasons = self.reasons(state, now)
        return _restart(state, ", ".join(map(str, reasons))) if reasons else state

    def _apply(self, state: GateState, event: Event, now: Time) -> GateState:
        if isinstance(event, Activated | Deactivated):
            state = replace(state, active=isinstance(event, Activated))
            return _forget(state, "activation", narration=True)
        if isinstance(event, Reset):
            return _forget(state, "reset", narration=True)
        if isinstance(event, PromptChanged):
            return _without_evidence(state, "another narration, object list or target")
        if isinstance(event, Narrated):
            return self._narrated(state, event, now)
        if isinstance(event, ImageArrived):
            return self._arrived(state, event.frame, now)
        if isinstance(event, ImageRejected):
            return _restart(replace(state, rejected=True), "an image that cannot be decoded")
        if isinstance(event, ImageUnused):
            return replace(state, rejected=False)
        if isinstance(event, InferenceFailed):
            return _restart(replace(state, failed=True), "an error of the network")
        if isinstance(event, Judged):
            return self._judged(state, event, now)
        if isinstance(event, PublishersCounted):
            return replace(state, publishers=event.count)
        if isinstance(event, SettingsChanged):
            return _restart(state, "other settings")
        return state

    def _narrated(self, state: GateState, event: Narrated, now: Time) -> GateState:
        old = state.narration
        if not event.text:
            return replace(_without_evidence(state, "the end of the action"), narration=None)
        if old is None or event.text != old.text:
            state = _without_evidence(state, "another narration, object list or target")
        elif not event.from_action and old.bounded:
            # Said again and again it does not outlast the action. After a silence it is a new one.
            silent = min(-old.left(now), now.since(old.repeated or old.heard))
            if silent <= self.options.narration_timeout:
                return replace(state, narration=replace(old, repeated=now))
        narration = Narration(
            event.text,
            heard=now,
            life=event.duration if event.duration > 0 else self.options.narration_timeout,
            age=max(0.0, event.age),
            bounded=event.from_action and event.duration > 0,
        )
        return replace(state, narration=narration)

    def _arrived(self, state: GateState, frame: Frame, now: Time) -> GateState:
        last, source = state.frame, frame.source
        if last is not None and not (source.height and source.width):
            size = last.source.height, last.source.width
            source = replace(source, height=size[0], width=size[1])
        frame = replace(frame, source=source, session=state.session)
        if last is not None and frame.source != last.source:
            state = _without_evidence(state, "images of another source")
            changes = state.source_changes + 1
            state = replace(state, source_changed=now, source_changes=changes)
        # Only the last picture counts: a recording that is played in a loop repeats older ones.
        if last is not None and frame.digest == last.digest:
            return replace(state, frame=frame, repeats=state.repeats + 1)
        return replace(state, frame=frame, repeats=0, unchanged_since=now)

    def _judged(self, state: GateState, event: Judged, now: Time) -> GateState:
        frame, last = event.frame, state.judgement
        ours = (
            state.active
            and frame.session == state.session
            and event.prompt_version == state.prompt_version
            and state.frame is not None
            and frame.source == state.frame.source
        )
        if not ours:
            return state  # foreign evidence
        repeated = frame.digest == state.judged_digest and not self.options.allow_still_images
        judgement = Judgement(
            frame, event.features, event.target_label, now.steady - frame.arrived.steady
        )
        state = replace(
            state, failed=False, rejected=False, judgement=judgement, judged_digest=frame.digest
        )
        reasons = self._feature_reasons(event.features)
        if reasons:
            return _restart(state, ", ".join(map(str, reasons)))
        if repeated:
            # The same picture again is no further evidence, and no fresher one either.
            return replace(state, judgement=last or judgement)
        if last is not None:
            if frame.taken_ns < last.frame.taken_ns:
                return _restart(state, "an image older than the one before")
            timeout = self.options.image_timeout
            gap = max(
                (frame.taken_ns - last.frame.taken_ns) * 1e-9,
                frame.arrived.since(last.frame.arrived),
            )
            if gap > timeout:
                state = _restart(state, f"a gap of {gap:.3g} s between two images")
            elif frame.taken_ns == last.frame.taken_ns:
                return state
        return replace(state, good_frames=state.good_frames + 1)


def _restart(state: GateState, cause: str) -> GateState:
    """Counts good frames from 0 on."""
    if not state.good_frames:
        return replace(state, restart_cause=cause) if cause != state.restart_cause else state
    return replace(state, good_frames=0, restarts=state.restarts + 1, restart_cause=cause)


def _without_evidence(state: GateState, cause: str) -> GateState:
    """Forgets what was seen, and makes what is still being looked at count for nothing."""
    version = state.prompt_version + 1
    return replace(_restart(state, cause), judgement=None, failed=False, prompt_version=version)


def _forget(state: GateState, cause: str, *, narration: bool) -> GateState:
    """Forgets images and evidence, and the narration too where it may not stay."""
    state = _without_evidence(state, cause)
    return replace(
        state,
        session=state.session + 1,
        narration=None if narration else state.narration,
        frame=None,
        repeats=0,
        unchanged_since=None,
        source_changed=None,
        source_changes=0,
        rejected=False,
        judged_digest=None,
    )
