"""Folders of numbered frames: which files belong to them, and how many frames make a second.

EPIC-KITCHENS publishes its frames extracted at 60 a second (videos of EPIC-55, two digits behind
the participant) or 50 (the videos added in EPIC-100, three digits), whatever the camera's own rate
was. ``EPIC_100_video_info.csv`` lists the camera's rate. The frame numbers of the narrations' table
count the published frames.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.epic_actions import seconds
from actiseg_ros.tables import Row, TableError, read_table

VIDEO_INFO = "EPIC_100_video_info.csv"

_NUMBERED = re.compile(r"(?P<name>.*?)(?P<number>\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_PUBLISHED_VIDEO = re.compile(r"P\d\d_(\d{2,3})")
_COMMON_RATES = (60, 50, 30, 25, 24, 15, 12, 10, 20, 48, 90, 100, 120, 240, 5, 6, 8, 2, 1, 1000)
_NTSC = (60000 / 1001, 30000 / 1001, 24000 / 1001, 48000 / 1001)
_FITTING = 0.9
"""Share of a table's frame numbers that must fit a rate."""


@dataclass(frozen=True)
class NumberedFrame:
    """A picture file and its number."""

    number: int
    path: Path


@dataclass(frozen=True)
class FrameFolder:
    """A folder of numbered frames.

    Attributes:
        path: The folder.
        frames: Its pictures in order of their numbers.
        first: Number of the frame at second 0: 1, or 0 if the folder has a frame 0.
    """

    path: Path
    frames: tuple[NumberedFrame, ...]
    first: int

    def time(self, frame: NumberedFrame, rate: float) -> float:
        """Second of the video at which a frame was taken."""
        return (frame.number - self.first) / rate


def list_frames(folder: Path, account: Account) -> FrameFolder:
    """Finds the numbered pictures of a folder.

    Names may begin as they like (``frame_0000000001.jpg``, ``P01_01_frame_0000000140.jpg``,
    ``0001.png``), but all alike.

    Raises:
        BagError: There is none, names differ in their beginning, or two have one number.
    """
    found: dict[str, list[NumberedFrame]] = {}
    for path in sorted(folder.iterdir()):
        if (match := _NUMBERED.fullmatch(path.name)) and not path.name.startswith("."):
            found.setdefault(match["name"], []).append(NumberedFrame(int(match["number"]), path))
    if not found:
        kinds = Counter(path.suffix.lower() or "no suffix" for path in folder.iterdir())
        held = ", ".join(f"{count} with {kind}" for kind, count in kinds.most_common(3))
        raise BagError(
            f"{folder}: has no frame named like frame_0000000001.jpg or .png; it holds "
            f"{held or 'nothing'}"
        )
    usual = [name for name in found if name.lower().endswith("frame_")]
    chosen = usual if len(usual) == 1 else list(found)
    begins = ", ".join(f"{len(files)} with {name!r}" for name, files in sorted(found.items()))
    if len(chosen) > 1:
        raise BagError(
            f"{folder}: its pictures' names begin differently ({begins}); give one video's folder"
        )
    if len(found) > 1:
        account.note(f"pictures whose names begin with {chosen[0]!r} are the frames ({begins})")
    frames = sorted(found[chosen[0]], key=lambda frame: (frame.number, frame.path.name))
    for one, other in pairwise(frames):
        if one.number == other.number:
            raise BagError(f"{folder}: {one.path.name} and {other.path.name} have the same number")
    first = 0 if frames[0].number == 0 else 1
    if first == 0:
        account.note("frames are counted from 0, which this folder has")
    _tell_gaps(folder, frames, account)
    return FrameFolder(folder, tuple(frames), first)


def _tell_gaps(folder: Path, frames: Sequence[NumberedFrame], account: Account) -> None:
    """Tells numbers that are missing in a folder that otherwise keeps to one step."""
    steps = [b.number - a.number for a, b in pairwise(frames)]
    if len(steps) < 2:
        return
    usual, times = Counter(steps).most_common(1)[0]
    gaps = [index for index, step in enumerate(steps) if step > usual]
    if times <= len(steps) / 2 or not gaps:
        return
    missing = sum(steps[index] // usual - 1 for index in gaps)
    place = frames[gaps[0]].path.name
    account.lose(f"{folder}: about {missing} frames are missing, the first ones after {place}")


def published_rate(video_id: str) -> float | None:
    """Frames a second of EPIC-KITCHENS' published frame folders, None for other videos."""
    match = _PUBLISHED_VIDEO.fullmatch(video_id)
    return None if match is None else 60.0 if len(match[1]) == 2 else 50.0


def folder_rate(folder: FrameFolder, video_id: str, narrations: Path, account: Account) -> float:
    """Finds the frame rate of a folder of frames.

    In this order: the rate at which the table's ``start_frame`` and ``stop_frame`` follow its time
    stamps; the rate at which EPIC-KITCHENS publishes frames of this video; the rate listed in
    ``EPIC_100_video_info.csv`` beside the table. If the folder's last number and the listed
    duration say that another of these is right, that is an error.

    Raises:
        BagError: The rate is not known or the sources contradict each other.
        TableError: A table is malformed.
    """
    listed, duration = _listed(narrations.parent / VIDEO_INFO, video_id)
    by_table = _table_rate(narrations, video_id, listed)
    published = published_rate(video_id)
    rate, source = next(
        (
            (rate, source)
            for rate, source in (
                (by_table, f"by the frame numbers in {narrations.name}"),
                (published, "as EPIC-KITCHENS publishes its frames"),
                (listed, f"by {VIDEO_INFO}"),
            )
            if rate is not None
        ),
        (None, ""),
    )
    if rate is None:
        raise BagError(
            f"{folder.path}: the frame rate of a folder of frames is not known; give --fps, or put "
            f"{VIDEO_INFO} with a row for {video_id} beside {narrations.name}"
        )
    if duration:
        spanned = folder.frames[-1].number - folder.first + 1
        held = spanned / duration
        doubtful = (
            listed is not None and not _near(rate, listed, 0.02) and _near(held, listed, 0.01)
        )
        if held > 1.01 * rate or doubtful:
            raise BagError(
                f"{folder.path}: {spanned} frames in the {duration:.1f} s of {VIDEO_INFO} are "
                f"{held:.2f} a second, but {source} there are {rate:g}; give --fps"
            )
    account.note(f"{rate:g} frames a second, {source}")
    return rate


def _near(value: float, other: float, tolerance: float) -> bool:
    return abs(value - other) <= tolerance * other


def _listed(info: Path, video_id: str) -> tuple[float | None, float | None]:
    """Rate and duration of a video by the data set's list, None if it is not listed."""
    if not info.is_file():
        return None, None
    for row in read_table(info, ("video_id", "fps")):
        if row["video_id"] == video_id:
            rate = row.number("fps")
            if not 0 < rate <= 1000:
                raise row.error("fps", "a frame rate above 0 and at most 1000")
            return rate, row.number("duration") if row.get("duration") else None
    return None, None


def _table_rate(narrations: Path, video_id: str, listed: float | None) -> float | None:
    """The rate that the frame numbers of a video's rows follow; None if the table has none.

    Raises:
        BagError: They follow none.
        TableError: A number or a time is malformed.
    """
    pairs = [
        pair
        for row in read_table(narrations, ("video_id",))
        if row["video_id"] == video_id
        for pair in _numbers(row)
    ]
    if not pairs:
        return None
    # A number is the time multiplied by the rate, rounded in one way or another, counted from 0
    # or 1; the times have two decimals.
    known = [rate for rate in (published_rate(video_id), listed) if rate]
    best = max(
        [*known, *_COMMON_RATES, *_NTSC],
        key=lambda rate: (_share(pairs, rate), rate in known, -_error(pairs, rate)),
    )
    if _share(pairs, best) >= _FITTING:
        return float(best)
    raise BagError(
        f"{narrations}: the frame numbers of {video_id} do not follow its time stamps at any "
        "common rate; correct them, or give --fps"
    )


def _numbers(row: Row) -> Iterator[tuple[float, int]]:
    for name in ("start", "stop"):
        if row.get(f"{name}_frame"):
            try:
                yield seconds(row, f"{name}_timestamp"), row.integer(f"{name}_frame")
            except TableError as error:
                raise BagError(f"{error}; correct it, or give --fps") from error


def _share(pairs: Sequence[tuple[float, int]], rate: float) -> float:
    return sum(abs(n - t * rate) <= 1.01 + 0.01 * rate for t, n in pairs) / len(pairs)


def _error(pairs: Sequence[tuple[float, int]], rate: float) -> float:
    """Mean distance from the number that EPIC-KITCHENS gives a time: rounded down."""
    return sum(abs(n - t * rate + 0.5) for t, n in pairs) / len(pairs)
