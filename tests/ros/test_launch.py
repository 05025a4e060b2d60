"""The launch files as they are installed, run by the real `ros2 launch` where that is installed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.actiseg_ros.bags import bags
from tests.ros.harness import PATIENCE
from tests.training.data.recordings.test_frames import record

if shutil.which("ros2") is None:
    pytest.skip("ROS's launch packages are not on PyPI", allow_module_level=True)
pytest.importorskip("launch_ros.actions", reason="ROS's launch packages are not on PyPI")

STAND_IN = """#!/bin/sh
echo "$@" > "$0.arguments"
exec sleep 60
"""


class Launch:
    """`ros2 launch` as a process with its output in a file."""

    def __init__(self, log: Path, file: str, *arguments: str, prefix: Path | None = None) -> None:
        self._log = log
        prefixes = [str(prefix)] if prefix else []
        path = os.pathsep.join([*prefixes, os.environ["AMENT_PREFIX_PATH"]])
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                ["ros2", "launch", "actiseg_ros", file, *arguments],
                stdout=stream,
                stderr=subprocess.STDOUT,
                # In the repository the folder launch/ would be found as ROS's package.
                cwd=log.parent,
                env={**os.environ, "AMENT_PREFIX_PATH": path, "ROS_LOG_DIR": str(log.parent / "l")},
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return re.sub(r"\x1b\[\d*m", "", self._log.read_text(errors="replace"))

    def says(self, text: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in self.log:
            assert self.popen.poll() is None and time.monotonic() < deadline, self.log
            time.sleep(0.05)

    def end(self) -> str:
        """Stops it as Ctrl-C does and returns what it said."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGINT)
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            raise
        return self.log


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A place with programs that stand in for RViz and the bridge of Foxglove."""
    found = tmp_path / "prefix"
    index = found / "share" / "ament_index" / "resource_index" / "packages"
    index.mkdir(parents=True)
    for package in ("rviz2", "foxglove_bridge"):
        (index / package).write_text("")
        program = found / "lib" / package / package
        program.parent.mkdir(parents=True)
        program.write_text(STAND_IN)
        program.chmod(0o755)
    return found


def parameters(path: Path, **values: object) -> str:
    path.write_text(yaml.safe_dump({"/**/segment": {"ros__parameters": values}}))
    return f"params_file:={path}"


def test_a_parameter_file_is_not_overridden_unasked(tmp_path: Path, bundle: Path) -> None:
    given = parameters(
        tmp_path / "p.yaml", bundle=str(bundle), autostart=True, image_transport="compressed",
        use_sim_time=True,
    )  # fmt: skip
    launch = Launch(tmp_path / "log", "segment.launch.py", given)
    try:
        launch.says("active: listening to /image/compressed")
    finally:
        launch.end()
    assert str(bundle) in launch.log
    launch = Launch(
        tmp_path / "log", "segment.launch.py", given, "image_transport:=raw", "autostart:=false",
        "image_topc:=/camera",
    )  # fmt: skip
    try:
        launch.says("no argument `image_topc`, which was ignored (did you mean image_topic")
        launch.says("process started")
        time.sleep(3)
    finally:
        assert "active" not in launch.end()


def test_a_parameter_file_that_is_not_there_ends_the_launch(tmp_path: Path) -> None:
    launch = Launch(tmp_path / "log", "segment.launch.py", "params_file:=/nowhere.yaml")
    assert launch.popen.wait(60) == 1
    assert "params_file:=/nowhere.yaml: there is no such file" in launch.log


def test_a_bag_is_played_in_a_namespace_and_shown(
    tmp_path: Path, bundle: Path, prefix: Path
) -> None:
    bag = record(tmp_path / "bag", camera__image_raw="raw", narration="text")
    launch = Launch(
        tmp_path / "log", "replay.launch.py", f"bag:={bag}", "namespace:=robot1", "rate:=4",
        parameters(tmp_path / "p.yaml", bundle=str(bundle)), "rviz:=true", "foxglove:=true",
        prefix=prefix,
    )  # fmt: skip
    assert launch.popen.wait(120) == 0, launch.log
    assert "40 messages played" in launch.log and "no argument" not in launch.log
    assert "listening to /robot1/camera/image_raw, /robot1/narration" in launch.log
    assert "the overlay is on /robot1/segment/overlay/compressed" in launch.log
    given = (prefix / "lib" / "rviz2" / "rviz2.arguments").read_text().split()
    assert given[0] == "--display-config"
    layout = Path(given[1])
    assert "/robot1/segment/overlay/compressed" in layout.read_text()
    layout = Path(re.search(r"import the layout (\S+)", launch.log)[1])  # type: ignore[index]
    assert '"/robot1/segment/overlay/compressed"' in layout.read_text()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["bag:=/nowhere"], "there is no such bag"),
        (["bag:=ROS1"], "is a bag of ROS 1; convert it with `rosbags-convert"),
        (["bag:=BAG", "image_topic:=other"], "has no images on /other"),
        (["bag:=BAG", "topics:=/depth"], "replay_node ended with status 2"),
        (["bag:=BAG", "rviz:=true"], "rviz2 is not installed: sudo apt install ros-"),
        (["bag:=BAG", "provider:=gpu"], "Valid options are"),
        (["bag:=BAG", "max_risk:=much"], "max_risk:=much is no number"),
        (["bag:=BAG", "rate:=abc"], "rate:=abc is no number"),
        (["bag:=BAG", "start_offset:=abc"], "start_offset:=abc is no number"),
        (["bag:=BAG", "params_file:=/nowhere.yaml"], "params_file:=/nowhere.yaml cannot be read"),
        (["bag:=BAG", "params_file:=BAG"], "cannot be read"),
    ],
)
def test_what_cannot_be_started_ends_the_launch(
    tmp_path: Path, arguments: list[str], told: str
) -> None:
    bag = bags.write(tmp_path / "bag")
    ros1 = bags.write_ros1(tmp_path / "r.bag")
    given = [text.replace("BAG", str(bag)).replace("ROS1", str(ros1)) for text in arguments]
    launch = Launch(tmp_path / "log", "replay.launch.py", *given)
    assert launch.popen.wait(60) == 1, launch.log
    assert told in launch.log
    # A node that is interrupted while it still loads its modules says so in Python's way.
    others = [line for line in launch.log.splitlines() if not line.startswith("[segment_node")]
    assert "Traceback" not in "\n".join(others)
