"""What went into the node and came out of it, read from the bags."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bags.recording import open_recording
from actiseg_ros.errors import ActisegError


@dataclass(frozen=True)
class RecordedMessage:
    """One message: time in seconds of the bag, header stamp in seconds (nan without), message."""

    time: float
    stamp: float
    message: Any


@dataclass(frozen=True)
class Outputs:
    """The recorded messages of each output, in order of time."""

    masks: list[RecordedMessage]
    objects: list[RecordedMessage]
    uncertainties: list[RecordedMessage]
    overlays: list[RecordedMessage]
    decisions: list[RecordedMessage]
    go: list[RecordedMessage]
    diagnostics: list[RecordedMessage]

    @property
    def judged(self) -> list[RecordedMessage]:
        """The first decision about each image."""
        first: dict[float, RecordedMessage] = {}
        for decision in self.decisions:
            if decision.stamp > 0:
                first.setdefault(decision.stamp, decision)
        return list(first.values())


def read_bag(path: Path) -> dict[str, list[RecordedMessage]]:
    """Reads all messages of a bag by topic."""
    with open_recording(path) as recording:
        found: dict[str, list[RecordedMessage]] = {name: [] for name in recording.topics}
        for entry in recording.messages():
            message = recording.decode(entry)
            header = getattr(message, "header", None)
            stamp = math.nan
            if header is not None:
                stamp = header.stamp.sec + header.stamp.nanosec * 1e-9
            found[entry.topic.name].append(RecordedMessage(entry.time_ns * 1e-9, stamp, message))
    return found


def read_outputs(bag: Path) -> Outputs:
    """Reads the recorded outputs.

    Raises:
        ActisegError: An output topic is absent or never had a message.
    """
    topics = read_bag(bag)
    names = ("mask", "objects", "uncertainty", "overlay/compressed", "grasp", "go")
    wanted = [*(f"/segment/{name}" for name in names), "/diagnostics"]
    silent = [topic for topic in wanted if not topics.get(topic)]
    if silent:
        raise ActisegError(f"{bag}: nothing was recorded on {', '.join(silent)}")
    return Outputs(*(topics[topic] for topic in wanted))


def image_of(message: Any) -> NDArray[np.uint8]:
    """Pixels of a mono8 image message."""
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width)
