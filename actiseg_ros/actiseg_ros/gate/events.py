"""What can happen to the gate, and when: times, images and events."""

from __future__ import annotations

import math
from dataclasses import dataclass

from actiseg_ros.gate.rule import Features


@dataclass(frozen=True)
class Time:
    """One moment on both clocks.

    Attributes:
        ros_ns: Nanoseconds of ROS time; 0 while a simulated clock has not told any.
        steady: Monotonic seconds of the wall clock.
        simulated: Whether ROS time comes from /clock (`use_sim_time`).
    """

    ros_ns: int
    steady: float
    simulated: bool = False

    def since(self, earlier: Time) -> float:
        """Seconds passed, by the one clock that counts: simulated time, else monotonic time."""
        if self.simulated:
            return (self.ros_ns - earlier.ros_ns) * 1e-9
        return self.steady - earlier.steady


NEVER = Time(0, 0.0)
"""The time of nothing."""


@dataclass(frozen=True)
class Source:
    """Where an image comes from; images of different sources are never counted together.

    Attributes:
        publisher: Tells publishers of the topic apart; changes when another one is heard.
        frame_id: Header's frame.
        height: Rows of the image, 0 if they cannot be told.
        width: Columns of the image, 0 if they cannot be told.
    """

    publisher: str
    frame_id: str = ""
    height: int = 0
    width: int = 0


@dataclass(frozen=True)
class Frame:
    """One arrived image.

    Attributes:
        stamp_ns: Header stamp, nanoseconds; 0 is unknown.
        taken_ns: ROS time that its age counts from: the stamp, or its arrival; 0 is unknown and
            never counts as fresh.
        digest: Number made from its picture, whatever else the message holds.
        source: Where it comes from.
        arrived: When it came in.
        session: Filled in by the state machine: images of another session count for nothing.
    """

    stamp_ns: int
    taken_ns: int
    digest: int
    source: Source
    arrived: Time
    session: int = -1

    def age(self, now: Time) -> float:
        """Seconds since it was taken; nan if that or the time is unknown."""
        known = self.taken_ns > 0 and now.ros_ns > 0
        return (now.ros_ns - self.taken_ns) * 1e-9 if known else math.nan


# Events


@dataclass(frozen=True)
class Activated:
    """The node became active; everything from before is forgotten."""


@dataclass(frozen=True)
class Deactivated:
    """The node is no longer active."""


@dataclass(frozen=True)
class Reset:
    """Images, narration and evidence shall be forgotten."""


@dataclass(frozen=True)
class PromptChanged:
    """Narration, objects or target changed: old evidence says nothing about the new ones."""


@dataclass(frozen=True)
class Narrated:
    """A narration came in.

    Attributes:
        text: What is being done; empty ends the action.
        duration: Seconds that an action lasts from its beginning; 0 is unknown.
        age: Seconds since the action began.
        from_action: Whether it came with an action; a plain narration of the same text never
            makes an action of known duration last longer.
        kept: Seconds for which it was kept for late listeners, in which others may have been said;
            0 if it was heard as it was said.
    """

    text: str
    duration: float = 0.0
    age: float = 0.0
    from_action: bool = False
    kept: float = 0.0


@dataclass(frozen=True)
class ImageArrived:
    """An image message came in, whether it will be judged or dropped."""

    frame: Frame


@dataclass(frozen=True)
class ImageRejected:
    """An image message could not be decoded; `Judged` or `ImageUnused` ends this."""


@dataclass(frozen=True)
class ImageUnused:
    """An image was decoded, and nothing was looked for in it."""


@dataclass(frozen=True)
class InferenceFailed:
    """The network failed; the next `Judged` ends this."""


@dataclass(frozen=True)
class Judged:
    """The network's evidence for one image.

    Attributes:
        frame: The image, as `ImageArrived` left it in the state.
        prompt_version: The state's, when the prompt was read.
        features: Evidence about the target.
        target_label: Value of the target in the label map, 0 if there is none.
    """

    frame: Frame
    prompt_version: int
    features: Features
    target_label: int = 0


@dataclass(frozen=True)
class PublishersCounted:
    """How many publishers the decision has, this node's own included."""

    count: int


@dataclass(frozen=True)
class SettingsChanged:
    """Calibration or options are others than before."""


@dataclass(frozen=True)
class ClockRead:
    """Nothing happened but that the time was read."""


Event = (
    Activated | Deactivated | Reset | PromptChanged | Narrated | ImageArrived | ImageRejected
    | ImageUnused | InferenceFailed | Judged | PublishersCounted | SettingsChanged | ClockRead
)  # fmt: skip
