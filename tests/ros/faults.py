"""What every fault has to leave: a heartbeat, no go without evidence, a living process, a cause."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sensor_msgs.msg import CompressedImage, Image

from tests.actiseg_ros.vision.malformed import Malformed, Raw
from tests.ros.harness import REPOSITORY, Probe, Process, raw, scene


def message_of(image: Malformed) -> Image | CompressedImage:
    if isinstance(image, Raw):
        message = Image(encoding=image.encoding, height=image.height, width=image.width)
        message.step, message.is_bigendian = image.step, image.is_bigendian
    else:
        message = CompressedImage(format=image.format)
    message.data.frombytes(image.data)  # array('B'): anything else is copied byte by byte
    return message


def show(probe: Probe) -> None:
    probe.images.publish(probe.stamp(raw(scene())))


def reach_go(probe: Probe, feed: Callable[[], Any] | None = None) -> None:
    probe.narrate("cut tomato")
    probe.decision(feed=feed or (lambda: show(probe)))


class Watch:
    """Looks at all decisions from now on."""

    def __init__(self, probe: Probe) -> None:
        self._probe = probe
        self._start = probe.count("grasp")

    @property
    def decisions(self) -> list[tuple[float, Any]]:
        with self._probe._changed:
            return list(self._probe.received["grasp"][self._start :])

    @property
    def goes(self) -> list[Any]:
        return [message for _, message in self.decisions if message.go]

    @property
    def longest_silence(self) -> float:
        times = [when for when, _ in self.decisions]
        return max((late - early for early, late in itertools.pairwise(times)), default=0.0)

    def check(self, process: Process) -> None:
        """The process lives, and decisions have come one by one with a reason unless they go."""
        self._probe.next("grasp")  # the heart still beats
        assert process.popen.poll() is None, process.log
        assert "Traceback" not in process.log
        numbers = [message.sequence for _, message in self.decisions]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert all(message.go == (not message.reasons) for _, message in self.decisions)


@contextmanager
def camera(namespace: str, rate: float) -> Iterator[subprocess.Popen[bytes]]:
    """A camera in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ros.camera", namespace, str(rate)],
        cwd=REPOSITORY,
        env=dict(os.environ),
    )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        process.wait()


def resident(pid: int) -> float:
    """Resident memory of a process in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024
