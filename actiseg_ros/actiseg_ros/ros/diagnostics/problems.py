"""Problems, remembered long enough to be seen, and logged without flooding the log."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

_NUMBER = re.compile(r"[-+]?\d[\w.]*")
_CAUSES = 8
"""Different texts of one part and kind that are logged within the time of one repetition."""


class Level(IntEnum):
    """Severity, with the numbers of `diagnostic_msgs/DiagnosticStatus`."""

    OK = 0
    WARN = 1
    ERROR = 2


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: part of the node that it concerns, severity and text."""

    part: str
    level: Level
    text: str


class Problems:
    """Problems of the last seconds, one per part and kind.

    Args:
        keep: Seconds that a problem stays visible after it was last reported.
        repeat: Seconds before the same problem is worth another log line.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        keep: float = 5.0,
        repeat: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._keep, self._repeat, self._clock = keep, repeat, clock
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], tuple[Problem, float]] = {}
        self._logged: dict[tuple[str, str], dict[str, float]] = {}

    def note(self, problem: Problem, kind: str = "") -> None:
        """Remembers a problem for the diagnostics alone; when it is logged next stays as it is."""
        with self._lock:
            self._seen[problem.part, kind] = (problem, self._clock())

    def report(self, problem: Problem, kind: str = "") -> bool:
        """Remembers a problem.

        Args:
            problem: What is wrong.
            kind: Problems of one part and kind replace each other.

        Returns:
            Whether it should be logged now: not if the same text, numbers aside, was logged
            lately, or too many others of this part and kind.
        """
        key, now = (problem.part, kind), self._clock()
        gist = _NUMBER.sub("", problem.text)
        self.note(problem, kind)
        with self._lock:
            lately = {
                text: when
                for text, when in self._logged.get(key, {}).items()
                if now - when < self._repeat
            }
            self._logged[key] = lately
            if gist in lately or len(lately) >= _CAUSES:
                return False
            lately[gist] = now
            return True

    def clear(self, part: str, kind: str = "") -> None:
        """Forgets a problem that is known to be over."""
        with self._lock:
            self._seen.pop((part, kind), None)

    def of(self, part: str) -> list[Problem]:
        """Problems of one part that are still visible, worst first."""
        now = self._clock()
        with self._lock:
            found = [
                problem
                for problem, when in self._seen.values()
                if problem.part == part and now - when <= self._keep
            ]
        return sorted(found, key=lambda problem: -problem.level)
