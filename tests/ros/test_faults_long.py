"""Faults that take minutes, and times that only an idle machine can keep: `make faults`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actiseg_ros.bags.epic_bag import BagOptions, write_bag
from actiseg_ros.vision.compressed import encode_jpeg
from tests.actiseg_ros.vision.malformed import Compressed, Raw, malformed
from tests.ros.faults import Watch, camera, message_of, resident
from tests.ros.harness import REPOSITORY, Probe, eventually, running, scene

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

RATE = 10.0
VALUES = {"image_timeout": 1.0, "narration_timeout": 120.0, "heartbeat_rate": RATE}
TWICE = 2 / RATE + 0.03
"""Longest silence between two heartbeats; the rest is the reader's own."""


@pytest.mark.parametrize("kind", [Raw, Compressed])
def test_ten_thousand_malformed_images(bundle: Path, tmp_path: Path, kind: type) -> None:
    values = VALUES | {"image_transport": "raw" if kind is Raw else "compressed"}
    with running("segment_node", "/many", tmp_path / "log", bundle=bundle, **values) as process:
        probe = Probe("/many", compressed=kind is Compressed, outputs=("grasp",))
        try:
            probe.matched()
            probe.narrate("cut tomato")
            watch, before = Watch(probe), resident(process.popen.pid)
            for number, (_, image) in enumerate(malformed(seed=5, count=5000, kind=kind)):
                probe.images.publish(probe.stamp(message_of(image)))
                if number % 500 == 0:
                    probe.narrate("cut tomato")
                time.sleep(0.005)
            probe.trouble("image", "")
            watch.check(process)
            assert not watch.goes
            assert resident(process.popen.pid) < before + 40
            print(f"longest silence {watch.longest_silence:.3f} s")
            assert watch.longest_silence <= TWICE
        finally:
            probe.close()


def test_two_hundred_images_a_second_for_a_minute(bundle: Path, tmp_path: Path) -> None:
    with running("segment_node", "/fast", tmp_path / "log", bundle=bundle, **VALUES) as process:
        probe = Probe("/fast", outputs=("grasp",))
        probe.destroy(probe.images)
        try:
            with camera("/fast", 200.0):
                probe.decision(feed=lambda: probe.narrate("cut tomato"))
                watch, before = Watch(probe), resident(process.popen.pid)
                for _ in range(60):
                    probe.narrate("cut tomato")
                    time.sleep(1.0)
                watch.check(process)
                assert len(watch.goes) > 0.9 * len(watch.decisions)
                print(f"longest silence {watch.longest_silence:.3f} s", probe.values("image"))
                assert watch.longest_silence <= TWICE
                assert resident(process.popen.pid) < before + 40
        finally:
            probe.close()


def test_a_node_that_is_killed_and_started_again_goes_again(bundle: Path, tmp_path: Path) -> None:
    with camera("/reborn", 20.0):
        probe = Probe("/reborn", outputs=("grasp",))
        probe.destroy(probe.images)
        try:
            for number in range(3):
                log = tmp_path / f"log{number}"
                with running("segment_node", "/reborn", log, bundle=bundle, **VALUES) as process:
                    started = time.monotonic()
                    probe.decision(feed=lambda: probe.narrate("cut tomato"))
                    print(f"go {time.monotonic() - started:.1f} s after the start")
                    process.popen.send_signal(signal.SIGKILL)
                    process.popen.wait()
                    start = probe.count("grasp")
                    time.sleep(0.5)
                    # Who only listens hears no go after the death; see `consumer_node`.
                    assert not any(m.go for m in probe.since("grasp", start)[3:])
        finally:
            probe.close()


def test_a_machine_without_multicast(bundle: Path, tmp_path: Path) -> None:
    """A network namespace whose only device is a loopback that knows no multicast."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("only root can make a network namespace")
    code = (
        "from pathlib import Path; import rclpy; from tests.ros.faults import reach_go\n"
        "from tests.ros.harness import Probe, running\n"
        "rclpy.init()\n"
        f"with running('segment_node', '/alone', Path({str(tmp_path / 'log')!r}), "
        f"bundle={str(bundle)!r}, image_timeout=2.0):\n"
        "    probe = Probe('/alone', outputs=('grasp',)); probe.matched(); reach_go(probe)\n"
        "    probe.close()\n"
        "print('went')\n"
    )
    script = f'ip link set lo up multicast off && exec "{sys.executable}" -c "$CODE"'
    done = subprocess.run(
        ["unshare", "--net", "bash", "-c", script],
        cwd=REPOSITORY,
        env=os.environ | {"CODE": code},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert "went" in done.stdout, done.stdout + done.stderr


def test_an_hour_of_bag_time_needs_no_more_memory(bundle: Path, tmp_path: Path) -> None:
    """Ten minutes of bag at ten times their speed, six rounds."""
    frames, table = tmp_path / "frames", tmp_path / "narrations.csv"
    frames.mkdir()
    for number in range(1, 6001):
        (frames / f"frame_{number:010d}.jpg").write_bytes(encode_jpeg(scene()).tobytes())
    lines = ["narration_id,video_id,start_timestamp,stop_timestamp,narration,noun"]
    for second in range(0, 600, 5):
        begun = f"00:{second // 60:02d}:{second % 60:02d}.00"
        ended = f"00:{second // 60:02d}:{second % 60 + 4:02d}.00"
        lines.append(f"V_{second},V,{begun},{ended},cut tomato,tomato")
    table.write_text("\n".join(lines) + "\n")
    write_bag(frames, table, "V", tmp_path / "bag", BagOptions(fps=10))
    values = {"bundle": bundle, "image_transport": "compressed", "use_sim_time": True}
    replay = {"bag": tmp_path / "bag", "loop": True, "rate": 10.0, "clock": True}
    with (
        running("segment_node", "/hour", tmp_path / "log", **values) as node,
        running("replay_node", "/hour", tmp_path / "replay", **replay) as player,
    ):
        probe = Probe("/hour", outputs=("grasp",))
        probe.destroy(probe.images)
        memory: list[tuple[float, float]] = []
        try:
            for played in range(1, 7):
                eventually(
                    lambda n=played: player.log.count("messages played") >= n, "a round", 300
                )
                memory.append((resident(node.popen.pid), resident(player.popen.pid)))
                with probe._changed:
                    heard = [message.go for _, message in probe.received["grasp"]]
                    for kept in probe.received.values():
                        kept.clear()
                print(f"round {played}: {memory[-1]} MiB, go in {sum(heard)} of {len(heard)}")
                assert any(heard)
        finally:
            probe.close()
        assert node.popen.poll() is None and "Traceback" not in node.log
    for first, last in zip(memory[0], memory[-1], strict=True):
        assert last < first + 30, memory
