"""How far long work has come: a bar on a terminal, now and then a line elsewhere.

A log file, a pipe or a job's output gets plain lines without carriage returns, the first one after
some time, at most one every two per cent of the work, and one at its end.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

from tqdm import tqdm

PATIENCE = 30.0
"""Seconds between two lines, at least."""
_LINES = 50
"""Lines about one piece of work before the last one, at most."""

_T = TypeVar("_T")


class Progress:
    """Progress of one piece of work; a context manager.

    Args:
        title: what is done.
        unit: what is counted, in the plural as a line shows it.
        total: how many there are; None if that is not known.
        initial: how many were done before.
        shown: False shows nothing at all.
        brief: Say nothing in a log about work that took less than `PATIENCE`, and remove the bar
            from the terminal at the end: for the parts of longer work.
        stream: where to show it; standard error by default.
    """

    def __init__(
        self,
        title: str,
        unit: str,
        total: float | None,
        *,
        initial: float = 0,
        shown: bool = True,
        brief: bool = False,
        stream: TextIO | None = None,
    ) -> None:
        self._title, self._unit, self._total, self._brief = title, unit, total, brief
        self._stream = stream or sys.stderr
        self._done = self._initial = self._told = initial
        self._notes = ""
        self._began = self._last = time.monotonic()
        terminal = shown and self._stream.isatty()
        self._bar = (
            tqdm(
                desc=title,
                unit=f" {unit}",
                total=total,
                initial=initial,
                leave=not brief,
                file=self._stream,
                dynamic_ncols=True,
            )
            if terminal
            else None
        )
        self._lines = shown and not terminal

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elapsed = time.monotonic() - self._began
        if self._lines and not (self._brief and elapsed < PATIENCE):
            self._say(f"{self._count()} in {_duration(elapsed)}{self._notes}")

    def reach(self, done: float) -> None:
        """Counts up to so many in all."""
        self.update(done - self._done)

    def update(self, count: float = 1) -> None:
        """Counts what was done since the last call."""
        self._done += count
        if self._bar is not None:
            self._bar.update(count)
        elif self._lines and time.monotonic() - self._last >= PATIENCE and self._enough():
            self._say(f"{self._count()}{self._left()}{self._notes}")
            self._told, self._last = self._done, time.monotonic()

    def note(self, **values: str) -> None:
        """Numbers to show from now on, by name."""
        self._notes = "".join(f", {name} {value}" for name, value in values.items())
        if self._bar is not None:
            self._bar.set_postfix_str(self._notes.removeprefix(", "), refresh=False)

    def _enough(self) -> bool:
        """Whether there is something new to say."""
        step = (self._total - self._initial) / _LINES if self._total is not None else 1
        return self._done - self._told >= step

    def _count(self) -> str:
        if self._total is None:
            return f"{self._done:.0f} {self._unit}"
        return f"{self._done:.0f} of {self._total:.0f} {self._unit}"

    def _left(self) -> str:
        if self._total is None or self._done == self._initial:
            return ""
        each = (time.monotonic() - self._began) / (self._done - self._initial)
        return f", about {_duration(each * max(0, self._total - self._done))} left"

    def _say(self, text: str) -> None:
        print(f"{self._title}: {text}", file=self._stream, flush=True)


def tracked(
    items: Iterable[_T],
    title: str,
    unit: str,
    *,
    total: float | None = None,
    shown: bool = True,
    brief: bool = False,
) -> Iterator[_T]:
    """The items, with their progress shown as they are taken; see `Progress`."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with Progress(title, unit, total, shown=shown, brief=brief) as bar:
        for item in items:
            yield item
            bar.update()


def say(text: str) -> None:
    """Prints a line on standard output at once, above a bar that is being shown."""
    if sys.stderr.isatty():
        tqdm.write(text)
    else:
        print(text, flush=True)


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
