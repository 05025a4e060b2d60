"""EPIC-KITCHENS narrations: the csv's rows, and what is being done at each moment."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.errors import RobotError
from actiseg_ros.prompts import readable_name

REPEAT_PERIOD = 1.0
"""Seconds between two messages about the same action."""

_COLUMNS = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "narration", "noun")


class NarrationError(RobotError):
    """A csv of narrations is missing, incomplete or malformed."""


@dataclass(frozen=True)
class Action:
    """One narrated action.

    Attributes:
        narration_id: Its name in the data set, for example ``P01_107_12``.
        narration: What is done, for example ``cut pepper``.
        start: Second of the video.
        stop: Second of the video, after `start`.
        target: The first noun as spoken words: ``bag:cereal`` of the csv is ``cereal bag``.
        object_names: Candidate objects, empty if the csv names none.
    """

    narration_id: str
    narration: str
    start: float
    stop: float
    target: str
    object_names: tuple[str, ...] = ()


@dataclass(frozen=True)
class NarrationEvent:
    """What is to be said at a time; no action means that the last one has ended."""

    time: float
    action: Action | None


def read_actions(path: Path, video_id: str) -> list[Action]:
    """Reads the actions of one video, ordered by their start.

    Raises:
        NarrationError: The file or a column is missing, a row is malformed, or no row has this
            video id.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in _COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise NarrationError(f"{path}: lacks the columns {', '.join(missing)}")
            rows = [(reader.line_num, row) for row in reader if row["video_id"] == video_id]
    except OSError as error:
        raise NarrationError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise NarrationError(f"{path}: is not UTF-8 ({error})") from error
    if not rows:
        raise NarrationError(f"{path}: has no narration of the video {video_id!r}")
    actions = [_action(row, f"{path}, line {line}") for line, row in rows]
    return sorted(actions, key=lambda action: (action.start, action.stop))


def _action(row: Mapping[str, str], where: str) -> Action:
    start = _seconds(row["start_timestamp"], f"{where}: start_timestamp")
    stop = _seconds(row["stop_timestamp"], f"{where}: stop_timestamp")
    if stop <= start:
        raise NarrationError(f"{where}: stops at {stop} s, not after its start at {start} s")
    return Action(
        narration_id=row["narration_id"],
        narration=row["narration"].strip(),
        start=start,
        stop=stop,
        target=readable_name(row["noun"]),
        object_names=_names(row.get("object_names") or "[]", f"{where}: object_names"),
    )


def _seconds(text: str, where: str) -> float:
    """Parses ``HH:MM:SS.ss``."""
    try:
        hours, minutes, seconds = text.strip().split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except (ValueError, AttributeError) as error:
        raise NarrationError(f"{where} is {text!r}, not of the form HH:MM:SS.ss") from error


def _names(text: str, where: str) -> tuple[str, ...]:
    try:
        names = ast.literal_eval(text)
    except (ValueError, SyntaxError) as error:
        raise NarrationError(f"{where} is {text!r}, not a list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise NarrationError(f"{where} is {text!r}, not a list of names")
    return tuple(names)


def narration_events(
    actions: Sequence[Action], start: float = 0.0, stop: float | None = None
) -> Iterator[NarrationEvent]:
    """Says when to speak of which action.

    EPIC's actions overlap; at any moment the one that began last counts, and when it ends an
    older one that still lasts comes back. Each is said when it begins to count and then every
    `REPEAT_PERIOD`; the end is said when nothing lasts any more.

    Args:
        actions: Actions, in any order.
        start: Seconds of the video to begin at; an action under way is said there.
        stop: Seconds of the video to end before.

    Returns:
        Events in order of time.
    """
    ends = sorted({time for action in actions for time in (action.start, action.stop)} | {start})
    ends = [time for time in ends if time >= start and (stop is None or time < stop)]
    said: Action | None = None
    for index, begin in enumerate(ends):
        lasting = [action for action in actions if action.start <= begin < action.stop]
        current = max(lasting, key=lambda action: action.start, default=None)
        if current is None:
            if said is not None:
                yield NarrationEvent(begin, None)
            said = None
            continue
        end = ends[index + 1] if index + 1 < len(ends) else current.stop
        if stop is not None:
            end = min(end, stop)
        repeats = 0
        while (time := begin + repeats * REPEAT_PERIOD) < end:
            yield NarrationEvent(time, current)
            repeats += 1
        said = current
