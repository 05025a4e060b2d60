"""Playing a bag: which messages, when, and with which stamps. Without ROS; the node only sends."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.recording import Recorded, Recording, Topic, is_outdated

TICK_NS = 10_000_000
"""Nanoseconds of the bag between two ticks of its clock."""
_SAME_CLOCK_NS = 3600 * 10**9
"""Largest age of a stamp at its recording that is an age, and not another clock's time."""
_EARLY_NS = 10**9
"""How far ahead of its recording a stamp may be for small differences between clocks."""
_STAMPED = 12
"""Bytes of encapsulation and stamp, with which a stamped message begins."""


class Playback:
    """The part of a recording that is played.

    Args:
        recording: Open bag.
        topics: Names wanted, with or without a leading slash; all without any.
        start_offset: Seconds of the bag to skip.

    Attributes:
        topics: What is played, in the order of the bag.

    Raises:
        BagError: A topic is not in the bag, or nothing is left behind the offset.
    """

    def __init__(self, recording: Recording, topics: Sequence[str], start_offset: float) -> None:
        self._recording = recording
        wanted = {"/" + name.lstrip("/") for name in topics if name.strip("/ ")}
        if missing := sorted(wanted - set(recording.topics)):
            raise BagError(
                f"`topics` names {', '.join(missing)}, which {recording.path} does not hold; "
                f"it holds {', '.join(recording.topics)}"
            )
        self.topics = [
            topic for name, topic in recording.topics.items() if not wanted or name in wanted
        ]
        if not 0 <= start_offset < float("inf"):
            raise BagError(f"`start_offset` is {start_offset}, it must be 0 or more seconds")
        self._start_ns = recording.start_ns + round(start_offset * 1e9)

    def leave_out(self, names: Collection[str]) -> None:
        """Drops topics that cannot be played."""
        self.topics = [topic for topic in self.topics if topic.name not in names]

    def check(self) -> None:
        """Checks that there is something to play.

        Raises:
            BagError: There is not.
        """
        if next(iter(self.messages()), None) is None:
            first = (self._start_ns - self._recording.start_ns) / 1e9
            length = (self._recording.end_ns - self._recording.start_ns) / 1e9
            names = ", ".join(topic.name for topic in self.topics) or "no topic"
            raise BagError(
                f"{self._recording.path}: has nothing to play of {names} from second {first:g} on "
                f"(`start_offset`); the bag is {length:.1f} s long"
            )

    def messages(self) -> Iterator[Recorded]:
        """The messages in the order of time."""
        if self.topics:
            names = [topic.name for topic in self.topics]
            yield from self._recording.messages(names, self._start_ns)


def unplayable(topic: Topic) -> str:
    """Why a topic's bytes must not be published as its type; empty if they may."""
    if is_outdated(topic):
        return f"{topic.type} was recorded with another definition than this version has"
    return ""


def play(
    messages: Iterator[Recorded],
    send: Callable[[Recorded], None],
    tick: Callable[[int], None],
    rate: float,
    stopping: threading.Event,
) -> int:
    """Sends messages when their time has come.

    Args:
        messages: In the order of time.
        send: Called with each.
        tick: Called with the bag's time in nanoseconds, every `TICK_NS` and at each message;
            it never goes back.
        rate: Speed; 1 is as recorded.
        stopping: Ends the replay early.

    Returns:
        Number of messages sent.
    """
    sent = 0
    began, first_ns, ticked_ns = time.monotonic(), 0, 0
    for message in messages:
        if not sent:
            began, first_ns, ticked_ns = time.monotonic(), message.time_ns, message.time_ns
            tick(first_ns)
        # Unindexed bags may hold messages slightly out of order.
        at_ns = max(message.time_ns, ticked_ns)
        while not stopping.is_set():
            now_ns = first_ns + round((time.monotonic() - began) * 1e9 * rate)
            due_ns = min(at_ns, ticked_ns + TICK_NS)
            if now_ns >= due_ns:
                ticked_ns = due_ns
                tick(due_ns)
                if due_ns == at_ns:
                    break
            else:
                stopping.wait((due_ns - now_ns) * 1e-9 / rate)
        if stopping.is_set():
            break
        send(message)
        sent += 1
    return sent


class Restamper:
    """Moves stamps from the time of the recording to the time of the replay.

    All stamps are moved alike, so that those that were equal stay equal (an image and its camera
    info), and an age stays an age. A stamp of zero, or of another clock than the bag's, is taken
    for the time at which its message was recorded.

    Args:
        first_ns: Time of the first message played, nanoseconds of the bag.
        began_ns: The replay's time then, nanoseconds.
        rate: Speed of the replay.
    """

    def __init__(self, first_ns: int, began_ns: int, rate: float) -> None:
        self._first_ns, self._began_ns, self._rate = first_ns, began_ns, rate
        self._other_clock_ns: int | None = None

    def moved(self, stamp_ns: int, recorded_ns: int) -> int:
        """The stamp in the time of the replay, nanoseconds.

        Args:
            stamp_ns: Stamp in the message.
            recorded_ns: When it was recorded.
        """
        if stamp_ns == 0:
            stamp_ns = recorded_ns
        elif not -_EARLY_NS <= recorded_ns - stamp_ns <= _SAME_CLOCK_NS:
            if self._other_clock_ns is None:
                self._other_clock_ns = recorded_ns - stamp_ns
            stamp_ns += self._other_clock_ns
        return max(0, self._began_ns + round((stamp_ns - self._first_ns) / self._rate))

    def restamped(self, message: Recorded) -> bytes:
        """The message, which begins with a `std_msgs/Header`, with its stamp moved."""
        stamp = self.moved(stamp_of(message.raw), message.time_ns)
        return with_stamp(message.raw, stamp)


def stamp_of(raw: bytes) -> int:
    """Stamp of a serialised message that begins with a `std_msgs/Header`, nanoseconds.

    Raises:
        BagError: It is too short to have one.
    """
    if len(raw) < _STAMPED:
        raise BagError(f"a message of {len(raw)} bytes is cut short: it has no header")
    seconds, nanoseconds = struct.unpack_from(f"{_order(raw)}iI", raw, 4)
    return int(seconds) * 10**9 + int(nanoseconds)


def with_stamp(raw: bytes, stamp_ns: int) -> bytes:
    """Replaces the stamp of a serialised message that begins with a `std_msgs/Header`.

    Args:
        raw: CDR bytes: four bytes of encapsulation, then seconds (int32), nanoseconds (uint32).
        stamp_ns: New stamp in nanoseconds.
    """
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    return raw[:4] + struct.pack(f"{_order(raw)}iI", seconds, nanoseconds) + raw[12:]


def _order(raw: bytes) -> str:
    return "<" if raw[1] & 1 else ">"
