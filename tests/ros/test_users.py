"""Two users on one machine: Fast DDS's shared memory does not cross them, UDP does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ros.harness import EXECUTABLES, REPOSITORY, running

NOBODY = 65534
HEAR = """
import sys
import rclpy
rclpy.init()
from tests.ros.harness import Probe
probe = Probe("/users", outputs=("grasp",))
def heard(message):
    return "NO_NARRATION" not in message.reasons and "NOT_ACTIVE" not in message.reasons
try:
    narrate = lambda: probe.narrate("cut tomato")
    probe.next("grasp", heard, feed=narrate, patience=float(sys.argv[1]))
    print("heard both ways")
finally:
    probe.close()
"""
# Neither the range LOCALHOST, which brings shared memory back, nor a card that others see.
ALONE = (
    "set -e; ip link set lo up multicast on; ip route add 224.0.0.0/4 dev lo; set +e; "
    # `&` after a list would start a shell, and killing that one leaves the node alone.
    'setpriv --reuid=65534 --regid=65534 --clear-groups "$NODE" --ros-args -r __ns:=/users '
    '-p bundle:="$BUNDLE" >"$LOG" 2>&1 & node=$!; '
    'FASTRTPS_DEFAULT_PROFILES_FILE=$OWN "$PYTHON" -c "$HEAR" "$PATIENCE"; '
    "kill $node; wait $node; echo node ended $?"
)


@pytest.mark.parametrize(
    ("transport", "heard"),
    [("fastdds_udp.xml", True), pytest.param("fastdds.xml", False, marks=pytest.mark.faults)],
)
def test_messages_cross_users_by_udp(
    bundle: Path, tmp_path: Path, transport: str, heard: bool
) -> None:
    tools = [name for name in ("unshare", "setpriv", "ip") if shutil.which(name) is None]
    if os.geteuid() != 0 or tools:
        pytest.skip(f"needs root and unshare, setpriv and ip; missing: {tools or 'root'}")
    folder, log = tmp_path / "bundle", tmp_path / "log"
    shutil.copytree(bundle, folder)
    for path in (*tmp_path.parents[:3], tmp_path, folder, *folder.iterdir()):
        path.chmod(path.stat().st_mode | 0o555)
    log.touch()
    config = REPOSITORY / "actiseg_ros" / "config"
    environment = os.environ | {
        "FASTRTPS_DEFAULT_PROFILES_FILE": str(config / transport),
        "OWN": str(config / "fastdds.xml"),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET",
        "ROS_LOG_DIR": f"/tmp/actiseg-users-{os.getpid()}-{heard}",
        "NODE": str(EXECUTABLES / "segment_node"),
        "PYTHON": sys.executable,
        "BUNDLE": str(folder),
        "LOG": str(log),
        "HEAR": HEAR,
        "PATIENCE": "40" if heard else "8",
        "HOME": "/tmp",
    }
    log_folder = Path(environment["ROS_LOG_DIR"])
    log_folder.mkdir()
    log_folder.chmod(0o777)
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", ALONE],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
    )
    shutil.rmtree(log_folder)
    assert "node ended 0" in done.stdout
    assert ("heard both ways" in done.stdout) == heard, done.stderr + log.read_text()
    if not heard:
        assert "shared memory does not cross users" in log.read_text()


def test_a_health_check_hears_the_heartbeat_or_fails(bundle: Path, tmp_path: Path) -> None:
    def check(timeout: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(EXECUTABLES / "check_heartbeat"), "--namespace", "/ill", "--timeout", timeout],
            capture_output=True,
            text=True,
            timeout=90,
        )

    silent = check("0.5")
    assert silent.returncode == 1 and "no heartbeat on /ill/segment/grasp" in silent.stderr
    # It is asked for in every state of the node.
    with running("segment_node", "/ill", tmp_path / "log", bundle=bundle, autostart=False) as node:
        well = check("40")
        assert well.returncode == 0 and "NO_GO NOT_ACTIVE" in well.stdout
        assert node.popen.poll() is None
