"""Bags played by `replay_node`: content, timing, stamps and refusals."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import rclpy
from actiseg_msgs.msg import ActionNarration
from builtin_interfaces.msg import Duration
from rclpy.executors import SingleThreadedExecutor
from rosbags.rosbag2 import StoragePlugin, Writer
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage
from std_msgs.msg import Header, String

from actiseg_ros.bags.epic_bag import BagOptions, write_bag
from actiseg_ros.bags.type_store import typestore
from actiseg_ros.ros.replay_node import divide_lengths, tells_lengths
from actiseg_ros.vision.compressed import encode_jpeg
from tests.actiseg_ros.bags import bags
from tests.actiseg_ros.bags.test_recording import unindexed
from tests.ros.harness import eventually, running, scene

RATE, COUNT = 10, 25


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("replay")
    frames = folder / "frames"
    frames.mkdir()
    for number in range(1, COUNT + 1):
        file = frames / f"frame_{number:010d}.jpg"
        file.write_bytes(encode_jpeg(scene()).tobytes())
    table = folder / "narrations.csv"
    table.write_text(
        "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun\n"
        "V_0,V,00:00:00.50,00:00:02.00,cut tomato,tomato\n"
    )
    write_bag(frames, table, "V", folder / "bag", BagOptions(fps=RATE))
    return folder / "bag"


class Listener:
    """Records what a replay publishes."""

    def __init__(self, namespace: str) -> None:
        self.node = rclpy.create_node("listener", namespace=namespace)
        self.heard: dict[str, list[tuple[float, Any]]] = {}
        for topic, kind in (
            ("image/compressed", CompressedImage),
            ("narration", String),
            ("action", ActionNarration),
            ("camera/image/compressed", CompressedImage),
            ("camera_info", CameraInfo),
            ("/clock", Clock),
        ):
            kept = self.heard.setdefault(topic, [])
            self.node.create_subscription(
                kind, topic, lambda m, kept=kept: kept.append((time.time(), m)), 1000
            )
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()


def _stamps(heard: list[tuple[float, Any]]) -> np.ndarray:
    return np.array([m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for _, m in heard])


@pytest.mark.parametrize("clock", [False, True])
def test_everything_arrives_in_time(bag: Path, tmp_path: Path, clock: bool) -> None:
    namespace = f"/replay_{str(clock).lower()}"
    listener = Listener(namespace)
    try:
        parameters = {"bag": bag, "clock": clock, "wait_for_subscribers": 30, "rate": 2}
        with running("replay_node", namespace, tmp_path / "log", **parameters) as process:
            assert process.popen.wait(60) == 0, process.log
        images = listener.heard["image/compressed"]
        assert len(images) == COUNT
        assert [m.data for _, m in listener.heard["narration"]] == ["cut tomato"] * 2 + [""]
        assert [m.narration for _, m in listener.heard["action"]] == ["cut tomato"] * 2 + [""]
        # Twice as fast as recorded; a busy machine may be late but never early.
        assert images[-1][0] - images[0][0] >= (COUNT - 1) / RATE / 2 - 0.2
        # The action ends where it ends in the bag, by the clock that the replay goes by.
        lengths = [m.duration.sec + m.duration.nanosec * 1e-9 for _, m in listener.heard["action"]]
        assert lengths == pytest.approx([1.5, 1.5, 0] if clock else [0.75, 0.75, 0])
        stamps = _stamps(images)
        # A synchroniser finds an image's camera info by its stamp.
        assert _stamps(listener.heard["camera_info"]).tolist() == stamps.tolist()
        if clock:
            assert stamps == pytest.approx(np.arange(COUNT) / RATE, abs=1e-6)
            ticks = [m.clock.sec + m.clock.nanosec * 1e-9 for _, m in listener.heard["/clock"]]
            assert ticks == sorted(ticks)
            assert ticks[-1] == pytest.approx((COUNT - 1) / RATE, abs=0.2)
        else:
            arrived = np.array([when for when, _ in images])
            assert np.abs(arrived - stamps).max() < 5.0
            assert np.diff(stamps).min() > 0
    finally:
        listener.close()


def test_all_lengths_of_time_in_a_message_follow_the_speed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Point:
        """As trajectory_msgs/JointTrajectoryPoint, one of several in its message."""

        def __init__(self, seconds: int) -> None:
            self.time_from_start = Duration(sec=seconds, nanosec=500_000_000)

        @staticmethod
        def get_fields_and_field_types() -> dict[str, str]:
            return {"names": "sequence<string>", "time_from_start": "builtin_interfaces/Duration"}

    class Trajectory:
        def __init__(self) -> None:
            self.header, self.points = Header(), [Point(1), Point(-3), Point(2**31 - 1)]

        @staticmethod
        def get_fields_and_field_types() -> dict[str, str]:
            return {"header": "std_msgs/Header", "points": "sequence<stand_in/Point, 3>"}

    package = ModuleType("stand_in.msg")
    package.Point = Point  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stand_in.msg", package)
    monkeypatch.setitem(sys.modules, "stand_in", ModuleType("stand_in"))
    assert tells_lengths(Trajectory) and tells_lengths(ActionNarration)
    assert not tells_lengths(CameraInfo) and not tells_lengths(Header)
    message = Trajectory()
    message.header.stamp.sec = 7
    divide_lengths(message, 0.5)
    assert message.header.stamp.sec == 7
    assert [point.time_from_start for point in message.points] == [
        Duration(sec=3), Duration(sec=-5), Duration(sec=2**31 - 1, nanosec=999_999_999),
    ]  # fmt: skip


def test_a_start_offset_skips_and_a_loop_repeats(bag: Path, tmp_path: Path) -> None:
    listener = Listener("/replay_loop")
    try:
        parameters = {
            "bag": bag,
            "clock": True,
            "wait_for_subscribers": 30,
            "start_offset": 1.95,
            "loop": True,
        }
        with running("replay_node", "/replay_loop", tmp_path / "log", **parameters) as process:
            deadline = time.monotonic() + 30
            while len(listener.heard["image/compressed"]) < 8 and time.monotonic() < deadline:
                time.sleep(0.05)
            assert process.stop() == 0
        stamps = _stamps(listener.heard["image/compressed"])
        assert stamps[:8] == pytest.approx([2.0, 2.1, 2.2, 2.3, 2.4, 2.0, 2.1, 2.2])
    finally:
        listener.close()


def test_no_action_of_a_round_began_before_the_last_one_ended(bag: Path, tmp_path: Path) -> None:
    """A node would take it for one that is over: it was said to have ended."""
    listener = Listener("/replay_rounds")
    try:
        parameters = {"bag": bag, "wait_for_subscribers": 30, "start_offset": 1.4, "loop": True}
        with running("replay_node", "/replay_rounds", tmp_path / "log", **parameters) as process:
            actions = listener.heard["action"]
            eventually(lambda: sum(bool(m.narration) for _, m in list(actions)) >= 2, "two rounds")
            assert process.stop() == 0
        (_, first), (ended, end), (_, again) = actions[:3]
        assert first.narration and again.narration and not end.narration
        assert _stamps([(0.0, again)])[0] > ended
    finally:
        listener.close()


@pytest.mark.parametrize(
    "other", ["tf2_msgs/msg/TFMessage", "nav_msgs/msg/Odometry", "vendor_msgs/msg/Extrinsics"]
)
def test_types_that_are_not_installed_are_left_out(tmp_path: Path, other: str) -> None:
    path = bags.write(tmp_path / "bag", others=(other,))
    listener = Listener("/replay_others")
    try:
        parameters = {"bag": path, "wait_for_subscribers": 30, "rate": 4}
        with running("replay_node", "/replay_others", tmp_path / "log", **parameters) as process:
            assert process.popen.wait(60) == 0, process.log
        assert f"/other0 is not played: its type {other} is not installed" in process.log
        assert len(listener.heard["camera/image/compressed"]) == 10
        assert len(listener.heard["narration"]) == 10
    finally:
        listener.close()


def test_what_was_said_then_is_never_taken_for_now(tmp_path: Path) -> None:
    path, types = tmp_path / "bag", typestore()
    kinds = {
        "/segment/grasp": "actiseg_msgs/msg/GraspDecision",
        "/segment/go": "std_msgs/msg/Bool",
        "/segment/mask": "sensor_msgs/msg/Image",
        "/robot/segment/go": "std_msgs/msg/Bool",  # its decisions were not recorded
        "/clock": "rosgraph_msgs/msg/Clock",
        "/narration": "std_msgs/msg/String",
    }
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for topic, kind in kinds.items():
            connection = writer.add_connection(topic, kind, typestore=types)
            if kind == "std_msgs/msg/Bool":
                said = types.serialize_cdr(types.types[kind](True), kind)
            elif topic == "/narration":
                said = types.serialize_cdr(types.types[kind]("cut tomato"), kind)
            else:
                continue
            writer.write(connection, bags.START, said)
    reasons = {
        "/segment/grasp": "a decision of then", "/segment/go": "a decision of then",
        "/robot/segment/go": "a decision of then", "/segment/mask": "what was drawn then",
        "/clock": "its time is not that of this replay",
    }  # fmt: skip
    for chosen, played in ((None, 1), ("['']", 1), ("[/segment/go]", 1)):
        parameters = {"bag": path, "rate": 100} | ({"topics": chosen} if chosen else {})
        with running("replay_node", "/replay_then", tmp_path / "log", **parameters) as process:
            assert process.popen.wait(60) == 0, process.log
        assert f"{played} messages played" in process.log
        for topic, reason in reasons.items():
            told = f"{topic} is not played: {reason}" in process.log
            assert told == (chosen != "[/segment/go]"), (topic, process.log)


def test_chosen_topics_of_an_unfinished_bag_are_played(tmp_path: Path) -> None:
    path = bags.write(tmp_path / "bag", storage=StoragePlugin.SQLITE3)
    (path / "metadata.yaml").unlink()
    listener = Listener("/replay_chosen")
    try:
        parameters = {"bag": path, "rate": 4, "topics": "[narration]", "start_offset": 0.45}
        with running("replay_node", "/replay_chosen", tmp_path / "log", **parameters) as process:
            assert process.popen.wait(60) == 0, process.log
        assert "files are read themselves" in process.log
        assert "5 messages played" in process.log
    finally:
        listener.close()


def test_a_bag_that_breaks_off_is_told_by_the_exit_status(tmp_path: Path) -> None:
    path = unindexed(tmp_path / "hurt.mcap", finish=True)
    data = bytearray(path.read_bytes())
    place = data.index(b"zstd", 700) + 30
    data[place : place + 8] = bytes(8)
    path.write_bytes(data)
    with running("replay_node", "/broken", tmp_path / "log", bag=path, rate=100) as process:
        assert process.popen.wait(60) == 1
    assert "the replay broke off: " in process.log and "breaks off after" in process.log


@pytest.mark.parametrize(
    ("parameters", "told"),
    [
        ({}, "no such bag folder"),
        ({"bag": "/nowhere/at/all"}, "no such bag folder"),
        ({"bag": "BAG", "loop": True, "start_offset": 5.0}, "nothing to play"),
        ({"bag": "BAG", "topics": "[/depth]"}, "names /depth, which"),
        ({"bag": "ROS1"}, "is a bag of ROS 1; convert it with `rosbags-convert"),
        ({"rate": 0.0, "bag": "/"}, "rate"),
    ],
)
def test_what_cannot_be_played_is_told(
    bag: Path, tmp_path: Path, parameters: dict[str, Any], told: str
) -> None:
    if parameters.get("bag") == "BAG":
        parameters = {**parameters, "bag": bag}
    if parameters.get("bag") == "ROS1":
        parameters = {"bag": bags.write_ros1(tmp_path / "r.bag")}
    with running("replay_node", "/refused", tmp_path / "log", **parameters) as process:
        assert process.popen.wait(60) == 2
    assert told in process.log and "Traceback" not in process.log


def test_parameters_that_nobody_took_are_named(bag: Path, tmp_path: Path) -> None:
    with running("replay_node", "/misspelt", tmp_path / "log", bag=bag, rte=9.0) as process:
        eventually(lambda: "messages played" in process.log, "the replay")
    assert "`rte` does not exist and was ignored (did you mean rate?)" in process.log


def test_a_folder_that_is_no_bag_is_told(tmp_path: Path) -> None:
    (tmp_path / "metadata.yaml").write_text("nonsense: [")
    with running("replay_node", "/refused", tmp_path / "log", bag=tmp_path) as process:
        assert process.popen.wait(60) == 2
    assert "cannot be read as a bag" in process.log and "Traceback" not in process.log
