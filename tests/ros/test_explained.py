"""What would leave its reader guessing: the node says why, with numbers and the remedy."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from tests.actiseg_ros.dummy_bundle import recalibrate, write_dummy_bundle
from tests.ros.conftest import LIMITS
from tests.ros.harness import EXECUTABLES, Probe, eventually, raw, running, scene
from tests.ros.test_keep_latest import burden


def show(probe: Probe) -> None:
    probe.images.publish(probe.stamp(raw(scene())))


def test_a_typo_in_a_quality_of_service_is_named_and_the_node_stays_inactive(
    bundle: Path, tmp_path: Path
) -> None:
    name = "qos_overrides./typo/image.subscription.reliability"
    with running(
        "segment_node", "/typo", tmp_path / "log", bundle=bundle, **{name: "bestest"}
    ) as process:
        probe = Probe("/typo", outputs=("grasp",))
        try:
            told = probe.trouble("lifecycle", "cannot activate")
            assert "bestest" in told and name in told
            time.sleep(6.0)  # longer than a problem of the moment is shown
            probe.trouble("lifecycle", name)
            assert "[ERROR]" in process.log and name in process.log
            assert probe.state() == "inactive"
            probe.decision("NOT_ACTIVE")
        finally:
            probe.close()


def test_parameters_and_files_that_nobody_took_are_named(bundle: Path, tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("/**/segment_left:\n  ros__parameters:\n    hold_frames: 50\n")
    fitting = tmp_path / "fitting.yaml"
    fitting.write_text("misspelt:\n  segment:\n    ros__parameters:\n      image_timeout: 3.0\n")
    odd = {
        "hold_frame": 50,
        "requirecertificate": True,
        "qos_overrides./misspelt/imagine.subscription.depth": 3,
    }
    with running(
        *("segment_node", "/misspelt", tmp_path / "log"),
        files=(file, fitting),
        bundle=bundle,
        **odd,
        **{"left:image_timeout": 2.0},
    ) as process:
        eventually(lambda: "active: listening" in process.log, "activation")
        for name in odd:
            eventually(lambda name=name: f"`{name}` does not exist" in process.log, name)
        assert "did you mean hold_frames" in process.log
        assert "did you mean require_certificate" in process.log
        told = f"{file} has no section for this node, /misspelt/segment"
        eventually(lambda: told in process.log, "the other node's file")
        assert f"{fitting} has no section" not in process.log
        assert "`image_timeout` was given for the node left, but this one is" in process.log


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (["-p", "threads=1"], "override rule: '-p threads=1'"),
        (["-p", "threads:=[1"], "`-p NAME:=VALUE` with a value in YAML"),
        (["--params-file", "/nowhere.yaml"], "'--params-file /nowhere.yaml'. Error: Error opening"),
        (["--parameters", "x"], "unknown arguments ['--parameters', 'x']"),
        (["-r", "image=/camera"], "remap rule: '-r image=/camera'"),
    ],
)
@pytest.mark.parametrize("executable", ["segment_node", "replay_node"])
def test_a_slip_on_the_command_line_is_told_in_one_line(
    executable: str, wrong: list[str], told: str
) -> None:
    command = [str(EXECUTABLES / executable), "--ros-args", *wrong]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith("[ERROR]")]
    assert len(lines) == 1 and lines[0].startswith(f"{executable}: cannot start: ")
    assert told in lines[0] and "/src/" not in lines[0]


def test_a_still_picture_is_explained_and_can_be_allowed(bundle: Path, tmp_path: Path) -> None:
    still = scene()
    values = {"narration_timeout": 120.0, "silence_warning": 1.0, "frozen_frames": 10000}
    with running("segment_node", "/still", tmp_path / "log", bundle=bundle, **values) as process:
        probe = Probe("/still", outputs=("grasp",))

        def feed() -> None:
            probe.images.publish(probe.stamp(raw(still)))

        try:
            probe.matched()
            probe.narrate("cut tomato")
            probe.decision("FROZEN_IMAGE", feed=feed)
            told = probe.trouble("gate", "FROZEN_IMAGE", feed=feed)
            assert "identical images" in told and "`allow_still_images`" in told
            assert "`image_timeout` (0.5 s)" in told and "`allow_still_images`" in process.log
            assert probe.set_parameter("allow_still_images", True).successful
            probe.decision(feed=feed)
        finally:
            probe.close()


@pytest.mark.parametrize("slow", ["model", "camera"])
def test_a_model_or_camera_slower_than_the_timeout_is_told_with_both_numbers(
    tmp_path: Path, slow: str
) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle", limits=LIMITS)
    if slow == "model":
        burden(folder / "image_encoder.onnx", size=1200, products=12)
        recalibrate(folder)
    values = {"narration_timeout": 120.0, "threads": 1, "image_timeout": 0.2}
    with running("segment_node", f"/slow_{slow}", tmp_path / "log", bundle=folder, **values):
        probe = Probe(f"/slow_{slow}", outputs=("grasp",))
        told = {
            "model": ("model", "judging an image takes"),
            "camera": ("image", "images come every 0.5"),
        }[slow]
        last = [0.0]

        def feed() -> None:
            if slow == "model" or time.monotonic() - last[0] >= 0.5:
                last[0] = time.monotonic()
                show(probe)

        try:
            probe.matched()
            probe.narrate("cut tomato")
            text = probe.trouble(*told, feed=feed)
            assert "`image_timeout` is 0.2 s" in text
            assert "lost" not in text, "a slow camera loses nothing"
        finally:
            probe.close()


@pytest.mark.parametrize("heard", [False, True])
def test_a_latched_narration_is_explained_or_heard(
    bundle: Path, tmp_path: Path, heard: bool
) -> None:
    namespace = f"/latched_{heard}".lower()
    probe = Probe(namespace, outputs=("grasp",))
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    latched = probe.node.create_publisher(String, "narration", qos)
    latched.publish(String(data="cut tomato"))
    name = f"qos_overrides.{namespace}/narration.subscription.durability"
    values = {name: "transient_local"} if heard else {}
    values |= {"silence_warning": 1.0, "narration_timeout": 30.0, "image_timeout": 3.0}
    try:
        with running("segment_node", namespace, tmp_path / "log", bundle=bundle, **values):
            probe.matched()
            if heard:
                probe.decision(feed=lambda: show(probe))
                # Publishers that keep nothing are heard as well.
                probe.narrate("")
                probe.decision("NO_NARRATION", feed=lambda: show(probe))
            else:
                told = probe.trouble("narration", "transient_local")
                assert f"`{name}`" in told
                probe.decision("NO_NARRATION", feed=lambda: show(probe))
    finally:
        probe.close()


def test_by_simulated_time_what_was_said_before_is_told_and_not_heard(
    bundle: Path, tmp_path: Path
) -> None:
    probe = Probe("/late", outputs=("grasp",))
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    latched = probe.node.create_publisher(String, "narration", qos)
    latched.publish(String(data="cut tomato"))
    time.sleep(1.0)
    values = {"qos_overrides./late/narration.subscription.durability": "transient_local"}
    values |= {"use_sim_time": True, "narration_timeout": 300.0}
    try:
        with running("segment_node", "/late", tmp_path / "log", bundle=bundle, **values):
            probe.matched()
            told = probe.trouble("narration", "nobody can tell how old it is")
            assert "/late/narration" in told
            probe.next("grasp", lambda decision: "NO_NARRATION" in decision.reasons)
            latched.publish(String(data="cut tomato"))  # what is said now is heard
            probe.next("grasp", lambda decision: "NO_NARRATION" not in decision.reasons)
    finally:
        probe.close()


@pytest.mark.parametrize(("topic", "heard"), [("image", False), ("narration", True)])
def test_images_of_before_are_refused(
    bundle: Path, tmp_path: Path, topic: str, heard: bool
) -> None:
    namespace = f"/kept_{topic}"
    name = f"qos_overrides.{namespace}/{topic}.subscription.durability"
    with running(
        "segment_node", namespace, tmp_path / "log", bundle=bundle, **{name: "transient_local"}
    ):
        probe = Probe(namespace, outputs=("grasp",))
        try:
            if heard:
                eventually(lambda: probe.state() == "active", "activation")
            else:
                told = probe.trouble("lifecycle", "cannot activate")
                assert name in told and "old images are never judged" in told
        finally:
            probe.close()


def test_a_provider_that_is_not_there_is_a_warning(bundle: Path, tmp_path: Path) -> None:
    with running(
        "segment_node", "/provided", tmp_path / "log", bundle=bundle, provider="tensorrt"
    ) as process:
        probe = Probe("/provided", outputs=("grasp",))
        try:
            probe.matched()
            told = probe.trouble("model", "TensorrtExecutionProvider")
            assert "`provider` is tensorrt" in told and "runs on CPUExecutionProvider" in told
            assert "[WARN]" in process.log and "is not in the session" in process.log
            assert probe.values("model")["providers"] == "CPUExecutionProvider"
        finally:
            probe.close()


def test_narrations_that_alternate_are_named_as_what_holds_the_go(
    bundle: Path, tmp_path: Path
) -> None:
    values = {"silence_warning": 1.0, "image_timeout": 3.0}
    with running("segment_node", "/flicker", tmp_path / "log", bundle=bundle, **values):
        probe = Probe("/flicker", outputs=("grasp",))
        turn = [0]

        def feed() -> None:
            turn[0] += 1
            probe.narrate("cut tomato" if turn[0] % 2 else "take tomato")
            show(probe)

        try:
            probe.matched()
            told = probe.trouble("gate", "HOLDING", feed=feed)
            assert "started anew" in told and "another narration" in told
        finally:
            probe.close()
