"""Compressed images, and inputs that stay silent: the node has to say why."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String

from actiseg_ros.vision.compressed import encode_jpeg
from tests.ros.harness import Probe, Process, eventually, raw, running, scene

NAMESPACE = "/inputs"


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    with running(
        "segment_node",
        NAMESPACE,
        log,
        bundle=bundle,
        image_transport="compressed",
        image_timeout=5.0,
        narration_timeout=120.0,
    ) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def probe(process: Process) -> Iterator[Probe]:
    probe = Probe(NAMESPACE, compressed=True)
    probe.matched()
    yield probe
    probe.close()


def _jpeg(data: bytes | None = None) -> CompressedImage:
    message = CompressedImage(format="jpeg")
    message.data = encode_jpeg(scene()) if data is None else data
    return message


def test_compressed_images_reach_go_with_a_mask_of_their_size(probe: Probe) -> None:
    probe.narrate("cut tomato")
    decision = probe.decision(feed=lambda: probe.images.publish(probe.stamp(_jpeg())))
    assert decision.header.frame_id == "test_camera"
    mask = probe.next("mask") if not probe.count("mask") else probe.since("mask", 0)[-1]
    assert (mask.height, mask.width) == scene().shape[:2]
    assert np.frombuffer(mask.data, np.uint8).any()


@pytest.mark.parametrize("spoil", ["empty", "cut", "ended", "noise", "text"])
def test_a_corrupt_jpeg_is_told_and_survived(probe: Probe, spoil: str) -> None:
    good = encode_jpeg(scene()).tobytes()
    data = {
        "empty": b"",
        "cut": good[: len(good) // 2],
        "ended": good[: 9 * len(good) // 10] + b"\xff\xd9",
        "noise": good[:2] + np.random.default_rng(1).bytes(500),
        "text": b"this is no picture",
    }[spoil]

    def feed() -> None:
        probe.images.publish(probe.stamp(_jpeg(data)))

    probe.narrate("cut tomato")
    probe.decision("BAD_IMAGE", feed=feed)
    probe.trouble("image", "compressed image", feed=feed)
    probe.decision(feed=lambda: probe.images.publish(probe.stamp(_jpeg())))


def test_a_missing_publisher_is_named_with_the_topics_that_exist(
    bundle: Path, tmp_path: Path
) -> None:
    with running(
        "segment_node", "/alone", tmp_path / "log", bundle=bundle, silence_warning=1.0
    ) as process:
        # This probe publishes its images elsewhere, as a forgotten remapping does.
        probe = Probe("/alone", outputs=("grasp",), image_type=String)
        camera = probe.node.create_publisher(Image, "camera/image_raw", 1)
        probe.destroy(probe.images)
        try:
            told = probe.trouble("image", "no publisher on /alone/image")
            assert "/alone/camera/image_raw" in told and "remap" in told
            eventually(lambda: "no publisher on /alone/image" in process.log, "the log line")
            probe.trouble("narration", "/alone/narration")
            assert "NO_IMAGE" in probe.next("grasp").reasons
        finally:
            probe.destroy(camera)
            probe.close()


def test_an_incompatible_qos_is_named_with_its_remedy(bundle: Path, tmp_path: Path) -> None:
    with running(
        "segment_node",
        "/strict",
        tmp_path / "log",
        bundle=bundle,
        image_reliability="reliable",
        silence_warning=1.0,
    ) as process:
        probe = Probe("/strict", outputs=("grasp",), reliability=ReliabilityPolicy.BEST_EFFORT)
        try:
            told = probe.trouble(
                "image",
                "incompatible QoS",
                feed=lambda: probe.images.publish(probe.stamp(raw(scene()))),
            )
            assert "best_effort" in told
            eventually(lambda: "incompatible QoS" in process.log, "the log line")
            assert "NO_IMAGE" in probe.next("grasp").reasons
        finally:
            probe.close()


def test_a_publisher_of_another_type_is_named(bundle: Path, tmp_path: Path) -> None:
    with running("segment_node", "/typed", tmp_path / "log", bundle=bundle, silence_warning=1.0):
        probe = Probe("/typed", outputs=("grasp",), image_type=String)
        try:
            told = probe.trouble("image", "is published as std_msgs/msg/String")
            assert "sensor_msgs/msg/Image" in told
        finally:
            probe.close()
