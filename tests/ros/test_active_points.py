"""Points of the target over DDS: a synthetic depth camera whose world is known."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from actiseg_ros.vision.images import to_bytes
from tests.ros.harness import DISCOVERY, PATIENCE, Probe, Process, eventually, raw, running, scene

NAMESPACE = "/deep"
HEIGHT, WIDTH = 128, 192
FOCAL, CENTRE = (210.0, 205.0), (97.5, 60.25)
PERIOD = 0.04
D = (-0.15, 0.03, 0.001, -0.002, 0.0)


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    values = {"image_timeout": 2.0, "narration_timeout": 120.0}
    values |= {"active_points": True, "depth_tolerance": 0.005}
    with running("segment_node", NAMESPACE, log, bundle=bundle, **values) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


class DepthCamera:
    """Publishes images with depth; each picture's plane is tilted and at a distance of its own."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe
        probe._record("points", PointCloud2, "segment/active_points")
        self.depth = probe.node.create_publisher(Image, "depth", 5)
        self.info = probe.node.create_publisher(CameraInfo, "camera_info", 5)
        self.truth: dict[int, np.ndarray] = {}
        self.count, self.due = 0, 0.0
        for publisher in (self.depth, self.info):
            eventually(publisher.get_subscription_count, "the node", DISCOVERY + PATIENCE)

    def shoot(
        self,
        encoding: str = "32FC1",
        *,
        delay: float = 0.0,
        shift: float = 0.0,
        size: tuple[int, int] = (HEIGHT, WIDTH),
        frame: str = "test_camera",
        info: bool = True,
        focal: float = FOCAL[0],
        depth: bool = True,
    ) -> None:
        probe, self.count = self.probe, self.count + 1
        time.sleep(max(0.0, self.due - time.monotonic()))
        self.due = time.monotonic() + PERIOD
        image = probe.stamp(raw(scene(HEIGHT, WIDTH)))
        stamp = image.header.stamp.sec * 10**9 + image.header.stamp.nanosec
        columns, rows = np.meshgrid(np.arange(size[1]), np.arange(size[0]))
        metres = 0.5 + 0.05 * (self.count % 40) + 0.001 * columns + 0.002 * rows
        metres[::7] = np.nan
        self.truth[stamp] = metres
        samples = metres.astype(np.float32)
        if encoding == "16UC1":
            samples = np.nan_to_num(np.rint(metres * 1000)).astype(np.uint16)
        picture = Image(height=size[0], width=size[1], encoding=encoding)
        picture.step = samples.strides[0]
        picture.data = to_bytes(samples.view(np.uint8))
        nanoseconds = stamp + round(shift * 1e9)
        picture.header.stamp.sec, picture.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        picture.header.frame_id = frame
        if info:
            message = CameraInfo(height=HEIGHT, width=WIDTH, distortion_model="plumb_bob")
            message.header = image.header
            message.d = list(D)
            message.k = [focal, 0.0, CENTRE[0], 0.0, FOCAL[1], CENTRE[1], 0.0, 0.0, 1.0]
            self.info.publish(message)
        if depth and delay <= 0:
            self.depth.publish(picture)
        probe.images.publish(image)
        if depth and delay > 0:
            threading.Timer(delay, self.depth.publish, [picture]).start()


@pytest.fixture(scope="module")
def shared(process: Process) -> Iterator[tuple[Probe, DepthCamera]]:
    probe = Probe(NAMESPACE, outputs=("mask", "grasp"))
    probe.matched()
    yield probe, DepthCamera(probe)
    probe.close()


def nanoseconds(message: Any) -> int:
    return int(message.header.stamp.sec) * 10**9 + int(message.header.stamp.nanosec)


def points_of(message: PointCloud2) -> np.ndarray:
    assert [field.name for field in message.fields] == ["x", "y", "z"]
    return np.frombuffer(message.data, "<f4").reshape(message.width, message.point_step // 4)[:, :3]


def distorted(points: np.ndarray) -> np.ndarray:
    """Pixels that see points, by the lens' equations (OpenCV's plumb bob) written out."""
    x, y = points[:, 0] / points[:, 2], points[:, 1] / points[:, 2]
    k1, k2, p1, p2, _ = D
    r2 = x * x + y * y
    radial = 1 + k1 * r2 + k2 * r2 * r2
    u = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
    v = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
    return np.stack([FOCAL[0] * u + CENTRE[0], FOCAL[1] * v + CENTRE[1]], axis=1)


@pytest.mark.parametrize(("encoding", "delay"), [("32FC1", 0.0), ("16UC1", 0.15)])
def test_points_are_those_of_the_mask_in_the_picture_of_the_same_time(
    shared: tuple[Probe, DepthCamera], encoding: str, delay: float
) -> None:
    probe, eye = shared
    probe.narrate("cut tomato")
    start, first = probe.count("mask"), eye.count
    clouds = []
    for _ in range(5):
        feed = lambda: eye.shoot(encoding, delay=delay, shift=0.004)  # noqa: E731
        clouds.append(
            probe.next("points", lambda m: m.width and nanoseconds(m) in eye.truth, feed=feed)
        )
    assert eye.count - first < 200
    masks = {nanoseconds(message): message for message in probe.since("mask", start)}
    compared = 0
    for cloud in clouds:
        stamp = nanoseconds(cloud)
        if stamp not in masks:
            continue
        assert cloud.header.frame_id == "test_camera"
        points = points_of(cloud)
        assert np.isfinite(points).all() and cloud.is_dense
        mask = np.frombuffer(masks[stamp].data, np.uint8).reshape(HEIGHT, WIDTH) == 1
        truth = eye.truth[stamp]
        rows, columns = np.nonzero(mask & np.isfinite(truth))
        np.testing.assert_allclose(points[:, 2], truth[rows, columns], atol=6e-4)
        seen = distorted(points.astype(np.float64))
        np.testing.assert_allclose(seen, np.stack([columns, rows], axis=1), atol=0.01)
        compared += 1
    assert compared >= 3
    values = probe.values("depth")
    assert values["reason"] == "" and values["target"] == "tomato"
    assert float(values["behind the image (ms)"]) == pytest.approx(4, abs=0.1)


@pytest.mark.parametrize(
    ("reason", "told", "how"),
    [
        ("LATE_DEPTH", "`depth_tolerance` is 0.005 s", {"shift": -0.012}),
        ("LATE_DEPTH", "after the image", {"shift": 0.012}),
        ("DEPTH_DISAGREES", "align depth to colour", {"size": (HEIGHT // 2, WIDTH // 2)}),
        ("DEPTH_DISAGREES", "'test_depth'", {"frame": "test_depth"}),
        ("BAD_DEPTH", "'8UC1'", {"encoding": "8UC1"}),
        ("BAD_CAMERA_INFO", "not calibrated", {"focal": 0.0}),
        ("NO_DEPTH", "no depth picture", {"depth": False}),
    ],
)
def test_without_fitting_depth_there_are_no_points_and_the_reason_is_told(
    shared: tuple[Probe, DepthCamera], reason: str, told: str, how: dict[str, Any]
) -> None:
    probe, eye = shared
    probe.narrate("cut tomato")
    text = probe.trouble("depth", reason, feed=lambda: eye.shoot(**how))
    assert told in text
    cloud = probe.next("points", feed=lambda: eye.shoot(**how))
    assert cloud.width == 0 and len(cloud.data) == 0
    # The decision is another matter.
    probe.decision(feed=lambda: eye.shoot(**how))
    probe.next("points", lambda m: m.width, feed=eye.shoot)


def test_without_target_there_are_none_and_nothing_is_wrong(
    shared: tuple[Probe, DepthCamera],
) -> None:
    probe, eye = shared
    probe.narrate("")
    assert probe.next("points", lambda m: nanoseconds(m), feed=eye.shoot).width == 0
    probe.next("points", feed=eye.shoot)
    assert probe.values("depth")["reason"] == "NO_TARGET"


def test_a_topic_that_nobody_publishes_is_named(bundle: Path, tmp_path: Path) -> None:
    values = {"bundle": bundle, "silence_warning": 0.5, "active_points": True}
    with running("segment_node", "/shallow", tmp_path / "log", **values):
        probe = Probe("/shallow", outputs=("grasp",))
        try:
            text = probe.trouble("depth", "no publisher on /shallow/depth")
            assert "sensor_msgs/msg/Image" in text
            probe.trouble("depth", "no publisher on /shallow/camera_info")
        finally:
            probe.close()
