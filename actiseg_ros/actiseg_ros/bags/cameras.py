"""Which topic of a bag is the camera."""

from __future__ import annotations

import re
from collections.abc import Iterable

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.recording import Recording, Topic

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
DECISION = "actiseg_msgs/msg/GraspDecision"
_DEPTH = re.compile(r"(16UC1|32FC1)(;|$)|compressedDepth", re.IGNORECASE)
"""In an image's `encoding`, or in the `format` of a compressed one."""


def camera_topic(bag: Recording, wanted: str, option: str) -> Topic:
    """Finds the camera's topic: the one that was asked for, or the only one there is.

    Depth images, the outputs of a `segment` node whose decisions are in the bag, and the compressed
    form of images that are there in raw form too are not taken unasked.

    Args:
        bag: Open bag.
        wanted: Name that was asked for; empty without one.
        option: What the user chooses a topic with, for the error.

    Raises:
        BagError: There is no camera, or more than one.
    """
    images = {
        name: topic
        for name, topic in bag.topics.items()
        if topic.type in (RAW, COMPRESSED) and topic.count
    }
    if wanted:
        name = "/" + wanted.lstrip("/")
        if name not in images:
            raise BagError(f"{bag.path}: has no images on {name}; it has {listed(images.values())}")
        return images[name]
    # What a node made of the images is no camera.
    made = outputs(bag.topics.values())
    cameras = {
        name: topic
        for name, topic in images.items()
        if name not in made and not _is_depth(bag, topic)
    }
    # One camera's images in both forms: those that lost nothing.
    for name in list(cameras):
        if name.endswith("/compressed") and name.removesuffix("/compressed") in cameras:
            del cameras[name]
    if len(cameras) == 1:
        return next(iter(cameras.values()))
    if not cameras:
        raise BagError(
            f"{bag.path}: holds no camera images ({RAW} or CompressedImage); it holds "
            f"{listed(bag.topics.values())}"
        )
    raise BagError(
        f"{bag.path}: has images of {len(cameras)} cameras; choose one with {option}: "
        f"{listed(cameras.values())}"
    )


def outputs(topics: Iterable[Topic]) -> set[str]:
    """Names of the topics of `segment` nodes, as far as their decisions are in the bag."""
    known = list(topics)
    nodes = tuple(t.name.rpartition("/")[0] + "/" for t in known if t.type == DECISION)
    return {topic.name for topic in known if nodes and topic.name.startswith(nodes)}


def listed(topics: Iterable[Topic]) -> str:
    """Names, types and numbers of messages of topics, for a message to the user."""
    return ", ".join(f"{topic.name} ({topic.type}, {topic.count})" for topic in topics) or "nothing"


def _is_depth(bag: Recording, topic: Topic) -> bool:
    """Whether a topic's first image tells distances instead of colours."""
    first = next(bag.messages([topic.name]), None)
    if first is None:
        return False
    image = bag.decode(first)
    return _DEPTH.search(image.encoding if topic.type == RAW else image.format) is not None
