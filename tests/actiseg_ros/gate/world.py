"""A world around the gate's state machine, and a judge of its goes that does not know its insides.

`World` turns what can happen to a node (images, results of a slow network, narrations, clocks that
jump) into events, and keeps a log. `assert_justified` reads the log alone: it says what every go
has to rest on.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from actiseg_ros.gate.calibration import Calibration, Certificate, PolicyLimits
from actiseg_ros.gate.events import (
    Activated,
    ClockRead,
    Deactivated,
    Event,
    Frame,
    ImageArrived,
    ImageRejected,
    InferenceFailed,
    Judged,
    Narrated,
    PromptChanged,
    PublishersCounted,
    Reset,
    SettingsChanged,
    Source,
    Time,
)
from actiseg_ros.gate.novelty import NoveltyDetector
from actiseg_ros.gate.rule import Features, Limits
from actiseg_ros.gate.state import Decision, GateOptions, GateState
from actiseg_ros.gate.state_machine import StateMachine
from actiseg_ros.prompts import Candidates

LIMITS = Limits(active_score=0.75, p_uncertainty=0.3, n_uncertainty=0.2, distance=2.0)
GOOD = Features("cup", True, 0.9, 0.1, 0.1, 1.0)
BAD = dataclasses.replace(GOOD, p_uncertainty=0.9)
CAMERA, OTHER = Source("a", "camera", 480, 640), Source("b", "camera", 480, 640)
NOVELTY = NoveltyDetector(mean=np.zeros(3), whitening=np.eye(3), usual=np.zeros(1), unit=np.ones(1))
STEP = 0.1
EPOCH = 1_700_000_000.0


def calibration(risk: float = 0.1, confidence: float = 0.9) -> Calibration:
    """Certified for named candidates; for narrated ones there are only limits."""
    policies: dict[Candidates, PolicyLimits] = {
        "named": PolicyLimits(LIMITS, Certificate(risk, confidence)),
        "narration": PolicyLimits(LIMITS, None),
    }
    return Calibration(NOVELTY, policies, "id")


@dataclass(frozen=True)
class Entry:
    """One thing that happened: kind, time and what belongs to it."""

    kind: str
    time: Time
    frame: Frame | None = None
    good: bool = False
    began: int = -1  # of a judgement: length of the log when the network took the image
    narrated: Narrated | None = None
    count: int = 1


@dataclass(frozen=True)
class World:
    """An immutable world, so that sequences can share their beginnings."""

    machine: StateMachine
    state: GateState = field(default_factory=GateState)
    ros: float = EPOCH
    steady: float = 1000.0
    simulated: bool = False
    digest: int = 0
    log: tuple[Entry, ...] = ()
    slot: Frame | None = None  # the newest image, which the network has not taken
    running: tuple[tuple[Frame, int, int], ...] = ()  # frame, prompt version, length of the log

    @property
    def now(self) -> Time:
        return Time(round(self.ros * 1e9), self.steady, self.simulated)

    def tell(self, event: Event, kind: str, **more: Any) -> World:
        state = self.machine.step(self.state, event, self.now)
        return dataclasses.replace(
            self, state=state, log=(*self.log, Entry(kind, self.now, **more))
        )

    def decide(self) -> Decision:
        return self.machine.decide(self.state, self.now)

    # What can happen

    def on(self) -> World:
        return self.tell(Activated(), "on")

    def off(self) -> World:
        return self.tell(Deactivated(), "off")

    def reset(self) -> World:
        return self.tell(Reset(), "reset")

    def objects(self) -> World:
        return self.tell(PromptChanged(), "prompt")

    def settings(self, **changes: Any) -> World:
        options = dataclasses.replace(self.machine.options, **changes)
        machine = dataclasses.replace(self.machine, options=options)
        return dataclasses.replace(self, machine=machine).tell(SettingsChanged(), "settings")

    def narrate(self, text: str = "take cup", **more: Any) -> World:
        event = Narrated(text, **more)
        return self.tell(event, "narrated", narrated=event)

    def action(self, duration: float, text: str = "take cup", age: float = 0.0) -> World:
        return self.narrate(text, duration=duration, age=age, from_action=True)

    def reject(self) -> World:
        return self.tell(ImageRejected(), "reject")

    def fail(self) -> World:
        return self.tell(InferenceFailed(), "fail")

    def publishers(self, count: int) -> World:
        return self.tell(PublishersCounted(count), "publishers", count=count)

    def tick(self) -> World:
        return self.tell(ClockRead(), "tick")

    def wait(self, seconds: float, ros: float | None = None) -> World:
        passed = seconds if ros is None else ros
        return dataclasses.replace(self, steady=self.steady + seconds, ros=self.ros + passed)

    def arrive(
        self, source: Source = CAMERA, digest: int | None = None, shift: float = 0.0
    ) -> World:
        """An image comes in; `shift` moves its stamp."""
        digest = self.digest + 1 if digest is None else digest
        stamp = max(0, round((self.ros + shift) * 1e9))
        frame = Frame(stamp, stamp, digest, source, self.now)
        world = self.tell(ImageArrived(frame), "arrive", frame=frame)
        slot = world.state.frame
        return dataclasses.replace(world, digest=max(digest, self.digest), slot=slot)

    def take(self) -> World:
        """The network takes the image in the slot, whatever has happened since it came."""
        if self.slot is None:
            return self
        job = (self.slot, self.state.prompt_version, len(self.log))
        return dataclasses.replace(self, slot=None, running=(*self.running, job))

    def finish(self, features: Features = GOOD, job: int = 0) -> World:
        """The network is done with one of the images that it has taken."""
        if job >= len(self.running):
            return self
        frame, version, began = self.running[job]
        rest = self.running[:job] + self.running[job + 1 :]
        world = dataclasses.replace(self, running=rest)
        event = Judged(frame, version, features, 1)
        good = features == GOOD
        return world.tell(event, "judged", frame=frame, good=good, began=began)

    def see(self, features: Features = GOOD, wait: float = STEP, **arrival: Any) -> World:
        """An image comes in and is judged at once."""
        world = self.wait(wait).arrive(**arrival).take()
        return world.finish(features, len(world.running) - 1)

    def go(self) -> World:
        world = self.on().narrate()
        for _ in range(self.machine.options.hold_frames):
            world = world.see()
        assert world.decide().go, world.decide().reasons
        return world


def world(options: GateOptions | None = None, **more: Any) -> World:
    machine = StateMachine(more.pop("calibration", calibration()), options or GateOptions())
    return World(machine, **more)


# What a go has to rest on


def assert_justified(world: World) -> None:
    """Checks that a go rests on fresh, own, good and sufficient evidence."""
    now, options = world.now, world.machine.options
    timeout = options.image_timeout
    log = _without_outdated(world.log, timeout)

    def passed(earlier: Time, later: Time = now) -> float:
        return later.since(earlier)

    assert world.machine.calibration is not None
    if options.require_certificate:
        shown = world.machine.calibration.certificate(world.state.candidates)
        assert shown is not None
        assert shown.risk <= options.max_risk and shown.confidence >= options.min_confidence
    lifecycle = [entry.kind for entry in log if entry.kind in ("on", "off")]
    assert lifecycle and lifecycle[-1] == "on"
    counts = [entry.count for entry in log if entry.kind == "publishers"]
    assert not counts or counts[-1] == 1

    began = 0  # of the session
    for index, entry in enumerate(log):
        if entry.kind in ("on", "off", "reset") or (index and _went_back(log[index - 1], entry)):
            began = index
    assert not (log and world.simulated and now.ros_ns < log[-1].time.ros_ns)
    asked = began  # last change of the question
    text: str | None = None
    for index, entry in enumerate(log):
        changed = entry.narrated is not None and entry.narrated.text != text
        if entry.narrated is not None:
            text = entry.narrated.text
        if entry.kind == "prompt" or (changed and index > began):
            asked = index

    own = [
        (index, entry)
        for index, entry in enumerate(log)
        if entry.kind == "judged" and entry.began > asked and _arrival(log, entry) >= began
    ]
    counted: list[tuple[int, Entry]] = []
    for place in range(len(own) - 1, -1, -1):
        if len(counted) == options.hold_frames:
            break
        before = own[place - 1][1].frame if place else None
        frame = own[place][1].frame
        assert frame is not None
        again = before is not None and frame.digest == before.digest
        same = before is not None and frame.taken_ns == before.taken_ns
        if not same and (options.allow_still_images or not again):
            counted.insert(0, own[place])
        assert own[place][1].good, "a bad image within the row"
    assert len(counted) == options.hold_frames, "too few images"

    first = counted[0][0]
    disturbed = {"on", "off", "reset", "prompt", "settings", "reject", "fail"}
    for entry in log[first + 1 :]:
        assert entry.kind not in disturbed, f"{entry.kind} within the row"
    source = counted[0][1].frame.source
    begun = log[_arrival(log, counted[0][1]) :]
    arrivals = [entry.frame for entry in begun if entry.kind == "arrive"]
    assert all(frame.source == source for frame in arrivals), "images of two sources"
    for (_, early), (_, late) in itertools.pairwise(counted):
        gap = (late.frame.taken_ns - early.frame.taken_ns) * 1e-9
        assert 0 < gap <= timeout + 1e-6, "a gap, or images out of order"
    for index, entry in [*counted, (len(log), Entry("now", now, counted[-1][1].frame))]:
        assert abs(entry.time.ros_ns - entry.frame.taken_ns) * 1e-9 <= timeout + 1e-6, "stale"
        assert passed(entry.frame.arrived, entry.time) <= timeout + 1e-6, "late"
        assert _narrated(log[:index], entry.time, options, began), "nothing is narrated"

    digests = [entry.frame.digest for entry in log[began:] if entry.kind == "arrive"]
    if not options.allow_still_images:
        last = digests[-options.frozen_frames :]
        assert len(last) < options.frozen_frames or len(set(last)) > 1, "frozen"
    if world.simulated:
        moved = [
            late.time.steady
            for early, late in itertools.pairwise(log)
            if late.time.ros_ns > early.time.ros_ns
        ]
        last_moved = moved[-1] if moved else log[0].time.steady
        assert now.steady - last_moved <= timeout + 1e-6, "the clock stands still"


def _went_back(before: Entry, after: Entry) -> bool:
    return after.time.simulated and after.time.ros_ns < before.time.ros_ns


def _without_outdated(log: tuple[Entry, ...], timeout: float) -> tuple[Entry, ...]:
    """Old narrations that came after what was said since become reads of the clock."""
    found: list[Entry] = []
    last: Time | None = None
    ended: tuple[str, float] | None = None  # an action, and when it was said to have ended
    current: tuple[str, float] | None = None  # what is narrated, and when it was said last
    for entry in log:
        time, narrated = entry.time, entry.narrated
        back = time.simulated and last is not None and time.ros_ns < last.ros_ns
        last = time
        if entry.kind in ("on", "off", "reset") or back:
            ended = current = None
        if narrated is not None:
            seconds = time.ros_ns * 1e-9 if time.simulated else time.steady
            text, kept = narrated.text, narrated.kept
            of_ended = ended is not None and bool(text) and (kept > 0 or text == ended[0])
            undoes = of_ended and ended is not None and seconds - narrated.age < ended[1] - 0.5
            if undoes or (kept and current is not None and seconds - kept < current[1] - 0.5):
                found.append(dataclasses.replace(entry, kind="tick", narrated=None))
                continue
            if text:
                current = text, seconds - kept
            elif narrated.age < math.inf:
                before = current or ended
                when = seconds - max(0.0, narrated.age)
                if ended is None or when >= ended[1]:
                    ended = (before[0] if before else ""), when
                current = None
        found.append(entry)
    return tuple(found)


def _arrival(log: tuple[Entry, ...], judged: Entry) -> int:
    """Place of the arrival of the image that was judged."""
    for index in range(judged.began - 1, -1, -1):
        frame, wanted = log[index].frame, judged.frame
        if log[index].kind != "arrive" or frame is None or wanted is None:
            continue
        if (frame.arrived, frame.digest) == (wanted.arrived, wanted.digest):
            return index
    return -1


def _narrated(log: tuple[Entry, ...], now: Time, options: GateOptions, began: int) -> bool:
    """Whether something is narrated, from the narrations alone."""
    life = options.narration_timeout
    text, heard, until, bounded, repeated = "", now, 0.0, False, now
    for index, entry in enumerate(log):
        if entry.kind in ("on", "off", "reset"):
            text = ""
        if index and _went_back(log[index - 1], entry):
            text = ""
        said = entry.narrated
        if said is None:
            continue
        if not said.text:
            text = ""
            continue
        again = said.text == text and bounded and not said.from_action
        over = entry.time.since(heard) - until
        if again and (over <= life or entry.time.since(repeated) <= life):
            repeated = entry.time
            continue
        text, heard, repeated = said.text, entry.time, entry.time
        bounded = said.from_action and said.duration > 0
        until = (said.duration if said.duration > 0 else life) - max(0.0, said.age)
        if not said.age >= -options.image_timeout:
            text = ""  # it has not begun
    return bool(text) and 0 <= now.since(heard) <= until + 1e-6
