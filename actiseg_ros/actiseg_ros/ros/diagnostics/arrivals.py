"""How messages come in: rate, silence, and messages that were lost on their way."""

from __future__ import annotations

import itertools
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class ArrivalReport:
    """How messages came in lately.

    Attributes:
        count: Messages since the start.
        rate: Messages per second over the last ones, 0 if there are none.
        interval: Usual seconds between two of the last ones, nan if there are not two.
        lost: Messages that are missing among the last ones.
        silence: Seconds since the last message, infinite before the first.
    """

    count: int
    rate: float
    interval: float
    lost: int
    silence: float


class ArrivalMonitor:
    """Watches a topic's messages.

    Losses are counted from the numbers that each publisher gives its messages. Intervals would not
    tell: a camera that slows down looks like one whose images are lost.

    Args:
        window: Number of messages that are looked at.
        clock: Monotonic seconds.
    """

    def __init__(self, window: int = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: deque[float] = deque(maxlen=window)
        self._lost: deque[int] = deque(maxlen=window)
        self._count = 0

    def arrived(self, lost: int = 0) -> None:
        """Counts a message that came in now.

        Args:
            lost: Messages that its publisher sent since the one before and that never came.
        """
        with self._lock:
            self._times.append(self._clock())
            self._lost.append(lost)
            self._count += 1

    def report(self) -> ArrivalReport:
        """Summarises the last messages."""
        with self._lock:
            times, lost, count = list(self._times), sum(self._lost), self._count
        now = self._clock()
        if not times:
            return ArrivalReport(count, 0.0, float("nan"), 0, float("inf"))
        intervals = [late - early for early, late in itertools.pairwise(times)]
        usual = statistics.median(intervals) if intervals else float("nan")
        span = now - times[0]
        rate = len(times) / span if span > 0 else 0.0
        return ArrivalReport(count, rate, usual, lost, now - times[-1])


class PublisherTracker:
    """Tells apart the publishers of one topic, from what comes with each message.

    Where the middleware tells a message's publisher, that is it. Otherwise the numbers that
    publishers give their messages must tell: those of one publisher grow, as long as there is
    another one they have to follow each other, and whoever joins may be the one who speaks next.
    """

    def __init__(self) -> None:
        self._number: int | None = None
        self._matched = 0
        self._joined = 0
        self._changes = 0

    def identify(
        self, publisher: object, number: int | None, matched: int, joined: int = 0
    ) -> tuple[str, int]:
        """Identifies the publisher of a message.

        Args:
            publisher: Its identity as the middleware tells it, None if it does not.
            number: Number that it gave the message, None if there is none.
            matched: Publishers that the subscription has now.
            joined: Publishers that it has ever had, as far as the middleware has told.

        Returns:
            A name that differs from the last one if another publisher may have sent it, and how
            many messages are missing since the last one.
        """
        last, self._number = self._number, number
        others, self._matched = self._matched, matched
        known = self._joined
        self._joined = max(joined, known + max(0, matched - others))
        ordered = last is None or number is None or number > last
        lost = number - last - 1 if last is not None and number is not None and ordered else 0
        if publisher is not None:
            return str(publisher), lost if ordered else 0
        doubtful = self._joined > known or (max(matched, others) > 1 and lost > 0)
        unknown = matched > 1 and number is None  # nothing tells them apart
        if not ordered or unknown or (doubtful and last is not None):
            self._changes += 1
            lost = 0
        return f"publisher {self._changes}", lost
