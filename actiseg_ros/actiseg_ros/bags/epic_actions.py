"""EPIC-KITCHENS narrations: the csv's rows, and what is being done at each moment."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.errors import RobotError
from actiseg_ros.narration.vocabulary import readable_name
from actiseg_ros.tables import Row, TableError, read_table

REPEAT_PERIOD = 1.0
"""Seconds between two messages about the same action."""

COLUMNS = (
    "narration_id",
    "participant_id",
    "video_id",
    "narration_timestamp",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "narration",
    "verb",
    "verb_class",
    "noun",
    "noun_class",
    "all_nouns",
    "all_noun_classes",
)
"""Columns of EPIC-KITCHENS-100's tables of narrations, in their order."""

_NEEDED = ("narration_id", "video_id", "start_timestamp", "stop_timestamp", "narration", "noun")
_TIMESTAMP = re.compile(r"(\d+):([0-5]?\d):([0-5]?\d(?:\.\d*)?)")


class NarrationError(RobotError):
    """A csv of narrations is missing, incomplete or malformed."""


@dataclass(frozen=True)
class TimedAction:
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
    action: TimedAction | None


def read_actions(path: Path, video_id: str) -> list[TimedAction]:
    """Reads the actions of one video, ordered by their start.

    Raises:
        NarrationError: The file or a column is missing, a row is malformed, or no row has this
            video id.
    """
    return [action for action, _ in read_rows(path, video_id)]


def read_rows(path: Path, video_id: str) -> list[tuple[TimedAction, Row]]:
    """Reads the actions of one video with all that their rows say, ordered by their start.

    Raises:
        NarrationError: As for `read_actions`.
    """
    try:
        rows = [row for row in read_table(path, _NEEDED) if row["video_id"] == video_id]
        if not rows:
            raise NarrationError(f"{path}: has no narration of the video {video_id!r}")
        actions = [(_action(row), row) for row in rows]
    except TableError as error:
        raise NarrationError(str(error)) from error
    return sorted(actions, key=lambda entry: (entry[0].start, entry[0].stop))


def _action(row: Row) -> TimedAction:
    start, stop = seconds(row, "start_timestamp"), seconds(row, "stop_timestamp")
    if stop <= start:
        raise row.error("stop_timestamp", f"after the start at {row['start_timestamp']}")
    return TimedAction(
        narration_id=row["narration_id"],
        narration=row["narration"],
        start=start,
        stop=stop,
        target=readable_name(row["noun"]),
        object_names=tuple(map(str, row.listed("object_names"))),
    )


def seconds(row: Row, column: str) -> float:
    """The seconds of a time stamp of the form ``HH:MM:SS.ss``.

    Raises:
        TableError: It has another form.
    """
    match = _TIMESTAMP.fullmatch(row[column])
    if match is None:
        raise row.error(column, "a time of the form HH:MM:SS.ss")
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3])


def timestamp(time: float, digits: int = 2) -> str:
    """Seconds, from 0, as ``HH:MM:SS.ss`` with so many decimals."""
    minutes, rest = divmod(round(time * 10**digits), 60 * 10**digits)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{rest / 10**digits:0{3 + digits}.{digits}f}"


def narration_events(
    actions: Sequence[TimedAction], start: float = 0.0, stop: float | None = None
) -> Iterator[NarrationEvent]:
    """Says when to speak of which action.

    EPIC's actions overlap; at any moment the one that began last counts (of those that began
    together, the shortest), and when it ends an older one that still lasts comes back. Each is said
    when it begins and then every `REPEAT_PERIOD` while it counts; the end is said when nothing
    lasts any more.

    Args:
        actions: Actions, in any order.
        start: Seconds of the video to begin at; an action under way is said there.
        stop: Seconds of the video to end before.

    Returns:
        Events in order of time.
    """
    ends = sorted({time for action in actions for time in (action.start, action.stop)} | {start})
    ends = [time for time in ends if time >= start and (stop is None or time < stop)]
    said: TimedAction | None = None
    for index, begin in enumerate(ends):
        lasting = sorted(
            (action for action in actions if action.start <= begin < action.stop),
            key=lambda action: (action.start, -action.stop),
        )
        current = lasting[-1] if lasting else None
        if current is None:
            if said is not None:
                yield NarrationEvent(begin, None)
            said = None
            continue
        for hidden in lasting[:-1]:
            if hidden.start == current.start == begin:
                yield NarrationEvent(begin, hidden)
        end = ends[index + 1] if index + 1 < len(ends) else current.stop
        if stop is not None:
            end = min(end, stop)
        repeats = 0
        while (time := begin + repeats * REPEAT_PERIOD) < end:
            yield NarrationEvent(time, current)
            repeats += 1
        said = current
