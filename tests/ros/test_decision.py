"""The contract of the decision: heartbeat, numbers, validity, one publisher, and the last word."""

from __future__ import annotations

import itertools
import math
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from actiseg_msgs.msg import ActiveObjectArray, GraspDecision
from lifecycle_msgs.msg import Transition
from onnx import numpy_helper
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Bool

from actiseg_ros.ros.decision_publisher import decision_qos
from tests.actiseg_ros.dummy_bundle import HEIGHT, WIDTH, recalibrate, write_dummy_bundle
from tests.ros.conftest import LIMITS
from tests.ros.harness import Probe, Process, eventually, raw, running, scene
from tests.ros.test_keep_latest import burden

NAMESPACE = "/decision"
RATE = 5.0


def nanoseconds(stamp: Any) -> int:
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    values = {"image_timeout": 3.0, "narration_timeout": 120.0, "heartbeat_rate": RATE}
    with running("segment_node", NAMESPACE, log, bundle=bundle, **values) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def probe(process: Process) -> Iterator[Probe]:
    probe = Probe(NAMESPACE, outputs=("grasp", "go"))
    probe.matched()
    yield probe
    probe.close()


def show(probe: Probe) -> Image:
    message = probe.stamp(raw(scene()))
    probe.images.publish(message)
    return message


def reach_go(probe: Probe) -> GraspDecision:
    probe.narrate("cut tomato")
    return probe.decision(feed=lambda: show(probe))


def test_a_decision_says_who_decides_how_sure_and_until_when(probe: Probe) -> None:
    decision = reach_go(probe)
    assert (decision.target, decision.target_label) == ("tomato", 1)
    assert (decision.risk, decision.confidence) == (0.1, 0.9)
    assert len(decision.model_id) == len(decision.calibration_id) == 64
    values = probe.values("gate")
    assert values["calibration"] == decision.calibration_id and values["certified"] == "True"
    assert probe.values("model")["model"] == decision.model_id
    decided, until = nanoseconds(decision.decided), nanoseconds(decision.valid_until)
    assert 0 < until - decided <= 3e9
    assert until == pytest.approx(nanoseconds(decision.header.stamp) + 3e9, abs=3e8)
    probe.narrate("")
    no_go = probe.next("grasp", lambda m: "NO_NARRATION" in m.reasons)
    assert no_go.valid_until == no_go.decided


def test_decisions_are_numbered_without_a_gap_and_in_order_of_time(probe: Probe) -> None:
    start = probe.count("grasp")
    reach_go(probe)
    for _ in range(10):
        probe.next("grasp", feed=lambda: show(probe))
    decisions = probe.since("grasp", start)
    numbers = [decision.sequence for decision in decisions]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    times = [nanoseconds(decision.decided) for decision in decisions]
    assert times == sorted(times)
    for decision in decisions:
        assert decision.go == (not decision.reasons)
        assert decision.state == ("GO" if decision.go else "NO_GO")


def test_mask_and_objects_of_an_image_come_before_a_decision_about_it(probe: Probe) -> None:
    published: dict[str, dict[int, int]] = {"mask": {}, "objects": {}, "grasp": {}}
    kinds = {"mask": Image, "objects": ActiveObjectArray, "grasp": GraspDecision}
    handles = []
    for name, kind in kinds.items():

        def keep(message: Any, info: dict[str, int], name: str = name) -> None:
            stamp = nanoseconds(message.header.stamp)
            published[name].setdefault(stamp, info["source_timestamp"])

        handles.append(probe.node.create_subscription(kind, f"segment/{name}", keep, 50))
    probe.narrate("cut tomato")
    for _ in range(20):
        probe.next("grasp", feed=lambda: show(probe))
    common = set(published["mask"]) & set(published["objects"]) & set(published["grasp"]) - {0}
    for handle in handles:
        probe.destroy(handle)
    assert len(common) >= 10
    for stamp in common:
        assert published["mask"][stamp] <= published["grasp"][stamp]
        assert published["objects"][stamp] <= published["grasp"][stamp]


@pytest.mark.parametrize("topic", ["go", "grasp"])
def test_a_second_publisher_on_the_decision_is_an_error_and_no_go(
    probe: Probe, process: Process, topic: str
) -> None:
    reach_go(probe)
    kind = Bool if topic == "go" else GraspDecision
    other = probe.node.create_publisher(kind, f"segment/{topic}", 1)
    try:
        probe.decision("SECOND_PUBLISHER", feed=lambda: show(probe))
        start = probe.count("grasp")
        assert "stop the other one" in probe.trouble("gate", "SECOND_PUBLISHER")
        assert "[ERROR]" in process.log and "another publisher" in process.log
        for _ in range(5):
            probe.next("grasp", feed=lambda: show(probe))
        assert not any(decision.go for decision in probe.since("grasp", start))
    finally:
        probe.destroy(other)
    probe.decision(feed=lambda: show(probe))


def test_two_nodes_of_one_name_never_go(probe: Probe, bundle: Path, tmp_path: Path) -> None:
    reach_go(probe)
    with running("segment_node", NAMESPACE, tmp_path / "log", bundle=bundle):
        # Discovery takes its time; the new node, which was told nothing, may know first.
        probe.next(
            "grasp",
            lambda m: "SECOND_PUBLISHER" in m.reasons and "NO_NARRATION" not in m.reasons,
            feed=lambda: show(probe),
        )
        probe.next("grasp", feed=lambda: show(probe))
        start = probe.count("go")
        for _ in range(20):
            probe.next("grasp", feed=lambda: show(probe))
        assert not any(message.data for message in probe.since("go", start))
    probe.decision(feed=lambda: show(probe))


def products_lasting(seconds: float, folder: Path) -> int:
    """How many products make one run of the network last that long on this machine."""
    graph = write_dummy_bundle(folder) / "image_encoder.onnx"
    burden(graph, size=1500, products=10)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(graph), options)
    frames = np.zeros((1, 3, HEIGHT, WIDTH), np.float32)
    began = time.perf_counter()
    session.run(None, {"frames": frames})
    return math.ceil(10 * seconds / (time.perf_counter() - began))


def heavy(folder: Path, *, load: bool, products: int = 0) -> Path:
    """A bundle that takes long to load, or long to run."""
    write_dummy_bundle(folder, limits=LIMITS)
    graph = folder / "image_encoder.onnx"
    if products:
        burden(graph, size=1500, products=products)
    if load:
        model = onnx.load(graph)
        make = onnx.helper.make_node
        for node in model.graph.node:
            if node.output[0] == "cells":
                node.output[0] = "_unladen"
        # A row that depends on the image, so that nothing can be left out or computed before.
        model.graph.node.extend(
            [
                make("ReduceMean", ["frames"], ["_brightness"], keepdims=0),
                make("Cast", ["_brightness"], ["_row"], to=onnx.TensorProto.INT64),
                make("Gather", ["_ballast", "_row"], ["_taken"]),
                make("ReduceMean", ["_taken"], ["_mean_taken"], keepdims=0),
                make("Mul", ["_mean_taken", "_none"], ["_nil"]),
                make("Add", ["_unladen", "_nil"], ["cells"]),
            ]
        )
        ballast = np.random.default_rng(0).standard_normal((9000, 9000)).astype(np.float32)
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(ballast, "_ballast"),
                numpy_helper.from_array(np.float32(0), "_none"),
            ]
        )
        onnx.checker.check_model(model)
        onnx.save(model, graph)
    recalibrate(folder)
    return folder


def longest_silence(probe: Probe, name: str, start: int) -> float:
    with probe._changed:
        times = [when for when, _ in probe.received[name][start:]]
    return max(late - early for early, late in itertools.pairwise(times))


@pytest.mark.slow  # a heavy graph, minutes where others compute too
def test_the_heartbeat_never_pauses(tmp_path: Path) -> None:
    """Not while a model loads, a transition runs, or a worker that hangs is stopped."""
    products = products_lasting(6.0, tmp_path / "measured")
    slow = heavy(tmp_path / "slow", load=True, products=products)
    values = {"autostart": False, "heartbeat_rate": RATE, "threads": 1, "image_timeout": 30.0}
    with running("segment_node", "/beat", tmp_path / "log", bundle=slow, **values) as process:
        probe = Probe("/beat", outputs=("grasp", "go"))
        try:
            probe.decision("NOT_ACTIVE")
            start = {name: probe.count(name) for name in ("grasp", "go")}
            began = time.monotonic()
            assert probe.transition(Transition.TRANSITION_CONFIGURE)
            loading = time.monotonic() - began
            assert probe.transition(Transition.TRANSITION_ACTIVATE)
            probe.matched()
            probe.narrate("cut tomato")
            probe.next("grasp", lambda m: "NO_NARRATION" not in m.reasons, feed=lambda: show(probe))
            show(probe)
            time.sleep(0.5)  # the network is at work, for several seconds
            began = time.monotonic()
            assert probe.transition(Transition.TRANSITION_DEACTIVATE)
            stopping = time.monotonic() - began
            probe.decision("NOT_ACTIVE")
            # A second network beside the one that hangs would be evidence of yesterday.
            refused = not probe.transition(Transition.TRANSITION_ACTIVATE)
            told = refused and probe.trouble("lifecycle", "has hung for")
            silences = {name: longest_silence(probe, name, start[name]) for name in start}
            eventually(lambda: probe.transition(Transition.TRANSITION_ACTIVATE), "activation")
            assert process.popen.poll() is None
        finally:
            probe.close()
    assert loading > 0.5 and stopping > 1.9, "the bundle was meant to be slow"
    assert refused and told
    for name, silence in silences.items():
        assert silence <= 2 / RATE + 0.05, f"{name} was silent for {silence:.2f} s"


def test_what_waits_for_the_network_does_not_survive_a_reset(tmp_path: Path) -> None:
    slow = heavy(tmp_path / "slow", load=False, products=12)
    values = {"threads": 1, "image_timeout": 30.0, "hold_frames": 1}
    with running("segment_node", "/slot", tmp_path / "log", bundle=slow, **values):
        probe = Probe("/slot", outputs=("grasp", "mask"))
        try:
            probe.matched()
            probe.narrate("cut tomato")
            probe.next("mask", feed=lambda: show(probe), period=0.02)
            for _ in range(10):  # one is at work, one waits
                show(probe)
                time.sleep(0.02)
            probe.reset()
            reset = probe.node.get_clock().now().nanoseconds
            start = probe.count("mask")
            probe.narrate("cut tomato")
            time.sleep(2.0)
            stamps = [nanoseconds(mask.header.stamp) for mask in probe.since("mask", start)]
            assert all(stamp > reset for stamp in stamps)
            probe.next("mask", feed=lambda: show(probe))
        finally:
            probe.close()


def test_every_signal_that_ends_a_process_leaves_a_no_go(bundle: Path, tmp_path: Path) -> None:
    probe = Probe("/signalled", outputs=("grasp", "go"))
    try:
        for number in (signal.SIGHUP, signal.SIGQUIT, signal.SIGSEGV):
            log = tmp_path / f"log{number}"
            with running("segment_node", "/signalled", log, bundle=bundle) as process:
                probe.next("grasp", lambda m: "NOT_ACTIVE" not in m.reasons)
                probe.decision(feed=lambda: (probe.narrate("cut tomato"), show(probe)))
                start = probe.count("go")
                assert process.stop(number) == 0, process.log
                time.sleep(0.5)
                assert probe.count("go") > start
                assert not probe.since("go", 0)[-1].data
                assert probe.since("grasp", 0)[-1].reasons == ["NOT_ACTIVE"]
                assert "Traceback" not in process.log
    finally:
        probe.close()


def test_a_consumer_stops_when_the_node_is_killed_or_doubled(bundle: Path, tmp_path: Path) -> None:
    values = {"image_timeout": 3.0, "narration_timeout": 120.0, "heartbeat_rate": RATE}
    allowed: list[tuple[float, bool]] = []
    with running(
        "consumer_node", "/consumed", tmp_path / "consumer", heartbeat_rate=RATE
    ) as consumer:
        with running(
            "segment_node", "/consumed", tmp_path / "log", bundle=bundle, **values
        ) as node:
            probe = Probe("/consumed", outputs=("grasp",))
            probe.node.create_subscription(
                Bool,
                "consumer/motion_allowed",
                lambda m: allowed.append((time.monotonic(), m.data)),
                QoSProfile(depth=1),
            )
            try:
                probe.matched()
                reach_go(probe)
                eventually(lambda: show(probe) and allowed and allowed[-1][1], "motion allowed")
                # Decisions of two sources.
                other = probe.node.create_publisher(GraspDecision, "segment/grasp", 1)
                eventually(lambda: show(probe) and not allowed[-1][1], "a stop")
                probe.destroy(other)
                eventually(lambda: show(probe) and allowed[-1][1], "motion allowed again")
                node.popen.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                eventually(lambda: not allowed[-1][1], "a stop")
                stopped = next(when for when, data in allowed if when > killed and not data)
                assert stopped - killed <= 2 / RATE + 0.25
                time.sleep(1.0)
                assert not any(data for when, data in allowed if when >= stopped)
            finally:
                probe.close()
        assert "motion allowed" in consumer.log and "stop: " in consumer.log


def test_a_consumer_stops_at_skipped_and_expired_decisions(tmp_path: Path) -> None:
    allowed: list[bool] = []
    with running("consumer_node", "/fed", tmp_path / "consumer", heartbeat_rate=RATE) as consumer:
        probe = Probe("/fed", outputs=())
        publisher = probe.node.create_publisher(
            GraspDecision, "segment/grasp", decision_qos(1 / RATE)
        )
        probe.node.create_subscription(
            Bool, "consumer/motion_allowed", lambda m: allowed.append(m.data), QoSProfile(depth=1)
        )
        sequence = 0

        def decide(left: float = 60.0, skip: int = 0, go: bool = True, ahead: float = 0) -> None:
            nonlocal sequence
            sequence += 1 + skip
            now = probe.node.get_clock().now().nanoseconds
            message = GraspDecision(go=go, sequence=sequence)
            until = message.valid_until
            until.sec, until.nanosec = divmod(now + int(left * 1e9), 10**9)
            decided = message.decided
            decided.sec, decided.nanosec = divmod(now + int(ahead * 1e9), 10**9)
            publisher.publish(message)

        def moves() -> bool:
            decide()
            time.sleep(0.12)
            return bool(allowed and allowed[-1])

        def stops(why: str, **decision: Any) -> None:
            """A decision, after some that allow motion, ends it for a reason of its own."""
            eventually(moves, "motion allowed")
            said = len(consumer.log)
            decide(**decision)
            eventually(lambda: re.search(f"stop: {why}", consumer.log[said:]), why)
            eventually(lambda: not allowed[-1], "a stop")

        try:
            eventually(publisher.get_subscription_count, "the consumer")
            eventually(moves, "motion allowed")
            stops(r"decision \d+ follows", skip=1)
            stops("no-go", go=False)
            stops("the decision has expired", left=-0.01)
            stops("the decision is 5 s ahead of this node's clock", ahead=5.0)
            stops(r"decision (\d+) follows \1", skip=-1)
            eventually(moves, "motion allowed")
            said = len(consumer.log)
            eventually(lambda: "stop: decisions " in consumer.log[said:], "silence")
            eventually(lambda: not allowed[-1], "a stop")
            eventually(moves, "motion allowed")
            decide()
            assert consumer.stop(signal.SIGTERM) == 0
            eventually(lambda: not allowed[-1], "a last no")
            assert "stop: this node ends" in consumer.log
        finally:
            probe.close()


def test_an_uncertified_bundle_is_no_go_unless_allowed_and_then_warns(tmp_path: Path) -> None:
    bundle = write_dummy_bundle(tmp_path / "bundle", limits=LIMITS, certified=False)
    values = {"image_timeout": 3.0, "narration_timeout": 120.0}
    with running("segment_node", "/weak", tmp_path / "log", bundle=bundle, **values):
        probe = Probe("/weak", outputs=("grasp",))
        try:
            probe.matched()
            probe.narrate("cut tomato")
            decision = probe.decision("NOT_CALIBRATED", feed=lambda: show(probe))
            assert math.isnan(decision.risk) and math.isnan(decision.confidence)
            told = probe.trouble("gate", "no certificate", feed=lambda: show(probe))
            assert "`require_certificate`" in told
            assert probe.set_parameter("require_certificate", False).successful
            probe.decision(feed=lambda: show(probe))
            probe.trouble("gate", "goes uncertified", feed=lambda: show(probe))
        finally:
            probe.close()


def test_a_robot_that_accepts_less_risk_than_is_certified_does_not_go(probe: Probe) -> None:
    reach_go(probe)
    for name, strict, usual in (("max_risk", 0.05, 0.1), ("min_confidence", 0.95, 0.9)):
        assert probe.set_parameter(name, strict).successful
        try:
            probe.decision("NOT_CALIBRATED", feed=lambda: show(probe))
            assert f"`{name}`" in probe.trouble("gate", "certifies a risk of 0.1")
        finally:
            assert probe.set_parameter(name, usual).successful
        probe.decision(feed=lambda: show(probe))
