"""The gate says go only on positive, fresh and sufficient evidence, and never otherwise."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiseg_ros.gate.calibration import Calibration
from actiseg_ros.gate.novelty import NoveltyDetector
from actiseg_ros.gate.rule import Features, Limits, Reason, judge
from actiseg_ros.gate.state import Decision, Gate, GateOptions

LIMITS = Limits(active_score=0.75, p_uncertainty=0.3, n_uncertainty=0.2, distance=2.0)
GOOD = Features("cup", True, 0.9, 0.1, 0.1, 1.0)
STEP = 0.1


class World:
    """A gate with a clock under control and a camera that works."""

    def __init__(self, certified: bool = True, calibrated: bool = True, **options: object) -> None:
        self.now = 1000.0
        novelty = NoveltyDetector(
            np.zeros(2), np.eye(2), np.ones(2), np.ones(()), np.zeros(3), np.zeros(())
        )
        calibration = Calibration(LIMITS, novelty, certified, {}) if calibrated else None
        self.gate = Gate(
            calibration,
            GateOptions(**options),
            clock=lambda: self.now,  # type: ignore[arg-type]
        )
        self.gate.set_active(True)
        self.gate.narration("take cup")
        self.digest = 0

    @property
    def ros(self) -> int:
        return round(self.now * 1e9)

    def frame(self, features: Features = GOOD, digest: int | None = None) -> Decision:
        self.now += STEP
        self.digest = self.digest + 1 if digest is None else digest
        self.gate.image_arrived(self.ros, self.digest)
        self.gate.judged(features, self.ros, self.digest, self.now)
        return self.decide()

    def decide(self) -> Decision:
        return self.gate.decide(self.ros)

    def go(self) -> "World":
        for _ in range(self.gate.options.hold_frames):
            decision = self.frame()
        assert decision.go
        return self


def test_go_comes_with_the_last_held_frame_and_not_before() -> None:
    world = World(hold_frames=4)
    seen = [world.frame() for _ in range(5)]
    assert [d.go for d in seen] == [False, False, False, True, True]
    assert seen[0].reasons == (Reason.HOLDING,)
    assert seen[3].reasons == () and seen[3].state == "GO" and seen[0].state == "NO_GO"


def test_a_new_gate_is_inactive_and_says_so() -> None:
    assert Gate(None).decide(0).reasons == (Reason.NOT_ACTIVE,)


def test_an_active_gate_without_anything_names_all_that_is_missing() -> None:
    gate = Gate(None)
    gate.set_active(True)
    assert gate.decide(0).reasons == (
        Reason.NOT_CALIBRATED,
        Reason.NO_IMAGE,
        Reason.NO_NARRATION,
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"drawn": False}, Reason.NO_TARGET),
        ({"target": ""}, Reason.NO_TARGET),
        ({"active_score": 0.7}, Reason.NO_TARGET),
        ({"p_uncertainty": 0.31}, Reason.P_UNCERTAIN),
        ({"n_uncertainty": 0.21}, Reason.N_UNCERTAIN),
        ({"distance": 2.01}, Reason.OUT_OF_DISTRIBUTION),
        ({"distance": math.inf}, Reason.OUT_OF_DISTRIBUTION),
        ({"active_score": math.nan}, Reason.NO_TARGET),
        ({"p_uncertainty": math.nan}, Reason.P_UNCERTAIN),
        ({"n_uncertainty": math.nan}, Reason.N_UNCERTAIN),
        ({"distance": math.nan}, Reason.OUT_OF_DISTRIBUTION),
    ],
)
def test_one_bad_frame_ends_it_and_the_count_starts_anew(
    change: dict[str, object], reason: Reason
) -> None:
    world = World().go()
    bad = world.frame(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert not bad.go and bad.reasons == (reason,)
    assert [world.frame().go for _ in range(3)] == [False, False, True]


def test_equal_to_the_limit_is_good() -> None:
    assert judge(Features("cup", True, 0.75, 0.3, 0.2, 2.0), LIMITS) == ()


def test_default_features_are_bad_in_every_respect() -> None:
    assert len(judge(Features(), LIMITS)) == 4


def test_limits_that_are_no_numbers_accept_nothing() -> None:
    assert len(judge(GOOD, Limits(*[math.nan] * 4))) == 4


@given(
    st.floats(0, 1), st.floats(0, 1), st.floats(0, 5), st.floats(0, 1), st.floats(0, 1),
    st.floats(0, 5),
)  # fmt: skip
def test_worse_evidence_never_turns_no_go_into_go(
    p: float, n: float, d: float, dp: float, dn: float, dd: float
) -> None:
    before = judge(Features("cup", True, 0.9, p, n, d), LIMITS)
    after = judge(Features("cup", True, 0.9, p + dp, n + dn, d + dd), LIMITS)
    assert set(before) <= set(after)


def test_silence_of_the_camera_ends_go_by_the_clock_alone() -> None:
    world = World(image_timeout=0.5).go()
    world.now += 0.4
    assert world.decide().go
    world.now += 0.2
    assert world.decide().reasons == (Reason.STALE_IMAGE,)
    assert not world.frame().go


@pytest.mark.parametrize("offset", [-0.6, 0.6, -1e6])
def test_stamps_far_from_now_are_stale_even_if_just_arrived(offset: float) -> None:
    world = World()
    for index in range(5):
        world.now += STEP
        stamp = world.ros + round(offset * 1e9)
        world.gate.image_arrived(stamp, index)
        world.gate.judged(GOOD, stamp, index, world.now)
        assert world.decide().reasons == (Reason.STALE_IMAGE,)


@pytest.mark.parametrize(("stamp", "clock"), [(0, 10**8), (10**8, 0), (0, 0)])
def test_an_unknown_stamp_or_time_is_stale_also_where_the_clock_begins(
    stamp: int, clock: int
) -> None:
    world = World(hold_frames=1)
    world.gate.image_arrived(stamp, 1)
    world.gate.judged(GOOD, stamp, 1, world.now)
    decision = world.gate.decide(clock)
    assert decision.reasons == (Reason.STALE_IMAGE,) and math.isnan(decision.age)


def test_a_hanging_model_is_stale_although_images_arrive() -> None:
    world = World().go()
    for index in range(8):
        world.now += STEP
        world.gate.image_arrived(world.ros, 10_000 + index)
    assert world.decide().reasons == (Reason.STALE_IMAGE,)


def test_identical_images_are_a_frozen_camera_although_stamps_advance() -> None:
    world = World(frozen_frames=4).go()
    seen = [world.frame(digest=world.digest) for _ in range(5)]
    assert [d.go for d in seen] == [True, True, False, False, False]
    assert seen[2].reasons == (Reason.FROZEN_IMAGE,)


def test_a_slow_frozen_camera_is_found_by_time() -> None:
    world = World(frozen_frames=100, image_timeout=0.35).go()
    reasons = [world.frame(digest=world.digest).reasons for _ in range(5)]
    assert reasons[-1] == (Reason.FROZEN_IMAGE,)


def test_a_recording_in_a_loop_is_no_frozen_camera() -> None:
    world = World(frozen_frames=4).go()
    assert all(world.frame(digest=index % 2 + 1).go for index in range(10))


def test_a_camera_that_was_frozen_and_works_again_reaches_go() -> None:
    world = World(frozen_frames=4).go()
    assert not [world.frame(digest=1) for _ in range(9)][-1].go
    world.digest = 100
    assert [world.frame().go for _ in range(3)] == [False, False, True]


def test_repeated_frames_do_not_count_as_evidence() -> None:
    world = World(hold_frames=3, frozen_frames=50, image_timeout=5.0)
    assert not any(world.frame(digest=7).go for _ in range(10))
    for _ in range(10):  # the same stamp again and again
        world.digest += 1
        world.gate.image_arrived(world.ros, world.digest)
        world.gate.judged(GOOD, world.ros, world.digest, world.now)
        assert not world.decide().go


def test_time_running_backwards_starts_the_count_anew() -> None:
    world = World(image_timeout=5.0).go()
    world.gate.judged(GOOD, world.ros - 10**9, 99, world.now)
    assert world.decide().reasons == (Reason.HOLDING,)


def test_narration_expires_after_its_own_duration() -> None:
    world = World(image_timeout=100.0, narration_timeout=50.0)
    world.gate.narration("take cup", duration=1.0)
    world.go()
    world.now += 1.0
    assert world.decide().reasons == (Reason.STALE_NARRATION,)


def test_narration_without_duration_has_the_timeout() -> None:
    world = World(image_timeout=100.0, narration_timeout=5.0).go()
    world.now += 5.0
    assert world.decide().reasons == (Reason.STALE_NARRATION,)


def test_empty_narration_ends_the_action() -> None:
    world = World().go()
    world.gate.narration("")
    assert world.decide().reasons == (Reason.NO_NARRATION,)


def test_a_repeated_narration_keeps_the_evidence_and_a_new_one_drops_it() -> None:
    world = World().go()
    world.gate.narration("take cup")
    assert world.decide().go
    world.gate.narration("cut pepper")
    assert world.decide().reasons == (Reason.HOLDING,)


def test_without_narration_a_working_camera_is_not_called_stale() -> None:
    world = World().go()
    world.gate.narration("take cup", duration=0.2)
    for index in range(20):
        world.now += STEP
        world.gate.image_arrived(world.ros, 5_000 + index)
    assert world.decide().reasons == (Reason.STALE_NARRATION,)


def test_changed_objects_drop_the_evidence() -> None:
    world = World().go()
    world.gate.prompt_changed()
    assert world.decide().reasons == (Reason.HOLDING,)


def test_inference_errors_and_bad_images_end_go() -> None:
    world = World().go()
    world.gate.inference_failed()
    assert world.decide().reasons == (Reason.INFERENCE_ERROR,)
    assert [world.frame().go for _ in range(3)] == [False, False, True]
    world.gate.image_rejected()
    assert world.decide().reasons == (Reason.BAD_IMAGE,)
    assert [world.frame().go for _ in range(3)] == [False, False, True]


def test_a_good_image_that_is_not_judged_clears_the_bad_one() -> None:
    world = World()
    world.gate.image_rejected()
    world.gate.image_accepted()
    assert Reason.BAD_IMAGE not in world.decide().reasons


def test_uncalibrated_never_goes() -> None:
    world = World(calibrated=False)
    decisions = [world.frame() for _ in range(10)]
    assert {d.reasons for d in decisions} == {(Reason.NOT_CALIBRATED,)}
    assert math.isnan(decisions[-1].p_limit)


def test_a_missing_certificate_can_be_made_a_reason() -> None:
    world = World(certified=False, require_certificate=True)
    assert [world.frame().reasons for _ in range(5)][-1] == (Reason.NOT_CALIBRATED,)
    World(certified=False).go()


def test_deactivation_and_reset_forget_everything() -> None:
    world = World().go()
    world.gate.set_active(False)
    assert world.decide().reasons == (Reason.NOT_ACTIVE,)
    world.gate.set_active(True)
    assert not world.decide().go
    world.gate.narration("take cup")
    world.go()
    world.gate.reset()
    assert world.decide().reasons == (Reason.NO_IMAGE, Reason.NO_NARRATION)


def test_decision_reports_the_image_judged() -> None:
    world = World().go()
    stamp = world.ros
    world.now += 0.25
    decision = world.decide()
    assert decision.stamp_ns == stamp and decision.target == "cup"
    assert decision.age == pytest.approx(0.25) and decision.latency == pytest.approx(0.0)
    assert (decision.p_limit, decision.n_limit) == (0.3, 0.2)


@pytest.mark.parametrize(
    "options",
    [{"hold_frames": 0}, {"image_timeout": 0.0}, {"image_timeout": math.nan},
     {"narration_timeout": -1.0}, {"frozen_frames": 1}],
)  # fmt: skip
def test_options_cannot_switch_a_check_off(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        GateOptions(**options)  # type: ignore[arg-type]


EVENTS = st.lists(
    st.sampled_from(
        ["good", "bad", "repeat", "wait", "narrate", "end", "reject", "fail", "prompt", "reset",
         "off", "on"]
    ),
    max_size=40,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(EVENTS)
def test_go_needs_the_last_frames_good_distinct_and_undisturbed(events: list[str]) -> None:
    """Whatever happens, go implies that the last `hold_frames` frames were good and fresh."""
    world = World(hold_frames=3)
    run, seen = 0, False
    for event in events:
        actions = {
            "good": world.frame,
            "bad": lambda: world.frame(dataclasses.replace(GOOD, drawn=False)),
            "repeat": lambda: world.frame(digest=world.digest),
            "narrate": lambda: world.gate.narration("take cup"),
            "end": lambda: world.gate.narration(""),
            "reject": world.gate.image_rejected,
            "fail": world.gate.inference_failed,
            "prompt": world.gate.prompt_changed,
            "reset": world.gate.reset,
            "off": lambda: world.gate.set_active(False),
            "on": lambda: world.gate.set_active(True),
        }
        if event == "wait":
            world.now += 1.0
        else:
            actions[event]()
        # The first image after a reset repeats nothing.
        if event == "good" or (event == "repeat" and not seen):
            run += 1
        elif event not in ("repeat", "narrate"):
            run = 0
        if event in ("good", "bad", "repeat"):
            seen = True
        elif event in ("reset", "off", "on"):
            seen = False
        decision = world.decide()
        assert decision.go == (not decision.reasons)
        if decision.go:
            assert run >= 3
