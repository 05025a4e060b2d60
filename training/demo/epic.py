"""Real EPIC-KITCHENS frames as footage: stills in slight motion, with real narrations."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bags.epic_actions import TimedAction, read_actions, timestamp
from actiseg_ros.bags.frame_folder import published_rate
from actiseg_ros.errors import ActisegError
from actiseg_ros.tables import read_table
from training.data.splits import Clip, load_clips
from training.demo.footage import FRAME_RATE, SIZE, DemoFootage

_CLIP_SECONDS = 4.0
"""How long a labelled clip is shown."""
_TABLE_SECONDS = 8.0
"""How much of a video of the table is shown."""
_TABLE = "EPIC_100_validation.csv"
_EXPRESSIONS = "demo_expressions.json"
_CLIP_NAME = re.compile(r"\d+_(?P<video>P\d+_\d+)_(?P<verb>[^_]+)_(?P<noun>.+)")


@dataclass(frozen=True)
class _StillClip:
    """One labelled clip: the objects of its prompts, their narration, and its frames."""

    video_id: str
    narration: str
    verb: str
    noun: str
    objects: list[str]
    frames: list[Path]


def epic_footage(material: Path, folder: Path) -> list[DemoFootage]:
    """Makes footage from the real frames.

    Each clip of ``demo_expressions.json`` is shown at the time of its frames in its video, with
    its own prompts. Then the narrations of a whole stretch of the validation table are played
    over all frames, with candidates taken from the narrations.

    Stills are moved by a few pixels, as a head-worn camera does: identical images would rightly
    count as frozen.

    Args:
        material: Folder with demo_expressions.json, demo_frames and EPIC-KITCHENS' csv files.
        folder: Existing folder to write to.

    Raises:
        ActisegError: Something is missing or malformed.
    """
    clips = [_stills(material, clip) for clip in load_clips(material / _EXPRESSIONS)]
    footages = [_clip_footage(folder, clip) for clip in clips]
    frames = [path for clip in clips for path in clip.frames]
    return [*footages, _table_footage(folder, material / _TABLE, frames)]


def _stills(material: Path, clip: Clip) -> _StillClip:
    match = _CLIP_NAME.fullmatch(clip.sequence)
    if match is None or not clip.objects or clip.narration is None:
        raise ActisegError(f"{material / _EXPRESSIONS}: the clip {clip.sequence!r} is malformed")
    frames = sorted((material / "demo_frames" / clip.sequence).glob("frame_*.jpg"))
    if not frames:
        raise ActisegError(f"{material / 'demo_frames' / clip.sequence}: has no frame")
    objects = [entry.name for entry in clip.objects]
    return _StillClip(match["video"], clip.narration, match["verb"], match["noun"], objects, frames)


def _clip_footage(folder: Path, clip: _StillClip) -> DemoFootage:
    """A labelled clip; its action begins with its first labelled frame."""
    rate = published_rate(clip.video_id)
    if rate is None:
        raise ActisegError(f"{clip.frames[0].parent}: {clip.video_id!r} is no EPIC-KITCHENS video")
    number = int(clip.frames[0].stem.removeprefix("frame_"))
    start = round((number - 1) / rate * FRAME_RATE) / FRAME_RATE
    action = TimedAction(clip.video_id, clip.narration, start, start + _CLIP_SECONDS, "")
    home = folder / clip.video_id
    _shoot(home / "frames", clip.frames, start, _CLIP_SECONDS)
    narrations = home / "narrations.csv"
    row = {
        "narration_id": f"{clip.video_id}_0",
        "video_id": clip.video_id,
        "start_timestamp": timestamp(action.start),
        "stop_timestamp": timestamp(action.stop),
        "narration": action.narration,
        "verb": clip.verb,
        "noun": clip.noun,
        "object_names": str(clip.objects),
    }
    with narrations.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(row))
        writer.writeheader()
        writer.writerow(row)
    return DemoFootage(home / "frames", narrations, clip.video_id, {})


def _table_footage(folder: Path, table: Path, frames: Sequence[Path]) -> DemoFootage:
    """The first seconds of the first video of the table, whose own frames are not at hand."""
    video_id = next(iter(read_table(table, ("video_id",))))["video_id"]
    start = read_actions(table, video_id)[0].start
    home = folder / video_id
    _shoot(home / "frames", frames, start, _TABLE_SECONDS)
    return DemoFootage(home / "frames", table, video_id, {})


def _shoot(folder: Path, stills: Sequence[Path], start: float, seconds: float) -> None:
    """Writes a folder of frames that shows the stills one after the other."""
    folder.mkdir(parents=True)
    count = round(seconds * FRAME_RATE)
    first = round(start * FRAME_RATE) + 1
    for index in range(count):
        source = stills[index * len(stills) // count]
        still = cv2.imread(str(source), cv2.IMREAD_COLOR)
        if still is None:
            raise ActisegError(f"{source}: no readable image")
        shown = _hand_held(np.asarray(still, np.uint8), index)
        cv2.imwrite(str(folder / f"frame_{first + index:010d}.jpg"), shown)


def _hand_held(still: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
    """The picture, moved by a few pixels along a slow curve."""
    right, down = 4 * np.sin(index / 3.0), 4 * np.cos(index / 4.0)
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = (still.shape[1], still.shape[0])
    moved = cv2.warpAffine(still, move, size, borderMode=cv2.BORDER_REFLECT)
    return np.asarray(cv2.resize(moved, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
