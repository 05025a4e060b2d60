"""Faults on a real node, in short; `make faults` runs the long ones (`test_faults_long.py`)."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from std_msgs.msg import Bool

from actiseg_ros.bags.recording import open_recording
from tests.actiseg_ros.dummy_bundle import write_dummy_bundle
from tests.actiseg_ros.vision.malformed import Compressed, Raw, malformed
from tests.ros.conftest import LIMITS
from tests.ros.faults import Watch, camera, message_of, reach_go, show
from tests.ros.harness import EXECUTABLES, Probe, Process, eventually, raw, running, scene

VALUES = {"image_timeout": 1.0, "narration_timeout": 120.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose network answers with numbers that are none where a picture is white."""
    return write_dummy_bundle(tmp_path_factory.mktemp("poisoned"), limits=LIMITS, poison=True)


@pytest.fixture(scope="module")
def process(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    with running("segment_node", "/faults", log, bundle=folder, **VALUES) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def probe(process: Process) -> Iterator[Probe]:
    probe = Probe("/faults", outputs=("grasp",))
    probe.matched()
    yield probe
    probe.close()


def test_a_flood_of_images_and_narrations_costs_no_heartbeat(
    probe: Probe, process: Process
) -> None:
    reach_go(probe)
    watch = Watch(probe)
    end = time.monotonic() + 1.5
    texts = ["cut lettuce", "cut tomato", "sing a song", ""]
    number = 0
    while time.monotonic() < end:
        show(probe)
        probe.narrate(texts[number % len(texts)])
        number += 1
        time.sleep(0.004)
    probe.next("grasp")
    watch.check(process)
    assert len(watch.decisions) >= 10
    # Nothing that was narrated lasted for `hold_frames` frames.
    assert not [go for go in watch.goes if go.target != "tomato"]
    reach_go(probe)


def test_malformed_images_never_go_and_are_told(probe: Probe, process: Process) -> None:
    reach_go(probe)
    probe.decision("BAD_IMAGE", feed=lambda: probe.images.publish(probe.stamp(raw(scene(), "?"))))
    watch = Watch(probe)
    for _, image in malformed(seed=3, count=150, kind=Raw):
        probe.images.publish(probe.stamp(message_of(image)))
        time.sleep(0.006)
    assert "image" in probe.trouble("image", "")
    assert not watch.goes
    watch.check(process)
    reach_go(probe)


def test_malformed_files_never_go_and_are_told(bundle: Path, tmp_path: Path) -> None:
    values = {"bundle": bundle, "image_transport": "compressed", **VALUES}
    with running("segment_node", "/files", tmp_path / "log", **values) as process:
        probe = Probe("/files", compressed=True, outputs=("grasp",))
        try:
            probe.matched()
            probe.narrate("cut tomato")
            watch = Watch(probe)
            for _, image in malformed(seed=4, count=100, kind=Compressed):
                probe.images.publish(probe.stamp(message_of(image)))
                time.sleep(0.006)
            probe.trouble("image", "compressed image")
            assert not watch.goes
            watch.check(process)
        finally:
            probe.close()


def test_a_network_that_fails_once_and_for_ever(probe: Probe, process: Process) -> None:
    poisoned = scene()
    poisoned[:8, :8] = 255

    def poison() -> None:
        poisoned[-4:] ^= 1  # another picture each time
        probe.images.publish(probe.stamp(raw(poisoned)))

    reach_go(probe)
    probe.next("grasp", lambda m: "INFERENCE_ERROR" in m.reasons, feed=poison, period=0.5)
    reach_go(probe)
    watch = Watch(probe)
    probe.decision("INFERENCE_ERROR", feed=poison)
    mark = Watch(probe)
    assert "not finite" in probe.trouble("model", "InferenceError", feed=poison)
    for _ in range(10):
        probe.next("grasp", feed=poison)
    assert not mark.goes
    watch.check(process)
    reach_go(probe)


def test_a_bundle_that_is_replaced_under_the_node(
    probe: Probe, process: Process, folder: Path, tmp_path: Path
) -> None:
    reach_go(probe)
    kept = tmp_path / "kept"
    shutil.copytree(folder, kept)
    for file in folder.iterdir():
        file.write_bytes(b"another thing")
    # What was loaded goes on; what lies there now is never run.
    watch = Watch(probe)
    for _ in range(5):
        probe.decision(feed=lambda: show(probe))
    watch.check(process)
    assert probe.transition(Transition.TRANSITION_DEACTIVATE)
    assert probe.transition(Transition.TRANSITION_CLEANUP)
    assert not probe.transition(Transition.TRANSITION_CONFIGURE)
    assert "bundle.json" in probe.trouble("model", "cannot configure")
    probe.decision("NOT_ACTIVE")
    for file in kept.iterdir():
        shutil.copy(file, folder)
    assert probe.transition(Transition.TRANSITION_CONFIGURE)
    assert probe.transition(Transition.TRANSITION_ACTIVATE)
    probe.matched()
    reach_go(probe)


def test_a_camera_that_is_paused_and_killed(bundle: Path, tmp_path: Path) -> None:
    values = {"bundle": bundle, "silence_warning": 0.5, **VALUES}
    with running("segment_node", "/watched", tmp_path / "log", **values) as process:
        probe = Probe("/watched", outputs=("grasp",))
        probe.destroy(probe.images)  # a second camera
        try:
            with camera("/watched", 20.0) as eye:
                probe.decision(feed=lambda: probe.narrate("cut tomato"))
                for number, told in (
                    (signal.SIGSTOP, "no message on /watched/image"),
                    (signal.SIGKILL, "/watched/image"),
                ):
                    eye.send_signal(number)
                    probe.decision("STALE_IMAGE")
                    watch = Watch(probe)
                    probe.trouble("image", told)
                    assert not watch.goes
                    watch.check(process)
                    if number is signal.SIGSTOP:
                        eye.send_signal(signal.SIGCONT)
                        probe.decision(feed=lambda: probe.narrate("cut tomato"))
        finally:
            probe.close()


def test_a_recorder_that_is_killed_has_written_what_is_seconds_old(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    speaker = rclpy.create_node("speaker", namespace="/killed")
    publisher = speaker.create_publisher(Bool, "segment/go", 10)
    try:
        with running("record_node", "/killed", tmp_path / "log", bag=bag) as recorder:
            eventually(publisher.get_subscription_count, "the recorder")
            ended = time.monotonic() + 4.0
            while time.monotonic() < ended:
                publisher.publish(Bool(data=False))
                time.sleep(0.1)
            recorder.popen.kill()
            recorder.popen.wait()
    finally:
        speaker.destroy_node()
    with open_recording(bag) as recording:
        assert len(list(recording.messages(["/killed/segment/go"]))) >= 10


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (("record_node", "--ros-args", "-p", "bag:=20260101"), "record_node: "),
        (("consumer_node", "--ros-args", "-p", "heartbeat_rate:=0"), "`heartbeat_rate` is 0"),
        (("consumer_node", "--ros-args", "-p", "heartbeat_rate:=often"), "consumer_node: "),
        (("check_heartbeat", "--namespace", "//x"), "--namespace //x"),
    ],
)
def test_a_wrong_command_line_ends_with_a_word(command: tuple[str, ...], told: str) -> None:
    name, *arguments = command
    done = subprocess.run(
        [str(EXECUTABLES / name), *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2, done
    assert told in done.stderr and "Traceback" not in done.stderr


def test_a_recorder_whose_disk_is_full_keeps_what_it_has(probe: Probe, tmp_path: Path) -> None:
    bag, log = tmp_path / "bag", tmp_path / "log"
    command = ["/bin/bash", "-c", 'ulimit -f 60; exec "$@"', "-", str(EXECUTABLES / "record_node")]
    command += ["--ros-args", "-r", "__ns:=/faults", "-p", f"bag:={bag}"]
    with log.open("wb") as stream:
        recorder = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
    try:
        probe.narrate("cut tomato")

        def ended() -> bool:
            show(probe)
            return recorder.poll() is not None

        eventually(ended, "the end of the recorder")
    finally:
        recorder.kill()
        recorder.wait()
    told = log.read_text()
    assert recorder.returncode == 1, told
    assert "Traceback" not in told and "the recording ends here" in told
    with open_recording(bag) as recording:
        assert any(topic.count for topic in recording.topics.values())
