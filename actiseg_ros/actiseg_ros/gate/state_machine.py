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

from actiseg_ros.gate.calibration import Calibration
from actiseg_ros.gate.events import (
    Activated,
    Deactivated,
    Event,
    Frame,
    ImageArrived,
    ImageRejected,
    ImageUnused,
    InferenceFailed,
    Judged,
    Narrated,
    PromptChanged,
    PublishersCounted,
    Reset,
    SettingsChanged,
    Time,
)
from actiseg_ros.gate.rule import Features, Reason
from actiseg_ros.gate.state import DEFAULTS, Decision, GateOptions, GateState, Judgement, Narration
from actiseg_ros.prompts import Candidates

_ON_THE_WAY = 0.5
"""Seconds that a message may take."""


@dataclass(frozen=True)
class StateMachine:
    """The gate's transitions and its answer, for one calibration and one robot.

    Attributes:
        calibration: From `load_calibration`; None means that go is impossible.
        options: Settings of the robot.
    """

    calibration: Calibration | None = None
    options: GateOptions = DEFAULTS

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

    def left(self, narration: Narration, now: Time) -> float:
        """Seconds that a narration still holds, 0 or less when it is over."""
        return narration.left(now, self.options.narration_timeout)

    def continues(self, state: GateState, event: Narrated, now: Time) -> bool:
        """Whether what is narrated only goes on, so that what was said about it still holds.

        Said again and again an action does not outlast its duration: until there was a silence, its
        words are about the one that has ended.
        """
        old = state.narration
        if old is None or event.text != old.text:
            return False
        if event.from_action or not old.bounded:
            return self._holds(old, now)
        silent = min(-self.left(old, now), now.since(old.repeated or old.heard))
        return silent <= self.options.narration_timeout

    def outdated(self, state: GateState, event: Narrated, now: Time) -> bool:
        """Whether something newer was heard, which an older message must not undo.

        Newer is the end of the same action, if it began before. What was kept for late listeners
        yields to any end and to what is still being said; of two actions the one that began first
        may last longer. Where one ends as the next begins, their ages differ by the time that
        messages take.
        """
        ended, narration = state.ended, state.narration
        if (
            ended is not None
            and event.text
            and (event.kept or event.text == ended.text)
            and ended.age_at(now) < event.age - _ON_THE_WAY
        ):
            return True
        return (
            narration is not None
            and event.kept != 0
            and narration.silence(now) < event.kept - _ON_THE_WAY
        )

    # Reasons

    def _holds(self, narration: Narration, now: Time) -> bool:
        # Time that went back behind the narration is no time in which it holds.
        return self.left(narration, now) > 0 and now.since(narration.heard) >= 0

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
            self.left(state.narration, now),
        )

    # Transitions

    def _read_clock(self, state: GateState, now: Time) -> GateState:
        last = state.clock
        if last is None or (not now.simulated and not last.simulated):
            return replace(state, clock=now, clock_moved=now)
        if now.simulated != last.simulated:
            state = _forget(state, "another clock is used")
            return replace(state, clock=now, clock_moved=now)
        if now.ros_ns < last.ros_ns:
            # The narration too: what is over would hold once more.
            state = _forget(state, "time went back")
            return replace(state, clock=now, clock_moved=now)
        if now.ros_ns == last.ros_ns:
            return replace(state, clock=now)
        if self._stands_still(state, now):
            state = _restart(state, "simulated time stood still")
        if last.ros_ns == 0:
            # Heard before the clock told any time: it begins now, unless it is over by the wall.
            narration, ended = state.narration, state.ended
            if narration is not None:
                waited = now.steady - narration.heard.steady
                life = narration.life(self.options.narration_timeout)
                narration = replace(narration, heard=now) if waited <= life else None
            if ended is not None:
                ended = replace(ended, heard=now)
            state = replace(state, narration=narration, ended=ended)
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
            return _forget(state, "activation")
        if isinstance(event, Reset):
            return _forget(state, "reset")
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
        if self.outdated(state, event, now):
            return state
        if not event.text:
            state = _without_evidence(state, "the end of the action")
            return replace(state, narration=None, ended=self._ended(state, event, now))
        if not self.continues(state, event, now):
            state = _without_evidence(state, "another narration, object list or target")
        elif old is not None and old.bounded and not event.from_action:
            return state if event.kept else replace(state, narration=replace(old, repeated=now))
        return replace(state, narration=self._begun(event, now))

    def _begun(self, event: Narrated, now: Time) -> Narration:
        # What begins in the future has not begun, and clocks that disagree tell no age.
        begun = event.age >= -self.options.image_timeout  # nan is not
        age = max(0.0, event.age) if begun else math.inf
        return Narration(event.text, now, event.duration, age, event.kept)

    def _ended(self, state: GateState, event: Narrated, now: Time) -> Narration | None:
        """What was ended last, and when; an end that comes late leaves a newer one."""
        if not event.age < math.inf:
            return state.ended  # nobody said so
        said = state.narration or state.ended
        ended = Narration(said.text if said else "", now, age=max(0.0, event.age))
        last = state.ended
        return ended if last is None or ended.age <= last.age_at(now) else last

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


def _forget(state: GateState, cause: str) -> GateState:
    """Forgets images, evidence and what was said."""
    state = _without_evidence(state, cause)
    return replace(
        state,
        session=state.session + 1,
        narration=None,
        ended=None,
        frame=None,
        repeats=0,
        unchanged_since=None,
        source_changed=None,
        source_changes=0,
        rejected=False,
        judged_digest=None,
    )
