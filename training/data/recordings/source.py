"""What a recording gives: its chosen pictures, the times of all frames, and its narrations."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import Account
from training.data.recordings.narrations import Narration

_NAMED = 3
"""Actions that are named where some are left out."""
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


def shown(actions: Sequence[Narration], frames: Frames, account: Account) -> list[Narration]:
    """Leaves out the actions that no frame shows, because they are before or behind all of them.

    Args:
        actions: Those of the seconds that were chosen.
        frames: All frames of the recording, at least one.
        account: Told of what is left out.
    """
    first, last = frames.times[0], frames.times[-1]
    kept = [action for action in actions if action.stop > first and action.start <= last]
    if len(kept) < len(actions):
        lost = [action.text for action in actions if action not in kept]
        more = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
        account.lose(
            f"{len(lost)} of {len(actions)} actions are no part of the pictures' time, second "
            f"{first:.2f} to {last:.2f}: {', '.join(map(repr, lost[:_NAMED]))}{more}"
        )
    return kept


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
