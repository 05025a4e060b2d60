"""Which topic of a bag is the camera."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.recording import Recording, Topic

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
DECISION = "actiseg_msgs/msg/GraspDecision"
_DEPTH = re.compile(r"(16UC1|32FC1)(;|$)|compressedDepth", re.IGNORECASE)
"""In an image's `encoding`, or in the `format` of a compressed one."""


def camera_topic(bag: Recording, wanted: str, option: str) -> Topic:
    """Finds the camera's topic of one bag, as `find_camera` does of several."""
    return find_camera([bag], wanted, option)[1]


def find_camera(bags: Sequence[Recording], wanted: str, option: str) -> tuple[Recording, Topic]:
    """Finds the camera's topic: the one that was asked for, or the only one there is.

    Depth images, the outputs of a `segment` node whose decisions are in the bags, and the
    compressed form of images that are there in raw form too are not taken unasked.

    Args:
        bags: Open bags of one recording, in any order.
        wanted: Name that was asked for; empty without one.
        option: What the user chooses a topic with, for the error.

    Returns:
        The bag that holds the camera's images, and their topic.

    Raises:
        BagError: There is no camera, more than one, or one whose images are in several bags.
    """
    where = ", ".join(str(bag.path) for bag in bags)
    found = [
        (bag, topic)
        for bag in bags
        for topic in bag.topics.values()
        if topic.type in (RAW, COMPRESSED) and topic.count
    ]
    if wanted:
        name = "/" + wanted.lstrip("/")
        held = listed(topic for _, topic in found)
        found = [(bag, topic) for bag, topic in found if topic.name == name]
        if not found:
            raise BagError(f"{where}: has no images on {name}; it has {held}")
    else:
        # What a node made of the images is no camera.
        made = outputs(topic for bag in bags for topic in bag.topics.values())
        found = [
            (bag, topic)
            for bag, topic in found
            if topic.name not in made and not _is_depth(bag, topic)
        ]
        # One camera's images in both forms: those that lost nothing.
        raw = {f"{topic.name}/compressed" for _, topic in found}
        found = [(bag, topic) for bag, topic in found if topic.name not in raw]
    if len(found) == 1:
        return found[0]
    if not found:
        held = listed(topic for bag in bags for topic in bag.topics.values())
        raise BagError(
            f"{where}: holds no camera images ({RAW} or CompressedImage); it holds {held}; record "
            "the camera's topic too"
        )
    names = {topic.name for _, topic in found}
    if len(names) == 1:
        paths = " and ".join(str(bag.path) for bag, _ in found)
        raise BagError(f"{paths}: each has images on {names.pop()}; leave out all but one")
    raise BagError(
        f"{where}: has images of {len(names)} cameras; choose one with {option}: "
        f"{listed(topic for _, topic in found)}"
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
