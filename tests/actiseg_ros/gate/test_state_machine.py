"""The gate says go only on positive, fresh, own and sufficient evidence, and never otherwise."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from actiseg_ros.gate.calibration import PolicyLimits
from actiseg_ros.gate.events import Source, Time
from actiseg_ros.gate.explanation import explain
from actiseg_ros.gate.rule import Features, Reason
from actiseg_ros.gate.state import GateOptions, GateState
from actiseg_ros.gate.state_machine import StateMachine
from tests.actiseg_ros.gate.world import (
    BAD,
    CAMERA,
    GOOD,
    LIMITS,
    OTHER,
    STEP,
    World,
    assert_justified,
    calibration,
    world,
)


def options(**values: object) -> GateOptions:
    return GateOptions(**values)  # type: ignore[arg-type]


def reasons(world: World) -> tuple[Reason, ...]:
    return world.decide().reasons


# Examples


def test_go_comes_with_the_last_held_frame_and_not_before() -> None:
    now = world(options(hold_frames=4)).on().narrate()
    seen = []
    for _ in range(5):
        now = now.see()
        seen.append(now.decide())
    assert [d.go for d in seen] == [False, False, False, True, True]
    assert seen[0].reasons == (Reason.HOLDING,)
    assert seen[3].reasons == () and seen[3].state == "GO" and seen[0].state == "NO_GO"


def test_a_new_gate_is_inactive_and_an_active_one_names_all_that_is_missing() -> None:
    assert StateMachine().decide(GateState(), Time(1, 1.0)).reasons == (Reason.NOT_ACTIVE,)
    empty = world(calibration=None).on()
    assert reasons(empty) == (Reason.NOT_CALIBRATED, Reason.NO_IMAGE, Reason.NO_NARRATION)


def test_one_bad_frame_ends_it_and_the_count_starts_anew() -> None:
    now = world().go().see(BAD)
    assert reasons(now) == (Reason.P_UNCERTAIN,)
    assert not now.see().decide().go and not now.see().see().decide().go
    assert now.see().see().see().decide().go


def test_deciding_changes_nothing_and_time_alone_ends_a_go() -> None:
    now = world().go()
    assert now.wait(0.4).decide().go
    assert reasons(now.wait(0.6)) == (Reason.STALE_IMAGE,)
    assert now.decide().go, "asked about later, answered about now"
    # Nobody asked during the gap, and still the row is over.
    assert reasons(now.see(wait=0.6)) == (Reason.HOLDING,)


def test_a_go_says_until_when_its_evidence_lasts() -> None:
    now = world(options(image_timeout=0.5)).go()
    decision = now.decide()
    left = (decision.valid_until_ns - now.now.ros_ns) * 1e-9
    assert left == pytest.approx(0.5, abs=1e-6)
    assert now.wait(left - 0.001).decide().go and not now.wait(left + 0.001).decide().go
    short = world().on().action(duration=0.35).see().see().see()
    assert (short.decide().valid_until_ns - short.now.ros_ns) * 1e-9 == pytest.approx(0.05)
    no_go = now.off()
    assert no_go.decide().valid_until_ns == no_go.now.ros_ns


@pytest.mark.parametrize("shift", [-0.6, 0.6, -1e6, -2e9])
def test_stamps_far_from_now_or_missing_are_stale_even_if_just_arrived(shift: float) -> None:
    now = world().on().narrate()
    for _ in range(5):
        now = now.see(shift=shift)
        assert reasons(now) == (Reason.STALE_IMAGE,)


def test_a_clock_without_time_is_stale() -> None:
    now = world(simulated=True, ros=0.0).on().narrate()
    for _ in range(5):
        now = dataclasses.replace(now.see(), ros=0.0)
        assert Reason.STALE_IMAGE in reasons(now) and math.isnan(now.decide().age)


def test_a_hanging_model_is_stale_although_images_arrive() -> None:
    now = world().go()
    for _ in range(8):
        now = now.wait(STEP).arrive()
    assert reasons(now) == (Reason.STALE_IMAGE,)


def test_identical_images_are_a_frozen_camera_by_number_and_by_time() -> None:
    now, seen = world(options(frozen_frames=4)).go(), []
    for _ in range(5):
        now = now.see(digest=now.digest)
        seen.append(now.decide())
    assert [d.go for d in seen] == [True, True, False, False, False]
    assert seen[2].reasons == (Reason.FROZEN_IMAGE,)
    slow = world(options(frozen_frames=100, image_timeout=0.35)).go()
    for _ in range(5):
        slow = slow.see(digest=slow.digest)
    assert reasons(slow) == (Reason.FROZEN_IMAGE,)
    # It works again.
    assert [slow.see().decide().go, slow.see().see().see().decide().go] == [False, True]


def test_still_images_can_be_allowed() -> None:
    now = world(options(allow_still_images=True)).on().narrate()
    for _ in range(20):
        now = now.see(digest=7)
    assert now.decide().go


def test_a_recording_in_a_loop_is_no_frozen_camera() -> None:
    now = world(options(frozen_frames=4)).go()
    for index in range(10):
        now = now.see(digest=index % 2 + 1)
        assert now.decide().go


def test_repeated_frames_and_stamps_do_not_count_as_evidence() -> None:
    now = world(options(frozen_frames=50, image_timeout=5.0)).on().narrate()
    for _ in range(10):
        now = now.see(digest=7)
        assert not now.decide().go
    for _ in range(10):
        now = now.see(wait=0.0)
        assert not now.decide().go


def test_the_same_picture_again_is_no_fresher_evidence() -> None:
    # The camera sends its last picture again; what is judged then was seen long before.
    now = world().go().see(wait=0.3, digest=3).wait(0.1).arrive().wait(0.2)
    assert reasons(now) == (Reason.STALE_IMAGE,)


def test_images_out_of_order_start_the_count_anew() -> None:
    now = world(options(image_timeout=5.0)).go()
    assert reasons(now.see(shift=-1.0)) == (Reason.HOLDING,)


@pytest.mark.parametrize(
    "other",
    [
        OTHER,
        dataclasses.replace(CAMERA, frame_id="camera_right"),
        dataclasses.replace(CAMERA, width=320),
    ],
    ids=["publisher", "frame_id", "size"],
)
def test_images_of_two_sources_never_go_together(other: Source) -> None:
    now = world().go().see(source=other)
    assert Reason.SOURCE_CHANGED in reasons(now)
    for _ in range(4):
        now = now.see(source=other)
        assert not now.decide().go
    for _ in range(8):
        now = now.see(source=other)
    assert now.decide().go, "one camera alone is a source again"
    for index in range(40):
        now = now.see(source=other if index % 2 else CAMERA)
        assert not now.decide().go


def test_a_result_of_the_other_source_is_foreign() -> None:
    now = world(options(hold_frames=1)).on().narrate().wait(STEP).arrive().take()
    now = now.arrive(source=OTHER).finish()
    assert now.wait(0.6).decide().frame is None


def test_an_image_whose_size_cannot_be_told_is_no_other_source() -> None:
    unknown = dataclasses.replace(CAMERA, height=0, width=0)
    assert world().go().see(source=unknown).see().decide().go


def test_narrations_end_by_their_duration_or_the_timeout() -> None:
    slow = options(image_timeout=100.0, narration_timeout=5.0)
    assert reasons(world(slow).go().wait(5.0)) == (Reason.STALE_NARRATION,)
    acted = world(slow).on().action(duration=1.0).see().see().see()
    assert acted.decide().go
    assert reasons(acted.wait(1.0)) == (Reason.STALE_NARRATION,)
    assert reasons(world().go().narrate("")) == (Reason.NO_NARRATION,)
    assert world().go().narrate().decide().go, "said again"
    assert reasons(world().go().narrate("cut pepper")) == (Reason.HOLDING,)


def test_a_plain_narration_never_extends_an_action() -> None:
    slow = options(image_timeout=100.0, narration_timeout=5.0)
    now = world(slow).on().action(duration=2.0).see().see().see()
    for _ in range(60):  # said again and again, long after the action
        now = now.wait(STEP).narrate()
        over = now.now.since(now.log[1].time) > 2.0
        assert (Reason.STALE_NARRATION in reasons(now)) == over
    # After a silence it is a new narration, and so is another action.
    assert now.wait(5.1).narrate().see().see().see().decide().go
    assert now.action(duration=2.0).see().see().see().decide().go
    # An action of unknown duration is as long as it is narrated.
    open_end = world(slow).on().action(duration=0.0).wait(4.0).narrate().wait(4.0)
    assert Reason.STALE_NARRATION not in reasons(open_end)


def test_an_action_counts_from_its_beginning_and_one_of_the_future_does_not_hold() -> None:
    slow = options(image_timeout=0.5)
    assert Reason.STALE_NARRATION in reasons(world(slow).on().action(3.0, age=3.5).see())
    # Clocks that agree as well as images have to; it is not longer for that.
    early = world(slow).on().action(3.0, age=-0.5).see()
    assert Reason.STALE_NARRATION not in reasons(early)
    assert Reason.STALE_NARRATION in reasons(early.wait(3.0))
    for ahead in (-0.6, -3600.0, -math.inf, math.nan):
        assert Reason.STALE_NARRATION in reasons(world(slow).on().action(7200.0, age=ahead).see())
        said = world(slow).on().narrate(age=ahead)
        assert Reason.STALE_NARRATION in reasons(said.see().see().see())
    later = world(slow).on().action(7200.0, age=-5.0).wait(10.0).see().see().see()
    assert not later.decide().go, "said too early, it has to be said again"
    text = explain(Reason.STALE_NARRATION, later.machine, later.state, later.now)
    assert "ahead of this node's clock" in text


@pytest.mark.parametrize("simulated", [False, True])
def test_an_end_is_not_undone_by_what_began_before_it(simulated: bool) -> None:
    now = dataclasses.replace(world(options(narration_timeout=60.0)), simulated=simulated).go()
    ended = now.wait(5.0).narrate("")
    for older in (
        ended.wait(1.0).action(20.0, age=4.0),  # repeated by who has not heard of the end
        ended.wait(0.5).narrate("").wait(0.5).action(20.0, age=4.0),
        ended.wait(1.0).narrate("cut pepper", age=3.0, kept=3.0),
        ended.wait(1.0).narrate("", age=9.0, kept=9.0).action(20.0, age=4.0),
        now.narrate("", age=-30.0).wait(1.0).action(20.0, age=4.0),  # by a clock that is ahead
    ):
        assert reasons(older.see().see().see()) == (Reason.NO_NARRATION,)
    # What begins with the end or later holds, also after an older end that came late, and so does
    # another action that goes on.
    for newer in (
        ended.wait(1.0).action(20.0, age=0.9),
        ended.wait(0.3).action(20.0, age=0.4),  # messages take their time
        ended.wait(1.0).action(20.0, "cut pepper", age=4.0),
        ended.wait(1.0).narrate("", age=9.0, kept=9.0).action(20.0, age=1.0),
        ended.reset().wait(1.0).action(20.0, age=4.0),
    ):
        assert newer.see().see().see().decide().go


def test_what_was_kept_yields_to_what_is_being_said() -> None:
    rules = options(narration_timeout=60.0)

    def narrated(now: World) -> str:
        return now.state.narration.text if now.state.narration else ""

    now = world(rules).go()
    assert now.narrate("cut pepper", age=6.0, kept=6.0).see().decide().go
    assert now.narrate("", age=6.0, kept=6.0).see().decide().go
    assert not now.narrate("", age=0.1, kept=0.1).see().decide().go
    # An action that began long ago is being said as long as it is repeated, in either way.
    began = world(rules).on().action(60.0, age=20.0)
    for repeated in (began, began.wait(15.0).narrate(), began.wait(15.0).action(60.0, age=35.0)):
        assert narrated(repeated.wait(0.2).narrate("cut pepper", age=10.0, kept=10.0)) == "take cup"
        assert narrated(repeated.wait(0.2).narrate("", age=10.0, kept=10.0)) == "take cup"
        assert (
            narrated(repeated.wait(15.0).narrate("cut pepper", age=5.0, kept=5.0)) == "cut pepper"
        )
    # Of two that were kept the newer one counts, in either order; a live action needs not be newer.
    first = world(rules).on().narrate("cut pepper", age=9.0, kept=9.0)
    assert narrated(first.narrate("take cup", age=4.0, kept=4.0)) == "take cup"
    second = world(rules).on().narrate("take cup", age=4.0, kept=4.0)
    assert narrated(second.narrate("cut pepper", age=9.0, kept=9.0)) == "take cup"
    assert narrated(second.action(20.0, "cut pepper", age=9.0)) == "cut pepper"


def test_another_timeout_of_narrations_holds_for_what_was_narrated() -> None:
    now = world(options(image_timeout=100.0, narration_timeout=3600.0)).go().wait(60.0).see()
    assert now.decide().go
    shorter = now.settings(narration_timeout=5.0)
    assert Reason.STALE_NARRATION in reasons(shorter.see().see().see())
    # An action that says how long it lasts does not ask for it.
    acted = world(options(image_timeout=100.0)).on().action(60.0).wait(30.0).see().see().see()
    shorter = acted.settings(narration_timeout=5.0)
    assert shorter.see().see().see().decide().go


def test_without_narration_a_working_camera_is_not_called_stale() -> None:
    now = world().on().action(duration=0.2).see()
    for _ in range(20):
        now = now.wait(STEP).arrive()
    assert reasons(now) == (Reason.STALE_NARRATION,)


def test_what_ends_a_go_at_once() -> None:
    go = world().go()
    assert reasons(go.objects()) == (Reason.HOLDING,)
    assert reasons(go.settings()) == (Reason.HOLDING,)
    assert reasons(go.fail()) == (Reason.INFERENCE_ERROR,)
    assert reasons(go.reject()) == (Reason.BAD_IMAGE,)
    assert reasons(go.off()) == (Reason.NOT_ACTIVE,)
    assert reasons(go.reset()) == (Reason.NO_IMAGE, Reason.NO_NARRATION)
    assert reasons(go.publishers(2)) == (Reason.SECOND_PUBLISHER,)
    for disturbed in (go.objects(), go.settings(), go.fail(), go.reject()):
        assert not disturbed.see().see().decide().go
        assert disturbed.see().see().see().decide().go


def test_evidence_from_before_a_change_is_foreign() -> None:
    one = world(options(hold_frames=1)).on().narrate().wait(STEP).arrive().take()
    assert one.finish().decide().go
    for change in (
        one.reset().narrate(),
        one.off().on().narrate(),
        one.objects(),
        one.narrate("cut pepper"),
        one.narrate("cut pepper").narrate(),
    ):
        assert not change.finish().decide().go
        # Not even the image from before a reset, judged for the prompt of now.
    assert not one.reset().narrate().take().finish(job=1).decide().go


def test_the_certificate_has_to_suit_the_robot() -> None:
    uncertified = dataclasses.replace(calibration(), policies={"named": PolicyLimits(LIMITS, None)})
    for shown, wanted, goes in [
        (calibration(0.1, 0.9), options(), True),
        (calibration(0.11, 0.9), options(), False),
        (calibration(0.1, 0.89), options(), False),
        (calibration(0.11, 0.9), options(max_risk=0.2), True),
        (calibration(0.01, 0.5), options(min_confidence=0.5), True),
        (uncertified, options(), False),
        (uncertified, options(require_certificate=False), True),
        (
            dataclasses.replace(calibration(), policies={}),
            options(require_certificate=False),
            False,
        ),
        (None, options(require_certificate=False), False),
    ]:
        now = world(wanted, calibration=shown).on().narrate().see().see().see()
        assert now.decide().go == goes
        assert goes or Reason.NOT_CALIBRATED in reasons(now)


def test_what_was_certified_for_named_candidates_is_none_for_narrated_ones() -> None:
    """The default is certified for named candidates, and for narrated ones it has limits only."""
    for candidates in ("narration", "target"):
        evidence = dataclasses.replace(GOOD, candidates=candidates)
        now = world().on().narrate().see(evidence).see(evidence).see(evidence)
        assert Reason.NOT_CALIBRATED in reasons(now) and not now.decide().go


def test_a_decision_reports_the_image_judged() -> None:
    now = world().go().wait(0.25)
    decision = now.decide()
    assert decision.frame is not None
    assert decision.frame.arrived.steady == pytest.approx(now.steady - 0.25)
    assert (decision.target, decision.target_label) == ("cup", 1)
    assert decision.age == pytest.approx(0.25) and decision.latency == pytest.approx(0.0)
    assert (decision.p_limit, decision.n_limit) == (0.3, 0.2)


# Clocks


def test_simulated_time_is_the_one_clock() -> None:
    # A bag at a tenth of its speed: a second of the wall passes between two images.
    slow = options(image_timeout=0.5, narration_timeout=10.0)
    now = dataclasses.replace(world(slow), simulated=True).on().narrate()
    for _ in range(20):
        for _ in range(10):
            now = now.wait(0.1, ros=0.01).tick()
        now = now.see(wait=0.0)
    assert now.decide().go
    # ... and at ten times its speed, the narration is over after a second.
    fast = now
    for _ in range(11):
        fast = fast.wait(0.1, ros=1.0).see(wait=0.0)
    assert Reason.STALE_NARRATION in reasons(fast)


def test_simulated_time_that_stands_still_ends_a_go_by_the_wall_clock() -> None:
    now = dataclasses.replace(world(), simulated=True).go()
    assert now.wait(0.4, ros=0.0).decide().go
    stopped = now.wait(0.6, ros=0.0)
    assert reasons(stopped) == (Reason.STALE_IMAGE,)
    # Time goes on where it stopped: what was seen before is over.
    assert reasons(stopped.wait(0.0, ros=0.1).arrive().take().finish()) == (Reason.HOLDING,)


def test_simulated_time_that_jumps_back_starts_anew() -> None:
    now = dataclasses.replace(world(options(hold_frames=1)), simulated=True).go()
    back = now.wait(0.1, ros=-30.0)
    assert not back.decide().go
    assert reasons(back.tick()) == (Reason.NO_IMAGE, Reason.NO_NARRATION)
    # An image from before the jump must not be fresh when its time comes again.
    old = now.wait(0.1).arrive().take().wait(0.1, ros=-5.0).tick().narrate().wait(5.0)
    assert not old.finish().decide().go


def test_a_narration_that_is_over_does_not_hold_again_when_time_goes_back() -> None:
    over = dataclasses.replace(world(), simulated=True).go().wait(50.0).see()
    assert Reason.STALE_NARRATION in reasons(over)
    back = over.wait(STEP, ros=-45.0).see().see().see()
    assert reasons(back) == (Reason.NO_NARRATION,)


def test_narrated_before_simulated_time_begins() -> None:
    waiting = dataclasses.replace(world(), simulated=True, ros=0.0).on().narrate()
    begun = dataclasses.replace(waiting.wait(3.0, ros=0.0), ros=1e9)
    assert begun.see().see().see().decide().go
    late = dataclasses.replace(waiting.wait(11.0, ros=0.0), ros=1e9)
    assert Reason.NO_NARRATION in reasons(late.see().see().see())


def test_another_clock_forgets_everything() -> None:
    now = dataclasses.replace(world().go(), simulated=True)
    assert reasons(now.tick()) == (Reason.NO_IMAGE, Reason.NO_NARRATION)


def test_a_system_clock_that_is_set_makes_stamps_stale_and_nothing_else() -> None:
    go = world().go()
    assert reasons(go.wait(0.0, ros=5.0)) == (Reason.STALE_IMAGE,)
    assert reasons(go.wait(0.0, ros=-5.0)) == (Reason.STALE_IMAGE,)
    again = go.wait(0.1, ros=-5.0).see()
    assert reasons(again) == (Reason.HOLDING,)
    assert again.see().see().see().decide().go


@pytest.mark.parametrize(
    "values",
    [{"hold_frames": 0}, {"image_timeout": 0.0}, {"image_timeout": math.nan},
     {"narration_timeout": -1.0}, {"frozen_frames": 1}, {"max_risk": 1.0},
     {"min_confidence": math.nan}],
)  # fmt: skip
def test_options_cannot_switch_a_check_off(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        GateOptions(**values)  # type: ignore[arg-type]


# Every sequence of events


def _last(now: World) -> World:
    """Another image comes in, and only then the network is done with what it took last."""
    return now.wait(STEP).arrive().finish(job=max(0, len(now.running) - 1))


ALPHABET: dict[str, Callable[[World], World]] = {
    "good": World.see,
    "bad": lambda w: w.see(BAD),
    "again": lambda w: w.see(digest=w.digest),
    "other camera": lambda w: w.see(source=OTHER),
    "old stamp": lambda w: w.see(shift=-1.0),
    "only arrives": lambda w: w.wait(STEP).arrive(),
    "taken": lambda w: w.wait(STEP).arrive().take(),
    "takes": World.take,
    "done": World.finish,
    "pause": lambda w: w.wait(0.2),
    "gap": lambda w: w.wait(1.0),
    "time goes back": lambda w: w.wait(STEP, ros=-2.0),
    "same narration": World.narrate,
    "other narration": lambda w: w.narrate("cut pepper"),
    "no narration": lambda w: w.narrate(""),
    "short action": lambda w: w.action(duration=0.15),
    "old action": lambda w: w.action(duration=9.0, age=2.0),
    "kept narration": lambda w: w.narrate("cut pepper", age=2.0, kept=2.0),
    "objects": World.objects,
    "reject": World.reject,
    "fail": World.fail,
    "reset": lambda w: w.reset().narrate(),
    "off and on": lambda w: w.off().on().narrate(),
    "off": World.off,
    "reset with an image waiting": lambda w: _last(w.wait(STEP).arrive().reset().narrate().take()),
    "asked anew while it runs": lambda w: _last(w.wait(STEP).arrive().take().objects()),
    "started anew while it runs": lambda w: _last(
        w.wait(STEP).arrive().take().off().on().narrate()
    ),
    "two publishers": lambda w: w.publishers(2),
    "one publisher": lambda w: w.publishers(1),
}


def recovered(now: World) -> World:
    """What an operator can do from anywhere: stop the other node, activate, narrate, film."""
    now = now.publishers(1).on().wait(2.0).narrate()
    for _ in range(3):
        now = now.see()
    return now


@pytest.mark.parametrize("simulated", [False, True], ids=["system time", "simulated time"])
@pytest.mark.parametrize("start", ["go", "one image short of it"])
@pytest.mark.parametrize(
    ("hold", "length"), [(1, 3), (2, 3), pytest.param(2, 4, marks=pytest.mark.slow)]
)
def test_every_sequence_of_events(hold: int, length: int, start: str, simulated: bool) -> None:
    """All sequences of that length: no go without a reason for it, and no dead end."""
    rules = options(hold_frames=hold, frozen_frames=3)
    fresh = dataclasses.replace(world(rules), simulated=simulated)
    goes = leaves = 0

    def check(now: World) -> None:
        nonlocal goes
        decision = now.decide()
        assert decision.go == (not decision.reasons)
        if decision.go:
            goes += 1
            assert_justified(now)

    def walk(now: World, depth: int) -> None:
        nonlocal leaves
        check(now)
        if depth == 0:
            leaves += 1
            if leaves % 97 == 0:
                assert recovered(now).decide().go
            return
        for reason in now.decide().reasons:
            assert len(explain(reason, now.machine, now.state, now.now)) > 20
        for event in ALPHABET.values():
            walk(event(now), depth - 1)

    walk(fresh.go() if start == "go" else fresh.go().objects().see(), length)
    assert leaves == len(ALPHABET) ** length and goes > 200


# Longer ones, with times of any size


class Gate(RuleBasedStateMachine):
    """Anything in any order, with results that come late or never and clocks that jump."""

    @initialize(
        simulated=st.booleans(),
        still=st.booleans(),
        hold=st.integers(1, 4),
        frozen=st.integers(2, 6),
        timeout=st.sampled_from([0.25, 0.5, 2.0]),
    )
    def begin(self, simulated: bool, still: bool, hold: int, frozen: int, timeout: float) -> None:
        rules = options(
            hold_frames=hold,
            frozen_frames=frozen,
            image_timeout=timeout,
            allow_still_images=still,
            narration_timeout=3.0,
        )
        self.world = dataclasses.replace(world(rules), simulated=simulated).on().narrate()

    def change(self, change: Callable[[World], World]) -> None:
        self.world = change(self.world)

    @rule(count=st.integers(1, 6), wait=st.floats(0.0, 0.4))
    def film(self, count: int, wait: float) -> None:
        for _ in range(count):
            self.change(lambda w: w.see(wait=wait))

    @rule(
        wait=st.floats(0.0, 0.6),
        good=st.booleans(),
        source=st.sampled_from([CAMERA, CAMERA, CAMERA, OTHER]),
        shift=st.sampled_from([0.0, 0.0, -0.1, 0.3, -3.0, 3.0]),
        old=st.booleans(),
    )
    def odd(self, wait: float, good: bool, source: Source, shift: float, old: bool) -> None:
        digest = self.world.digest if old else None
        features = GOOD if good else BAD
        self.change(lambda w: w.see(features, wait, source=source, shift=shift, digest=digest))

    @rule(wait=st.floats(0.0, 0.3), source=st.sampled_from([CAMERA, CAMERA, OTHER]))
    def arrive(self, wait: float, source: Source) -> None:
        self.change(lambda w: w.wait(wait).arrive(source))

    @rule()
    def take(self) -> None:
        self.change(World.take)

    @precondition(lambda self: self.world.running)
    @rule(job=st.integers(0, 3), wait=st.floats(0.0, 1.0), good=st.booleans())
    def finish(self, job: int, wait: float, good: bool) -> None:
        self.change(lambda w: w.wait(wait).finish(GOOD if good else BAD, job))

    @rule(seconds=st.floats(0.0, 5.0))
    def wait(self, seconds: float) -> None:
        self.change(lambda w: w.wait(seconds))

    @rule(ros=st.floats(-20.0, 20.0), steady=st.floats(0.0, 0.2), told=st.booleans())
    def jump(self, ros: float, steady: float, told: bool) -> None:
        self.change(lambda w: w.wait(steady, ros=ros))
        if told:
            self.change(World.tick)

    @rule(steady=st.floats(0.0, 3.0), ticks=st.integers(0, 3))
    def stand_still(self, steady: float, ticks: int) -> None:
        for _ in range(ticks):
            self.change(lambda w: w.wait(steady / (ticks or 1), ros=0.0).tick())

    @rule(
        text=st.sampled_from(["take cup", "take cup", "cut pepper", ""]),
        age=st.sampled_from([0.0, 0.0, 0.4, 2.0]),
    )
    def narrate(self, text: str, age: float) -> None:
        self.change(lambda w: w.narrate(text, age=age, kept=age))

    @rule(
        duration=st.sampled_from([0.0, 0.3, 2.0]),
        age=st.sampled_from([0.0, 0.0, 0.2, -5.0, 10.0]),
        text=st.sampled_from(["take cup", "cut pepper"]),
    )
    def act(self, duration: float, age: float, text: str) -> None:
        self.change(lambda w: w.action(duration, text, age))

    @rule(
        event=st.sampled_from(
            [World.objects, World.reject, World.fail, World.reset, World.off, World.on,
             World.settings, World.tick]
        )
    )  # fmt: skip
    def happen(self, event: Callable[[World], World]) -> None:
        self.change(event)

    @rule(count=st.integers(1, 2))
    def count(self, count: int) -> None:
        self.change(lambda w: w.publishers(count))

    @rule()
    def restart(self) -> None:
        """The process is started anew; results of the old one are not its own."""
        old = self.world
        self.world = dataclasses.replace(old, state=GateState(), log=())

    @invariant()
    def go_is_justified(self) -> None:
        if hasattr(self, "world"):
            decision = self.world.decide()
            assert decision.go == (not decision.reasons)
            if decision.go:
                assert_justified(self.world)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            now = dataclasses.replace(self.world, simulated=False)
            now = now.publishers(1).on().wait(5.0).narrate()
            for _ in range(4):
                now = now.see()
            assert now.decide().go, "no way back to go"


TestGate = Gate.TestCase
TestGate.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


# Explanations


def test_reasons_that_never_end_name_cause_and_remedy() -> None:
    still = world().on().narrate()
    for _ in range(30):
        still = still.see(digest=7)
    text = explain(Reason.FROZEN_IMAGE, still.machine, still.state, still.now)
    assert "30 identical images" in text and "`allow_still_images`" in text

    two = world().on().narrate()
    for index in range(20):
        two = two.see(source=OTHER if index % 2 else CAMERA)
    text = explain(Reason.SOURCE_CHANGED, two.machine, two.state, two.now)
    assert "19 times" in text and "leave one publisher" in text

    flicker = world().on()
    for index in range(20):
        flicker = flicker.narrate("cut tomato" if index % 2 else "cut the tomato").see()
    text = explain(Reason.HOLDING, flicker.machine, flicker.state, flicker.now)
    assert "started anew 19 times" in text and "another narration" in text

    over = world(options(image_timeout=9.0)).on().action(1.0).wait(2.0).narrate()
    text = explain(Reason.STALE_NARRATION, over.machine, over.state, over.now)
    assert "ended 1 s ago" in text and "another `action`" in text

    weak = world(calibration=calibration(0.2, 0.8)).on()
    text = explain(Reason.NOT_CALIBRATED, weak.machine, weak.state, weak.now)
    assert "0.2 at confidence 0.8" in text and "`max_risk` is 0.1" in text

    blind = world().on().narrate().see(Features(distance=7.0))
    text = explain(Reason.OUT_OF_DISTRIBUTION, blind.machine, blind.state, blind.now)
    assert "distance 7.00, limit 2.00" in text


def test_staleness_is_explained_by_what_it_comes_from() -> None:
    def told(now: World) -> str:
        assert Reason.STALE_IMAGE in reasons(now)
        return explain(Reason.STALE_IMAGE, now.machine, now.state, now.now)

    go = world().go()
    assert "came in 0.9 s ago, and no newer one" in told(go.wait(0.9))
    busy = go.wait(0.8).arrive()
    assert "while newer ones came in" in told(busy)
    assert "stamps that are 3 s old" in told(world().on().narrate().see(shift=-3.0))
    assert "3 s ahead of the clock" in told(world().on().narrate().see(shift=3.0))
    assert "no stamp" in told(world().on().narrate().see(shift=-2e9))
    still = dataclasses.replace(world(), simulated=True).go().wait(2.0, ros=0.0)
    assert "stood still for 2 s" in told(still)
    waiting = dataclasses.replace(world(), simulated=True, ros=0.0).on().narrate()
    waiting = dataclasses.replace(waiting.see(), ros=0.0)
    assert "/clock has not told any time yet" in told(waiting)
