"""The node as a class: in a user's process and executor, beside others, with other bundles."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from rclpy.executors import MultiThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from sensor_msgs.msg import Image

from actiseg_ros.pipeline import Result
from actiseg_ros.ros.result_publisher import ResultPublisher
from actiseg_ros.ros.segment_node import SegmentNode
from tests.actiseg_ros.dummy_bundle import write_dummy_bundle
from tests.ros.conftest import LIMITS
from tests.ros.faults import resident
from tests.ros.harness import Probe, eventually, raw, running, scene
from tests.ros.test_decision import heavy


def show(probe: Probe) -> None:
    probe.images.publish(probe.stamp(raw(scene())))


def node(namespace: str, bundle: Path) -> SegmentNode:
    values = {"bundle": str(bundle), "image_timeout": 3.0, "narration_timeout": 120.0}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    return SegmentNode(namespace=namespace, parameter_overrides=overrides)


def test_two_nodes_in_one_process_and_executor(bundle: Path) -> None:
    before = set(threading.enumerate())
    nodes = [node("/left", bundle), node("/right", bundle)]
    executor = MultiThreadedExecutor(num_threads=3)
    for each in nodes:
        executor.add_node(each)
    spinning = threading.Thread(target=executor.spin, daemon=True)
    spinning.start()
    probes = [Probe("/left", outputs=("grasp",)), Probe("/right", outputs=("grasp",))]
    try:
        for each in nodes:
            assert each.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert each.trigger_activate() == TransitionCallbackReturn.SUCCESS
        for probe in probes:
            probe.matched()
        probes[0].narrate("cut tomato")
        probes[0].decision(feed=lambda: [show(probe) for probe in probes])
        probes[1].decision("NO_NARRATION", feed=lambda: show(probes[1]))
        # The heartbeat of one goes on when the other ends, and when nobody spins.
        nodes[0].destroy_node()
        assert probes[0].since("grasp", 0)[-1].reasons == ["NOT_ACTIVE"]
        executor.shutdown()
        spinning.join(10)
        for _ in range(5):
            probes[1].next("grasp")
        nodes[1].destroy_node()
    finally:
        for probe in probes:
            probe.close()
    left = {thread.name for thread in set(threading.enumerate()) - before}
    assert not left & {"heartbeat", "inference", "pictures", "points"}


def test_an_error_in_a_transition_is_told_and_the_node_starts_anew(bundle: Path) -> None:
    one = node("/erring", bundle)
    probe = Probe("/erring", outputs=("grasp",))
    try:
        for _ in range(2):
            assert one.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert one.trigger_activate() == TransitionCallbackReturn.SUCCESS
            probe.next("grasp", lambda m: "NO_IMAGE" in m.reasons)

            def broken() -> None:
                raise OSError("the disk is gone")

            one._pipeline.deactivate = broken
            assert one.trigger_deactivate() == TransitionCallbackReturn.ERROR
            assert one._state_machine.current_state[1] == "unconfigured"
            assert one.failed is not None and "cannot deactivate: the disk" in one.failed.text
            # Nothing of before is left: no network, no worker, no listening, and no go.
            assert one._pipeline is None and one._worker is None
            assert probe.images.get_subscription_count() == 0
            probe.decision("NOT_ACTIVE")
    finally:
        one.destroy_node()
        probe.close()


def test_what_nobody_listens_to_is_not_made() -> None:
    node = rclpy.create_node("quiet", namespace="/quiet")
    try:
        failures: list[Exception] = []
        publisher = ResultPublisher(node, failures.append)
        publisher.start()
        # Of this nothing can be made: whoever tries finds no labels.
        result = Result(None, None, 0, segmentation=object())  # type: ignore[arg-type]
        rgb = np.zeros((4, 4, 3), np.uint8)
        publisher.publish(result, rgb, None)  # type: ignore[arg-type]
        publisher.publish_pictures(result, rgb, None, None)  # type: ignore[arg-type]
        node.create_subscription(Image, "quiet/mask", lambda message: None, 1)
        eventually(lambda: publisher._mask.get_subscription_count(), "a listener")
        with pytest.raises(AttributeError):
            publisher.publish(result, rgb, None)  # type: ignore[arg-type]
        publisher.stop()
        assert not failures
    finally:
        node.destroy_node()


def test_an_impossible_parameter_is_an_error_of_the_constructor(bundle: Path) -> None:
    with pytest.raises(ValueError, match="hold_frames"):
        SegmentNode(
            namespace="/impossible", parameter_overrides=[Parameter("hold_frames", value=0)]
        )


def test_another_bundle_while_the_process_runs_and_memory_comes_back(
    bundle: Path, tmp_path: Path
) -> None:
    large = heavy(tmp_path / "large", load=True)
    renamed = tmp_path / "renamed"
    shutil.copytree(bundle, renamed)
    other = write_dummy_bundle(tmp_path / "other", limits=LIMITS | {"p_uncertainty": 0.4})
    values = {"autostart": False, "image_timeout": 3.0, "narration_timeout": 120.0}
    with running("segment_node", "/again", tmp_path / "log", bundle=bundle, **values) as process:
        probe = Probe("/again", outputs=("grasp",))
        pid = process.popen.pid

        def run_with(folder: Path) -> str:
            assert probe.set_parameter("bundle", str(folder)).successful
            assert probe.transition(Transition.TRANSITION_CONFIGURE)
            assert probe.transition(Transition.TRANSITION_ACTIVATE)
            probe.matched()
            probe.narrate("cut tomato")
            decision = probe.decision(feed=lambda: show(probe))
            loaded.append(resident(pid))
            assert probe.transition(Transition.TRANSITION_DEACTIVATE)
            assert probe.transition(Transition.TRANSITION_CLEANUP)
            idle = probe.next("grasp", lambda m: m.reasons == ["NOT_ACTIVE"])
            assert idle.model_id == idle.calibration_id == ""
            empty.append(resident(pid))
            return str(decision.calibration_id)

        loaded: list[float] = []
        empty: list[float] = []
        try:
            probe.decision("NOT_ACTIVE")
            first = run_with(bundle)
            assert run_with(other) != first
            run_with(large)
            assert run_with(renamed) == first
        finally:
            probe.close()
    assert loaded[2] > loaded[0] + 250, "the bundle was meant to be large"
    assert empty[2] < empty[0] + 60, f"loaded {loaded}, after cleanup {empty} MiB"


def test_a_full_garbage_collection_is_no_pause() -> None:
    code = (
        "import gc, actiseg_ros.ros.segment_node\n"
        "from actiseg_ros.ros.start import start_ros\n"
        "assert start_ros('segment_node', [])\n"
        "print(gc.get_freeze_count(), len(gc.get_objects()))\n"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    set_aside, looked_at = map(int, done.stdout.split())
    assert set_aside > 10 * looked_at
