"""Real EPIC-KITCHENS frames as footage: a still of each labelled frame, slightly in motion."""

from __future__ import annotations

import ast
import csv
import json
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from actiseg_ros.narrations import Action, read_actions
from training.demo.footage import FRAME_RATE, SIZE, Footage
from training.errors import ActisegError

_LONGEST = 6.0
"""Seconds of an action that are shown."""
_PROMPT = " used in the action of "
_CLIP_NAME = re.compile(r"\d+_(?P<video>P\d+_\d+)_.+")


@dataclass(frozen=True)
class _Clip:
    name: str
    video_id: str
    narration: str
    objects: list[str]
    frames: list[Path]


def epic_footage(material: Path, folder: Path) -> list[Footage]:
    """Makes footage of every clip in ``demo_expressions.json``.

    The frames of a clip are shown one after the other for the duration of its action, with a
    hand-held camera's motion of a few pixels: identical images would rightly count as frozen.

    Args:
        material: Folder with demo_expressions.json, demo_frames and EPIC_100_validation.csv.
        folder: Existing folder to write to.

    Raises:
        ActisegError: Something is missing, or no csv row fits a clip.
    """
    try:
        record = json.loads((material / "demo_expressions.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise ActisegError(f"{material}: no EPIC-KITCHENS material there ({error})") from error
    clips = [_clip(material, name, entry) for name, entry in record["videos"].items()]
    return [_footage(material, folder / f"{i}", clip) for i, clip in enumerate(clips)]


def _clip(material: Path, name: str, entry: dict[str, object]) -> _Clip:
    match = _CLIP_NAME.fullmatch(name)
    expressions = entry["expressions"]
    if match is None or not isinstance(expressions, dict) or not expressions:
        raise ActisegError(f"{material / 'demo_expressions.json'}: the clip {name!r} is malformed")
    texts = [str(expression["exp"]) for expression in expressions.values()]
    narration = texts[0].partition(_PROMPT)[2]
    frames = sorted((material / "demo_frames" / name).glob("frame_*.jpg"))
    if not frames:
        raise ActisegError(f"{material / 'demo_frames' / name}: has no frame")
    objects = [text.partition(_PROMPT)[0] for text in texts]
    return _Clip(name, match["video"], narration, objects, frames)


def _action(table: Path, clip: _Clip) -> Action:
    """The row that the clip was labelled from: same narration, nearest to its frames."""
    numbers = [int(path.stem.removeprefix("frame_")) for path in clip.frames]
    with table.open(newline="", encoding="utf-8") as stream:
        rows = {
            row["narration_id"]: (int(row["start_frame"]), int(row["stop_frame"]))
            for row in csv.DictReader(stream)
        }

    def distance(action: Action) -> float:
        start, stop = rows[action.narration_id]
        return max(0, start - numbers[0], numbers[-1] - stop)

    actions = [
        action
        for action in read_actions(table, clip.video_id)
        if action.narration.lower() == clip.narration
    ]
    if not actions:
        raise ActisegError(f"{table}: {clip.video_id} has no narration {clip.narration!r}")
    return min(actions, key=distance)


def _footage(material: Path, folder: Path, clip: _Clip) -> Footage:
    table = material / "EPIC_100_validation.csv"
    action = _action(table, clip)
    frames = folder / "frames"
    frames.mkdir(parents=True)
    count = round(min(_LONGEST, action.stop - action.start) * FRAME_RATE)
    first = round(action.start * FRAME_RATE) + 1
    for index in range(count):
        source = clip.frames[index * len(clip.frames) // count]
        still = cv2.imread(str(source), cv2.IMREAD_COLOR)
        if still is None:
            raise ActisegError(f"{source}: no readable image")
        shown = _hand_held(np.asarray(still, np.uint8), index)
        cv2.imwrite(str(frames / f"frame_{first + index:010d}.jpg"), shown)
    narrations = folder / "narrations.csv"
    _write_row(table, narrations, action, clip.objects)
    return Footage(frames, narrations, clip.video_id, {})


def _hand_held(still: np.ndarray, index: int) -> np.ndarray:
    """The picture, moved by a few pixels along a slow curve."""
    right, down = 4 * np.sin(index / 3.0), 4 * np.cos(index / 4.0)
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(
        still, move, (still.shape[1], still.shape[0]), borderMode=cv2.BORDER_REFLECT
    )
    return np.asarray(cv2.resize(moved, SIZE, interpolation=cv2.INTER_AREA), np.uint8)


def _write_row(table: Path, out: Path, action: Action, objects: list[str]) -> None:
    """Copies one row of the table and adds the candidate objects."""
    with table.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or ())
        row = next(row for row in reader if row["narration_id"] == action.narration_id)
    assert isinstance(ast.literal_eval(row["all_nouns"]), list)
    with out.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*columns, "object_names"])
        writer.writeheader()
        writer.writerow({**row, "object_names": str(objects)})
