"""Cameras that mix, and clocks: whose evidence it is, and of when."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image

from tests.ros.harness import Probe, Process, eventually, raw, running, scene

NAMESPACE = "/sources"


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    values = {"image_timeout": 1.0, "narration_timeout": 120.0, "silence_warning": 1.0}
    with running("segment_node", NAMESPACE, log, bundle=bundle, **values) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def probe(process: Process) -> Iterator[Probe]:
    probe = Probe(NAMESPACE, outputs=("grasp",))
    probe.matched()
    yield probe
    probe.close()


def image(probe: Probe, frame: str = "camera", size: tuple[int, int] = (128, 192)) -> Image:
    message = probe.stamp(raw(scene(*size)))
    message.header.frame_id = frame
    return message


def reach_go(probe: Probe, **what: Any) -> None:
    probe.narrate("cut tomato")
    probe.decision(feed=lambda: probe.images.publish(image(probe, **what)))


def alternating(probe: Probe, first: Any, second: Any) -> list[Any]:
    """Decisions while two cameras publish in turn."""
    turn = [0]

    def feed() -> None:
        turn[0] += 1
        (first if turn[0] % 2 else second)()

    probe.next("grasp", lambda m: "SOURCE_CHANGED" in m.reasons, feed=feed)
    start = probe.count("grasp")
    for _ in range(25):
        probe.next("grasp", feed=feed)
    told = probe.trouble("gate", "SOURCE_CHANGED", feed=feed)
    assert "leave one publisher" in told
    return probe.since("grasp", start)


def test_two_cameras_on_one_topic_never_go_and_are_named(probe: Probe) -> None:
    reach_go(probe)
    other = probe.node.create_publisher(Image, "image", QoSProfile(depth=1))
    eventually(other.get_subscription_count, "the node hears the other camera")
    try:
        decisions = alternating(
            probe,
            lambda: probe.images.publish(image(probe)),
            lambda: other.publish(image(probe)),
        )
        assert not any(decision.go for decision in decisions)
        told = probe.trouble("image", "2 publishers on /sources/image: /sources/probe")
        assert "never counted together" in told
    finally:
        probe.destroy(other)
    reach_go(probe)


@pytest.mark.parametrize(
    "other", [{"frame": "camera_right"}, {"size": (96, 192)}], ids=["frame_id", "size"]
)
def test_another_frame_or_size_starts_the_count_anew(probe: Probe, other: dict[str, Any]) -> None:
    reach_go(probe)
    start = probe.count("grasp")
    probe.images.publish(image(probe, **other))
    probe.next("grasp", lambda m: "SOURCE_CHANGED" in m.reasons)
    reach_go(probe, **other)
    decisions = probe.since("grasp", start)
    goes = [m.header.frame_id for m in decisions if m.go]
    assert goes and goes[-1] == other.get("frame", "camera")
    decisions = alternating(
        probe,
        lambda: probe.images.publish(image(probe)),
        lambda: probe.images.publish(image(probe, **other)),
    )
    assert not any(decision.go for decision in decisions)


class SimulatedClock:
    """Publishes /clock at a rate of its own, and stands still or jumps when told to."""

    def __init__(self, probe: Probe, rate: float) -> None:
        self.seconds, self.rate, self.running = 5000.0, rate, True
        self._publisher = probe.node.create_publisher(Clock, "/clock", 10)
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        last = time.monotonic()
        while not self._ended:
            time.sleep(0.01)
            now = time.monotonic()
            if self.running:
                self.seconds += (now - last) * self.rate
                self._publisher.publish(Clock(clock=self.stamp()))
            last = now

    def stamp(self) -> Any:
        message = Clock().clock
        message.sec, message.nanosec = divmod(round(self.seconds * 1e9), 10**9)
        return message

    def close(self) -> None:
        self._ended = True
        self._thread.join()


@pytest.mark.parametrize("rate", [0.4, 4.0])
def test_bag_time_is_the_one_clock_and_the_wall_watches_it(
    bundle: Path, tmp_path: Path, rate: float
) -> None:
    namespace = f"/simulated{int(10 * rate)}"
    values = {"use_sim_time": True, "narration_timeout": 4.0, "image_timeout": 0.8}
    with running("segment_node", namespace, tmp_path / "log", bundle=bundle, **values):
        probe = Probe(namespace, outputs=("grasp",))
        clock = SimulatedClock(probe, rate)

        def feed() -> None:
            message = raw(scene())
            message.header.stamp = clock.stamp()
            probe.images.publish(message)

        try:
            probe.matched()
            said = clock.seconds
            probe.narrate("cut tomato")
            probe.next("grasp", lambda m: m.go, feed=feed)
            # The narration is over by the bag's time, however fast that passes.
            over = probe.decision("STALE_NARRATION", feed=feed)
            heard = over.decided.sec + over.decided.nanosec * 1e-9
            assert 4.0 <= heard - said <= 4.0 + max(1.0, 4 * rate)
            probe.narrate("cut tomato")
            probe.next("grasp", lambda m: m.go, feed=feed)
            clock.running = False
            stopped = time.monotonic()
            probe.next("grasp", lambda m: "STALE_IMAGE" in m.reasons, feed=feed)
            assert time.monotonic() - stopped < 2.5
            # A loop: the bag starts again, and with it everything.
            clock.seconds, clock.running = clock.seconds - 60.0, True
            probe.next("grasp", lambda m: "NO_NARRATION" in m.reasons)
            probe.narrate("cut tomato")
            probe.next("grasp", lambda m: m.go, feed=feed)
        finally:
            clock.close()
            probe.close()
