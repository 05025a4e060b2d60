"""What a recording gives: its chosen pictures, the times of all frames, and its narrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import Account
from training.data.recordings.narrations import Narration

Progress = Callable[[float, float], None]
"""Called with the second that was read last, and the last one."""


@dataclass(frozen=True)
class Choice:
    """Which frames are taken.

    Attributes:
        every: Seconds; one frame of each interval of this length.
        favour: Which frame of an interval: the first, or the one that the node was most unsure of.
        start: First second wanted.
        stop: Seconds to stop before; None is the recording's end.
    """

    every: float
    favour: Literal["none", "uncertain"] = "none"
    start: float = 0.0
    stop: float | None = None


@dataclass(frozen=True)
class Picture:
    """One chosen frame.

    Attributes:
        number: Its place among the recording's frames from 1, or the number of its file.
        time: Seconds from the recording's beginning.
        origin: What leads back to it, for the manifest.
        jpeg: Its bytes, if the recording holds it as an upright JPEG file.
        decode: Gives its pixels, RGB [H, W, 3], upright.
    """

    number: int
    time: float
    origin: dict[str, Any]
    jpeg: bytes | None
    decode: Callable[[], npt.NDArray[np.uint8]]


@dataclass
class Frames:
    """Numbers and times of all frames of a recording, growing."""

    numbers: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)


class Source(Protocol):
    """A recording.

    Attributes:
        video_id: Its name, which begins the names of its pictures.
        identity: What it is, for the manifest; another recording has another.
        frames: All frames; complete once the pictures have been taken.
        account: What is told about it.
    """

    video_id: str
    identity: dict[str, Any]
    frames: Frames
    account: Account

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Takes the chosen frames.

        Raises:
            BagError: The recording is damaged, and damage is refused.
        """

    def narrations(self) -> list[Narration]:
        """What was being done; to be asked when the pictures have been taken."""
