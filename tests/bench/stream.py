"""How old a camera's image is when it is decided on, and whether the node's memory stays flat.

The real node and a 1280x720 camera, each a process of its own, and a listener here, over DDS. First
the camera is so slow that no image waits: what a decision takes by itself. Then it is as fast as
cameras are, and the node takes the newest image each time: what waiting adds. `--frames 20000` is
the long run.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import numpy as np
import rclpy
from actiseg_msgs.msg import GraspDecision
from rclpy.executors import SingleThreadedExecutor
from segmenter import Rgb, drawn_pictures
from wiring import NAMES, alone_on_dds, camera

from tests.ros.harness import running

WARM = 20
"""Decisions of each camera that do not count."""


@dataclass
class Ages:
    """Seconds from an image's stamp to its first decision, one for each image decided on."""

    values: list[float] = field(default_factory=list)
    last: tuple[int, int] = (0, 0)

    def take(self, decision: GraspDecision) -> None:
        """Notes a decision if it is the first about its image; the heartbeat repeats it."""
        stamp = decision.header.stamp
        if (stamp.sec, stamp.nanosec) not in {self.last, (0, 0)}:
            self.last = (stamp.sec, stamp.nanosec)
            self.values.append(decision.age)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="", help="model bundle; the embedded one by default")
    parser.add_argument("--frames", type=int, default=300, help="decisions at the fast rate")
    parser.add_argument("--rate", type=float, default=30.0, help="images per second")
    parser.add_argument("--slow-rate", type=float, default=5.0, help="at which no image waits")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    pictures = drawn_pictures(1280, 720)
    ages = Ages()
    with tempfile.TemporaryDirectory() as scratch, alone_on_dds(), listening(ages):
        log = Path(scratch) / "node.log"
        bundle = {"bundle": options.bundle} if options.bundle else {}
        with running("segment_node", "/", log, threads=options.threads, **bundle) as node:
            alone, _ = shown(pictures, options.slow_rate, 100, ages, node.popen.pid)
            waited, memory = shown(pictures, options.rate, options.frames, ages, node.popen.pid)
    bound = alone["p50"] + 1.5e3 / options.rate
    report = {
        "image": "1280x720",
        "candidates": len(NAMES),
        "threads": options.threads,
        "frames": options.frames,
        "slow": {"rate": options.slow_rate, "age_ms": alone},
        "fast": {"rate": options.rate, "age_ms": waited},
        "bound_ms": round(bound, 1),
        "memory_mib": memory,
    }
    for name in ("slow", "fast"):
        told = " ".join(f"{key} {value}" for key, value in report[name]["age_ms"].items())
        print(f"{report[name]['rate']:g} images/s: age at the decision, ms: {told}")
    print(f"one decision and 1.5 periods: {bound:.1f} ms")
    print("memory of the node, MiB, after tenths of the run: " + " ".join(map(str, memory)))
    print(json.dumps({"stream": report}))


@contextmanager
def listening(ages: Ages) -> Iterator[None]:
    """Within, `ages` takes the decisions that come."""
    rclpy.init()
    node = rclpy.create_node("listener")
    node.create_subscription(GraspDecision, "segment/grasp", ages.take, 100)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(5)
        node.destroy_node()
        rclpy.try_shutdown()


def shown(
    pictures: list[Rgb], rate: float, frames: int, ages: Ages, pid: int
) -> tuple[dict[str, Any], list[float]]:
    """Shows pictures until so many were decided on.

    Returns:
        Ages in milliseconds by quantile, with decisions per second; the node's memory in MiB after
        every tenth.

    Raises:
        SystemExit: If no decision comes for a minute.
    """
    process = multiprocessing.get_context("spawn").Process(target=camera, args=(pictures, rate))
    process.start()
    memory: list[float] = []
    try:
        wait_for(ages, len(ages.values) + WARM)
        first, began = len(ages.values), time.monotonic()
        for tenth in range(1, 11):
            wait_for(ages, first + frames * tenth // 10)
            memory.append(round(resident(pid) / 2**20, 1))
        seconds = time.monotonic() - began
    finally:
        process.kill()
        process.join()
    own = 1e3 * np.array(ages.values[first : first + frames])
    found = {f"p{share}": round(float(np.percentile(own, share)), 1) for share in (50, 95, 99)}
    return {**found, "decisions_per_second": round(frames / seconds, 1)}, memory


def wait_for(ages: Ages, count: int) -> None:
    """Waits until so many images were decided on."""
    before, moved = -1, time.monotonic()
    while len(ages.values) < count:
        if len(ages.values) != before:
            before, moved = len(ages.values), time.monotonic()
        elif time.monotonic() - moved > 60:
            sys.exit(f"no decision for a minute, after {before} images")
        time.sleep(0.05)


def resident(pid: int) -> int:
    """Bytes of memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


if __name__ == "__main__":
    main()
