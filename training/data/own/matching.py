"""Which annotated picture shows which narrated action: by the recording, and by number or time."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from actiseg_ros.bags.epic_actions import seconds
from actiseg_ros.errors import ActisegError
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import readable_name
from actiseg_ros.prompts import choose_target, objects_of_narration
from actiseg_ros.tables import Row, TableError, read_table
from training.data.kitchen.vocabulary import epic_noun
from training.data.own.annotated import AnnotatedPicture
from training.data.own.names import Names
from training.data.tree import Problem
from training.files.disk import read_json

_PICTURE = re.compile(r"(?:(?P<video>.+)_)?frame_(?P<number>\d+)")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")
"""Label Studio puts this before the name of every file."""
_ROUNDED = 0.01
"""Seconds that a time stamp in a table may be off."""
_LONGEST = 64
_LONGEST_NOUN = 112
"""Bytes of recording and verb, and of the noun, in a sequence's name: a folder's has at most 255.

A noun may be the name of an object, which has up to four bytes for each of its characters.
"""
UNKNOWN = "unknown"
"""Verb or noun in the name of a sequence where the table has none."""


@dataclass(frozen=True)
class Place:
    """Where a picture stands in its recording: number of the frame, and second if it is known."""

    video: str
    number: int
    time: float | None = None


@dataclass(frozen=True)
class NarratedAction:
    """One row of a table of narrations.

    Attributes:
        video: Name of the recording.
        table: The table.
        line: Its line in the table.
        narration: What is done.
        frames: First and last frame number; None if the table does not say.
        times: Start and stop, seconds of the recording.
        verb: For the name of the sequence; `UNKNOWN` if the table has none.
        verb_class: EPIC's class id, -1 if unknown.
        noun: EPIC's form, for example ``board:chopping``; empty if the table has none.
        noun_class: EPIC's class id, -1 if unknown.
        nouns: All nouns of the row as spoken words.
        noun_classes: Their class ids, without unknown ones.
        object_names: Candidate objects that were named with it.
    """

    video: str
    table: Path
    line: int
    narration: str
    frames: tuple[int, int] | None
    times: tuple[float, float]
    verb: str
    verb_class: int
    noun: str
    noun_class: int
    nouns: tuple[str, ...]
    noun_classes: frozenset[int]
    object_names: tuple[str, ...] = ()

    def shows(self, place: Place) -> bool:
        """Whether a picture of this recording was taken while it lasted."""
        if place.time is not None:
            return self.times[0] - _ROUNDED <= place.time <= self.times[1] + _ROUNDED
        return self.frames is not None and self.frames[0] <= place.number <= self.frames[1]


@dataclass(frozen=True)
class NarratedClip:
    """A narrated action and its pictures in the order of their frames."""

    action: NarratedAction
    pictures: tuple[tuple[Place, AnnotatedPicture], ...]


@dataclass
class Matches:
    """Clips, and what belongs to none."""

    clips: list[NarratedClip] = field(default_factory=list)
    homeless: list[str] = field(default_factory=list)
    """Pictures whose recording or frame number is not known."""
    silent: list[str] = field(default_factory=list)
    """Pictures that no narration covers."""
    unseen: list[NarratedAction] = field(default_factory=list)
    """Narrations of annotated recordings without an annotated picture."""
    timed: bool = True
    """Whether anything says when a picture was taken, or which frames an action has."""
    outside: list[NarratedAction] = field(default_factory=list)
    """Narrations that lie beyond the end of their recording."""


@dataclass(frozen=True)
class Recordings:
    """What manifests of `actiseg frames` say: places of pictures, and where recordings end."""

    places: Mapping[str, Place] = field(default_factory=dict)
    """By the name of the picture's file."""
    last_frames: Mapping[str, int] = field(default_factory=dict)


def read_manifests(images: Path, tables: Iterable[Path]) -> Recordings:
    """Reads the manifests that lie beside pictures or their tables.

    Args:
        images: Folder of the pictures, perhaps in folders below it.
        tables: Tables of narrations.

    Raises:
        ActisegError: One is damaged, or two recordings have one name.
    """
    beside = [folder / "manifest.json" for folder in (images.parent, *(t.parent for t in tables))]
    places: dict[str, Place] = {}
    ends: dict[str, int] = {}
    known: dict[str, tuple[Path, Any]] = {}
    found = {path.resolve() for path in (*beside, *images.rglob("manifest.json"))}
    for path in sorted(found):
        if not path.is_file():
            continue
        content = read_json(path)
        try:
            video = str(content["video_id"])
            first, source = known.setdefault(video, (path, content.get("source")))
            if source != content.get("source"):
                raise ActisegError(
                    f"{path}: is of another recording than {first} and has its name, {video!r}, "
                    "so their pictures would be mixed; take one anew with `actiseg frames "
                    "--video-id`"
                )
            for entry in content["pictures"]:
                name = PurePosixPath(entry["file"]).name
                time = float(entry["time"])
                if not math.isfinite(time):
                    raise ValueError(f"the time of {name} is {time}")
                places[name] = Place(video, int(entry["frame"]), time)
            ends[video] = int(content["frames"])
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ActisegError(
                f"{path}: is no manifest of `actiseg frames` ({type(error).__name__}: {error})"
            ) from error
    return Recordings(places, ends)


@dataclass
class Narrated:
    """What tables of narrations hold."""

    actions: list[NarratedAction] = field(default_factory=list)
    """In the order of recording and time."""
    problems: list[Problem] = field(default_factory=list)
    """A problem for each row that cannot be used."""
    repeated: list[str] = field(default_factory=list)
    """Rows that repeat another one, as two of EPIC's do: each action counts once."""

    @property
    def notes(self) -> list[str]:
        """What is to be told of rows that repeat another one."""
        if not self.repeated:
            return []
        return [
            f"{len(self.repeated)} narrations repeat another one (recording, time and words), such "
            f"as {self.repeated[0]}: each counts once"
        ]


def read_narrations(paths: Iterable[Path]) -> Narrated:
    """Reads tables of narrations in EPIC's columns, a table for each recording or for several.

    Raises:
        TableError: A table cannot be read or lacks a column.
    """
    found = Narrated()
    told: dict[tuple[str, tuple[float, float], str], NarratedAction] = {}
    needed = ("video_id", "start_timestamp", "stop_timestamp", "narration")
    for path in paths:

        def refuse(error: TableError, path: Path = path) -> None:
            found.problems.append(
                Problem(str(path), str(error).removeprefix(str(path)).lstrip(":, "))
            )

        for row in read_table(path, needed, on_error=refuse):
            try:
                action = _action(row)
                first = told.setdefault((action.video, action.times, action.narration), action)
                if first is action:
                    found.actions.append(action)
                else:
                    found.repeated.append(
                        f"{path}, line {row.line} {action.narration!r} of {first.table}, "
                        f"line {first.line}"
                    )
            except TableError as error:
                refuse(error)
    found.actions.sort(key=lambda action: (action.video, action.times, action.line))
    return found


def _action(row: Row) -> NarratedAction:
    start, stop = seconds(row, "start_timestamp"), seconds(row, "stop_timestamp")
    if stop <= start:
        raise row.error("stop_timestamp", f"after the start at {row['start_timestamp']}")
    frames = None
    if row.get("start_frame") or row.get("stop_frame"):
        frames = row.integer("start_frame"), row.integer("stop_frame")
        if frames[1] < frames[0]:
            raise row.error("stop_frame", f"at or after the start at {frames[0]}")
    if not clean_narration(row["narration"]).text:
        raise row.error("narration", "a sentence about what is done")
    for column in ("video_id", "verb", "noun"):
        if "/" in row.get(column) or "\\" in row.get(column):
            raise row.error(column, "fit for the name of a folder: it contains a slash")
        if column != "noun" and len(row.get(column).encode()) > _LONGEST:
            raise row.error(column, f"fit for the name of a folder: at most {_LONGEST} bytes")
    if not row["video_id"]:
        raise row.error("video_id", "the name of a recording")
    classes = row.listed("all_noun_classes") if row.get("all_noun_classes") else []
    nouns = row.listed("all_nouns") if row.get("all_nouns") else []
    candidates = row.listed("object_names") if row.get("object_names") else []
    named = dict.fromkeys(readable_name(str(noun)) for noun in (row.get("noun"), *nouns) if noun)
    return NarratedAction(
        video=row["video_id"],
        table=row.path,
        line=row.line,
        narration=row["narration"],
        frames=frames,
        times=(start, stop),
        verb=row.get("verb", UNKNOWN),
        verb_class=row.integer("verb_class") if row.get("verb_class") else -1,
        noun=row.get("noun"),
        noun_class=row.integer("noun_class") if row.get("noun_class") else -1,
        nouns=tuple(named),
        noun_classes=frozenset(c for c in classes if isinstance(c, int) and c >= 0),
        object_names=tuple(map(str, candidates)),
    )


def names_recording(name: str) -> bool:
    """Whether the name of a picture's file says which recording it is of."""
    match = _PICTURE.fullmatch(without_upload(PurePosixPath(name).stem))
    return match is not None and match["video"] is not None


def without_upload(name: str) -> str:
    """A file's name without what Label Studio puts before it."""
    return _UPLOAD.sub("", name, count=1)


def only_recording(files: Iterable[str], videos: Iterable[str]) -> str | None:
    """The recording of pictures that name none: the table's only one, if they lie in one folder.

    Args:
        files: Names of all pictures, perhaps with folders.
        videos: Recordings of the table.
    """
    nameless = {
        PurePosixPath(file).parent
        for file in files
        if (match := _PICTURE.fullmatch(without_upload(PurePosixPath(file).stem))) is not None
        and match["video"] is None
    }
    known = set(videos)
    return known.pop() if len(known) == 1 and len(nameless) == 1 else None


def place_of(
    file: str, recordings: Recordings, videos: Iterable[str], only: str | None = None
) -> Place | None:
    """Recording and frame number of a picture: from its manifest, else from its name.

    Args:
        file: Name of the picture, perhaps with folders: ``VIDEO_frame_0000000012.jpg`` or
            ``VIDEO/frame_0000000012.jpg``.
        recordings: What manifests say.
        videos: Recordings of the table.
        only: Recording of a picture that names none (`only_recording`).
    """
    path = PurePosixPath(file)
    for name in (path.name, without_upload(path.name)):
        if name in recordings.places:
            return recordings.places[name]
    known = set(videos)
    for stem in (path.stem, without_upload(path.stem)):
        match = _PICTURE.fullmatch(stem)
        if match is None:
            continue
        above = path.parent.name
        for video in (match["video"], above if match["video"] is None else None):
            if video in known:
                return Place(str(video), int(match["number"]))
        if match["video"] is None and only is not None:
            return Place(only, int(match["number"]))
    return None


def match(
    pictures: Sequence[AnnotatedPicture],
    actions: Sequence[NarratedAction],
    recordings: Recordings,
) -> Matches:
    """Finds the pictures of every narrated action; nothing is guessed.

    A picture belongs to every action that lasts while it was taken, so actions may share pictures.

    Args:
        pictures: Annotated pictures with at least one object.
        actions: Of all recordings.
        recordings: What manifests say.
    """
    found = Matches(
        timed=bool(recordings.places) or any(action.frames is not None for action in actions)
    )
    by_video: dict[str, list[tuple[Place, AnnotatedPicture]]] = {}
    videos = {action.video for action in actions}
    only = only_recording((picture.file for picture in pictures), videos)
    for picture in pictures:
        place = place_of(picture.file, recordings, videos, only)
        if place is None:
            found.homeless.append(picture.file)
        else:
            by_video.setdefault(place.video, []).append((place, picture))
    told: set[str] = set()
    for action in actions:
        placed = by_video.get(action.video, [])
        shown = sorted(
            (entry for entry in placed if action.shows(entry[0])), key=lambda entry: entry[0].number
        )
        told.update(picture.file for _, picture in shown)
        end = recordings.last_frames.get(action.video)
        if shown:
            found.clips.append(NarratedClip(action, tuple(shown)))
        elif action.frames is not None and end is not None and action.frames[0] > end:
            found.outside.append(action)
        elif placed:
            found.unseen.append(action)
    found.silent = [
        picture.file
        for placed in by_video.values()
        for _, picture in placed
        if picture.file not in told
    ]
    return found


def nouns_of(action: NarratedAction, names: Names) -> tuple[str, int, frozenset[int]]:
    """The noun of an action in EPIC's form, its class, and the classes of all its nouns.

    What the table says of a known class counts; the narration itself tells the rest, with the names
    of the annotated objects known.

    Args:
        action: The row.
        names: All names, those of the annotated objects too.
    """
    vocabulary = names.vocabulary
    text = clean_narration(action.narration)
    mentioned = objects_of_narration(text, vocabulary)
    read = {vocabulary.class_of(name) for name in mentioned if not names.is_hand(name)}
    listed = {vocabulary.class_of(noun) for noun in action.nouns}
    classes = action.noun_classes | {found for found in read | listed if found is not None}
    target = choose_target(text, mentioned, vocabulary).name
    noun = action.noun or (epic_noun(target) if target else UNKNOWN)
    known = vocabulary.class_of(readable_name(noun))
    first = action.noun_class if known is None or action.noun_class >= 0 else known
    # Only here: the object's own name, its class and the narration stay whole.
    short = noun.replace("/", "-").encode()[:_LONGEST_NOUN].decode(errors="ignore")
    return short, first, classes
