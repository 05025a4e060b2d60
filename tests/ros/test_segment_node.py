"""The active node with raw images: outputs, gate over time, prompts and bad input."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from actiseg_msgs.msg import ActionNarration
from sensor_msgs.msg import Image

from tests.actiseg_ros.dummy_bundle import paint
from tests.ros.harness import Probe, Process, eventually, raw, running, scene

NAMESPACE = "/active"
HOLD = 3


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    # Times that also suit a busy machine; what happens when they are over is tested below.
    limits = {"hold_frames": HOLD, "image_timeout": 3.0, "narration_timeout": 120.0}
    with running("segment_node", NAMESPACE, log, bundle=bundle, **limits) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def connected(process: Process) -> Iterator[Probe]:
    probe = Probe(NAMESPACE)
    probe.matched()
    yield probe
    probe.close()


@pytest.fixture
def probe(connected: Probe) -> Probe:
    """The shared node, its state and candidate objects forgotten."""
    connected.set_objects([])
    assert connected.reset().success
    connected.decision("NO_IMAGE", "NO_NARRATION")
    return connected


def show(probe: Probe, rgb: np.ndarray | None = None, shift: float = 0.0) -> Image:
    message = probe.stamp(raw(scene() if rgb is None else rgb), shift)
    probe.images.publish(message)
    return message


def reach_go(probe: Probe, narration: str = "cut tomato") -> Any:
    probe.narrate(narration)
    return probe.decision(feed=lambda: show(probe))


def array_of(message: Image) -> np.ndarray:
    return np.frombuffer(message.data, np.uint8).reshape(message.height, message.width)


def test_every_output_of_one_image_carries_its_stamp_and_agrees(probe: Probe) -> None:
    probe.narrate("cut tomato")
    probe.decision(feed=lambda: show(probe))
    others = ("mask", "objects", "uncertainty", "overlay/compressed")
    before = {name: probe.count(name) for name in others}
    sent = show(probe)
    found = {name: probe.next(name, lambda m: m.header == sent.header) for name in ("grasp",)}
    for name in others:
        seen = [m for m in probe.since(name, before[name]) if m.header == sent.header]
        found[name] = seen[0] if seen else probe.next(name, lambda m: m.header == sent.header)
    mask, doubt = array_of(found["mask"]), array_of(found["uncertainty"])
    assert found["mask"].encoding == found["uncertainty"].encoding == "mono8"
    assert mask.shape == doubt.shape == (sent.height, sent.width)
    assert set(np.unique(doubt)) <= {0, 255}

    objects = found["objects"]
    assert objects.narration == "cut tomato"
    assert [entry.name for entry in objects.objects] == ["tomato", "left hand", "right hand"]
    assert [entry.label for entry in objects.objects] == [1, 2, 3]
    tomato = objects.objects[0]
    assert tomato.active_score > 0.75
    rows, columns = np.nonzero(mask == 1)
    assert tomato.area == len(rows) > 0
    assert (tomato.x, tomato.y) == (columns.min(), rows.min())
    assert (tomato.width, tomato.height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
    assert tomato.centroid_x == pytest.approx(columns.mean(), abs=0.01)
    assert tomato.centroid_y == pytest.approx(rows.mean(), abs=0.01)
    # The picture shows the tomato in this rectangle.
    assert mask[40:56, 56:88].all() and not mask[:20].any()

    grasp = found["grasp"]
    assert grasp.go and grasp.state == "GO" and grasp.target == "tomato" and not grasp.reasons
    assert grasp.p_uncertainty <= grasp.p_limit == 0.5
    assert grasp.n_uncertainty <= grasp.n_limit == 0.5
    assert 0 < grasp.latency <= grasp.age < 3.0
    overlay = found["overlay/compressed"]
    picture = cv2.imdecode(np.frombuffer(overlay.data, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (sent.height, sent.width, 3)


def test_points_are_published_only_when_asked_for(probe: Probe) -> None:
    names = {name for name, _ in probe.node.get_topic_names_and_types()}
    assert f"{NAMESPACE}/segment/mask" in names
    own = (f"{NAMESPACE}/{name}" for name in ("segment/active_points", "depth", "camera_info"))
    assert not names & set(own)


def test_go_needs_good_frames_in_a_row_and_one_bad_frame_ends_it(probe: Probe) -> None:
    probe.narrate("cut tomato")
    start = probe.count("grasp")
    reach_go(probe)
    stamps_before_go = {
        (m.header.stamp.sec, m.header.stamp.nanosec)
        for m in probe.since("grasp", start)
        if m.reasons == ["HOLDING"] and m.header.frame_id
    }
    assert len(stamps_before_go) >= HOLD - 1
    assert probe.next("go", lambda m: m.data)

    empty = scene()
    empty[:] = 128
    show(probe, empty)
    probe.next("grasp", lambda m: "NO_TARGET" in m.reasons)
    # One good frame does not bring it back.
    start = probe.count("grasp")
    show(probe)
    probe.decision("HOLDING")
    assert not any(m.go for m in probe.since("grasp", start))
    assert not probe.next("go").data


def test_no_go_soon_after_the_last_image_while_the_heartbeat_goes_on(probe: Probe) -> None:
    reach_go(probe)
    last = show(probe)
    stale = probe.decision("STALE_IMAGE")
    assert stale.age > 3.0
    assert stale.header == last.header
    for _ in range(10):
        assert not probe.next("go").data


def test_the_end_of_the_action_ends_go(probe: Probe) -> None:
    reach_go(probe)
    probe.narrate("")
    probe.decision("NO_NARRATION", feed=lambda: show(probe))


def test_without_narration_empty_outputs_still_come(probe: Probe) -> None:
    mask = probe.next("mask", feed=lambda: show(probe))
    assert not array_of(mask).any()
    assert not probe.next("objects", feed=lambda: show(probe)).objects


def test_a_frozen_camera_is_no_go(probe: Probe) -> None:
    reach_go(probe)
    still = scene()
    probe.decision("FROZEN_IMAGE", feed=lambda: show(probe, still))


def test_an_uncertified_duration_ends_with_stale_narration(probe: Probe) -> None:
    message = probe.stamp(ActionNarration(narration="cut tomato"))
    message.duration.sec = 5
    probe.actions.publish(message)
    probe.decision(feed=lambda: show(probe))
    probe.decision("STALE_NARRATION", feed=lambda: show(probe))


def test_an_action_that_is_already_over_is_stale_at_once(probe: Probe) -> None:
    message = probe.stamp(ActionNarration(narration="cut tomato"), shift=-60.0)
    message.duration.sec = 5
    probe.actions.publish(message)
    start = probe.count("grasp")
    probe.decision("STALE_NARRATION", feed=lambda: show(probe))
    assert not any(m.go for m in probe.since("grasp", start))


@pytest.mark.parametrize(
    ("shift", "seconds", "told"),
    [(0.0, -5, "`duration` is -5 s"), (-7200.0, 0, "action began 7.2e+03 s ago")],
    ids=["negative", "old"],
)
def test_impossible_and_old_times_of_an_action_never_go(
    probe: Probe, shift: float, seconds: int, told: str
) -> None:
    message = probe.stamp(ActionNarration(narration="cut tomato"), shift=shift)
    message.duration.sec = seconds
    start = probe.count("grasp")
    probe.actions.publish(message)
    probe.trouble("narration", told, feed=lambda: show(probe))
    reason = "NO_NARRATION" if seconds else "STALE_NARRATION"
    probe.decision(reason, feed=lambda: show(probe))
    for _ in range(5):
        probe.next("mask", feed=lambda: show(probe))
    assert not any(m.go for m in probe.since("grasp", start))


def test_the_action_names_candidates_and_target(probe: Probe) -> None:
    message = probe.stamp(ActionNarration(narration="cut tomato"))
    message.object_names = ["plate", "tomato", "plate"]
    message.target_name = "tomato"
    probe.actions.publish(message)
    probe.trouble("narration", "1 of 3 object names were empty or repeated")
    decision = probe.decision(feed=lambda: show(probe))
    assert decision.target == "tomato"
    objects = probe.next("objects", feed=lambda: show(probe))
    assert [entry.name for entry in objects.objects] == ["plate", "tomato"]
    # The plain narration of the same action must not take the candidates away.
    probe.narrate("cut tomato")
    objects = probe.next("objects", feed=lambda: show(probe))
    assert [entry.name for entry in objects.objects] == ["plate", "tomato"]


def test_a_target_that_is_no_candidate_is_never_replaced_by_a_guess(probe: Probe) -> None:
    message = probe.stamp(ActionNarration(narration="cut tomato"))
    message.object_names, message.target_name = ["tomato"], "chainsaw"
    probe.actions.publish(message)
    decision = probe.next("grasp", lambda m: "NO_TARGET" in m.reasons, feed=lambda: show(probe))
    assert decision.target == ""


def test_set_objects_serves_narrations_that_name_no_candidates(probe: Probe) -> None:
    answer = probe.set_objects(["tomato", " Tomato", "plate", ""])
    assert answer.success and answer.names == ["tomato", "plate"]
    assert "2 of 4" in answer.message
    reach_go(probe)
    objects = probe.next("objects", feed=lambda: show(probe))
    assert [entry.name for entry in objects.objects] == ["tomato", "plate"]


def test_a_thousand_objects_are_refused_and_go_ends(probe: Probe) -> None:
    thousand = [f"object {number}" for number in range(1000)]
    reach_go(probe)
    answer = probe.set_objects(thousand)
    assert not answer.success and "32" in answer.message
    probe.next("grasp", lambda m: "HOLDING" in m.reasons)
    probe.trouble("narration", "set_objects refused")
    reach_go(probe)
    probe.actions.publish(
        probe.stamp(ActionNarration(narration="cut tomato", object_names=thousand))
    )
    probe.decision("NO_NARRATION", feed=lambda: show(probe))
    probe.trouble("narration", "action message refused")


def test_reset_ends_go_and_starts_nothing(probe: Probe) -> None:
    reach_go(probe)
    assert probe.reset().success
    probe.next("grasp", lambda m: "NO_NARRATION" in m.reasons)
    start = probe.count("grasp")
    probe.decision("NO_NARRATION", feed=lambda: show(probe))
    assert not any(m.go for m in probe.since("grasp", start))


@pytest.mark.parametrize(
    ("narration", "note"),
    [
        ("tomato " * 2000, "was cut"),
        ("tomate schneiden mit größter Sorgfalt", "not English"),
        ("\x01\x02", "no word"),
        ("cortar la cebolla", "none of the known objects"),
    ],
    ids=["long", "german", "invisible", "spanish"],
)
def test_odd_narrations_are_told_and_harmless(probe: Probe, narration: str, note: str) -> None:
    probe.narrate(narration)
    probe.trouble("narration", note, feed=lambda: show(probe))
    reach_go(probe)


def test_a_narration_without_known_objects_has_no_target(probe: Probe) -> None:
    probe.narrate("sing a song")
    decision = probe.next("grasp", lambda m: "NO_TARGET" in m.reasons, feed=lambda: show(probe))
    assert decision.target == "" and not decision.go


def _zero_size() -> Image:
    return Image(encoding="rgb8")


def _cut_short() -> Image:
    message = raw(scene())
    message.data = message.data[:-100]
    return message


def _lying_step() -> Image:
    message = raw(scene())
    message.step -= 1
    return message


def _huge_claim() -> Image:
    return Image(encoding="rgb8", height=2**31, width=2**31, step=2**32 - 1)


def _unknown_encoding() -> Image:
    return raw(scene(), encoding="rgb7")


def _nan() -> Image:
    return _floats(np.full((64, 96, 3), np.nan, np.float32))


def _floats(picture: np.ndarray) -> Image:
    return raw(picture, encoding="32FC3")


def _depth() -> Image:
    return raw(np.full((64, 96), 1200, np.uint16), encoding="16UC1")


def _twelve_bits() -> Image:
    return raw(scene()[..., 0].astype(np.uint16) << 4, encoding="mono16")


BAD_IMAGES: list[tuple[Callable[[], Image], str]] = [
    (_zero_size, "`height` is 0"),
    (_cut_short, "`data` has"),
    (_lying_step, "`step` is"),
    (_huge_claim, "`height` is"),
    (_unknown_encoding, "rgb7"),
    (_nan, "NaN"),
    (_depth, "a depth picture"),
    (_twelve_bits, "12 bits or fewer in 16"),
]


@pytest.mark.parametrize(("make", "told"), BAD_IMAGES)
def test_bad_images_are_told_end_go_and_are_survived(
    probe: Probe, process: Process, make: Callable[[], Image], told: str
) -> None:
    reach_go(probe)
    probe.decision("BAD_IMAGE", feed=lambda: probe.images.publish(probe.stamp(make())))
    start = probe.count("grasp")
    probe.trouble("image", told, feed=lambda: probe.images.publish(probe.stamp(make())))
    assert not any(m.go for m in probe.since("grasp", start))
    assert "[ERROR]" in process.log
    reach_go(probe)


def test_every_cause_gets_its_log_line_however_soon_it_follows_another(
    bundle: Path, tmp_path: Path
) -> None:
    with running("segment_node", "/causes", tmp_path / "log", bundle=bundle) as process:
        probe = Probe("/causes", outputs=("grasp",))
        try:
            probe.matched()
            for make, told in BAD_IMAGES:
                probe.trouble("image", told, lambda m=make: probe.images.publish(probe.stamp(m())))
            for make, told in BAD_IMAGES:
                if make is not _huge_claim:  # the same as a height of 0 but for the number
                    assert told in process.log
            for text, told in [
                ("\N{TOMATO}\N{HOCHO}", "no word"),
                ("frobnicate the gizmo", "no target in 'frobnicate gizmo'"),
                (" ", "empty narration: the action ended"),
            ]:
                probe.narrate(text)
                eventually(lambda line=told: line in process.log, told)
        finally:
            probe.close()


def test_a_narration_without_target_is_told_as_long_as_it_is_current(probe: Probe) -> None:
    probe.narrate("sing a song")
    told = "none of the known objects"
    seen = [probe.trouble("narration", told) for _ in range(8)]
    assert all(text.count(told) == 1 for text in seen)
    probe.narrate("cut tomato")
    probe.next("diagnostics", lambda m: all(told not in status.message for status in m.status))


def test_images_without_stamp_are_fresh_only_by_their_arrival(probe: Probe) -> None:
    def feed() -> None:
        probe.images.publish(raw(scene()))

    probe.narrate("cut tomato")
    probe.decision("STALE_IMAGE", feed=feed)
    assert "stamp_source" in probe.trouble("image", "no stamp", feed=feed)
    assert probe.set_parameter("stamp_source", "arrival").successful
    try:
        probe.decision(feed=feed)
    finally:
        assert probe.set_parameter("stamp_source", "header").successful


@pytest.mark.parametrize(("shift", "told"), [(-100.0, "behind"), (100.0, "ahead")])
def test_stamps_of_another_clock_are_never_fresh(probe: Probe, shift: float, told: str) -> None:
    probe.narrate("cut tomato")
    probe.decision("STALE_IMAGE", feed=lambda: show(probe, shift=shift))
    assert "stamp_source" in probe.trouble("image", told, feed=lambda: show(probe, shift=shift))
    assert probe.set_parameter("stamp_source", "arrival").successful
    try:
        probe.decision(feed=lambda: show(probe, shift=shift))
    finally:
        assert probe.set_parameter("stamp_source", "header").successful


def test_limits_may_change_while_active_but_the_model_may_not(probe: Probe) -> None:
    assert probe.set_parameter("hold_frames", 10_000).reason
    refused = probe.set_parameter("bundle", "/elsewhere")
    assert not refused.successful and "deactivate" in refused.reason
    assert probe.set_parameter("hold_frames", 1000).successful
    try:
        probe.narrate("cut tomato")
        probe.decision("HOLDING", feed=lambda: show(probe))
    finally:
        assert probe.set_parameter("hold_frames", HOLD).successful
    reach_go(probe)


def test_the_data_array_of_a_received_image_is_not_copied_by_accident() -> None:
    # rclpy delivers `data` as array('B'); the decoder must take it as a buffer.
    assert isinstance(raw(paint({}, 4, 4)).data, array)
