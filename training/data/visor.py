"""Reads the annotations of a VISOR tree and plans its sequences.

A sequence is one EPIC-KITCHENS action with at least two annotated frames between its first and
last frame. Planning needs no images, so that a tree is checked completely before anything is
drawn.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.data.actions import ActionRow
from training.data.contacts import check_contact, says_contacts, unknown_objects
from training.data.labels import Entity, polygon
from training.data.layout import is_plain_name, sequence_name, whole_number
from training.data.tree import FileStore, Problem, VisorTree
from training.files.disk import read_json

_MAX_OBJECTS = 255


@dataclass(frozen=True)
class FramePlan:
    """One annotated frame of a sequence."""

    name: str
    """EPIC frame name, `frame_0000000001.jpg`."""
    visor_name: str


@dataclass(frozen=True)
class SequencePlan:
    """One action that becomes a sequence."""

    seq_id: int
    action: ActionRow
    frames: tuple[FramePlan, ...]

    @property
    def name(self) -> str:
        """Folder name: eight-digit number, video, verb and noun."""
        return sequence_name(self.seq_id, self.action.video, self.action.verb, self.action.noun)


@dataclass
class VideoPlan:
    """Sequences of one video before they are numbered, and what could not be used."""

    sequences: list[tuple[ActionRow, tuple[FramePlan, ...]]] = field(default_factory=list)
    """May hold a sequence with fewer than two usable frames, because it takes a number."""
    problems: list[Problem] = field(default_factory=list)
    says_contacts: bool = False
    """Whether the annotations of a usable frame say what its hands hold."""


def read_mapping(tree: VisorTree) -> dict[str, dict[str, str]]:
    """Reads the frame mapping: video to VISOR frame name to EPIC frame name.

    Raises:
        ActisegError: If the file is missing or has another form, or a video or frame has a name
            that would lead out of its folder.
    """
    mapping = read_json(tree.mapping_file)
    if not isinstance(mapping, dict) or not all(isinstance(v, dict) for v in mapping.values()):
        raise ActisegError(f"{tree.mapping_file}: expected {{video: {{VISOR frame: EPIC frame}}}}")
    try:
        return {
            _plain(video, "video"): {
                _plain(name, "frame"): _plain(_epic_name(frame), "frame")
                for name, frame in frames.items()
            }
            for video, frames in mapping.items()
        }
    except ValueError as error:
        raise ActisegError(f"{tree.mapping_file}: {error}") from error


def _plain(name: Any, what: str) -> str:
    """A name that pictures or folders are written under.

    Raises:
        ValueError: If it has a folder part, or is none.
    """
    if not is_plain_name(name):
        raise ValueError(f"the {what} is named {name!r}; expected a plain name, without a folder")
    return str(name)


def _epic_name(frame: Any) -> str:
    """`frame_0000000323.jpg`, also of its number alone."""
    if isinstance(frame, str) and not frame.replace(".", "").isdecimal():
        return frame
    return f"frame_{whole_number(frame):010d}.jpg"


def read_polygons(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads a video's polygon file.

    Returns:
        Annotations by VISOR frame name; the first entry counts if a frame is listed twice.

    Raises:
        ActisegError: If it is missing, not JSON, or has another form, or a frame has a name that
            would lead out of its folder.
    """
    content = read_json(path)
    frames: dict[str, list[dict[str, Any]]] = {}
    try:
        for entry in content["video_annotations"]:
            frames.setdefault(_plain(entry["image"]["name"], "frame"), entry["annotations"])
    except (KeyError, TypeError) as error:
        raise ActisegError(f"{path}: not a VISOR annotation file (missing {error})") from error
    except ValueError as error:
        raise ActisegError(f"{path}: {error}") from error
    return frames


def read_entities(annotations: Sequence[Mapping[str, Any]]) -> tuple[Entity, ...]:
    """The objects of a frame in file order.

    Raises:
        ValueError: If an object lacks a field or has a broken polygon.
    """
    if len(annotations) > _MAX_OBJECTS:
        raise ValueError(f"{len(annotations)} objects; a label image holds {_MAX_OBJECTS}")
    entities = []
    for annotation in annotations:
        try:
            name, class_id = annotation["name"], annotation["class_id"]
            if not isinstance(name, str):
                raise ValueError(f"the name is {name!r}")
            class_id = whole_number(class_id)
            polygons = tuple(polygon(points) for points in annotation["segments"])
            check_contact(annotation)
        except KeyError as error:
            raise ValueError(f"object {annotation.get('name')!r} lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"object {annotation.get('name')!r}: {error}") from error
        entities.append(Entity(name, class_id, polygons))
    return tuple(entities)


class _Findings:
    """What is wrong with the frames of one video, told in one line for each kind of fault."""

    def __init__(self, video: str) -> None:
        self._video = video
        self._frames: dict[tuple[str, str], list[str]] = {}
        self._details: dict[tuple[str, str], str] = {}
        self.used = 0
        """Frames that some sequence asks for."""

    def add(self, file: str, what: str, frame: str, detail: str = "") -> None:
        """Notes a fault; `detail` is told for the first frame that has it."""
        frames = self._frames.setdefault((file, what), [])
        if frame not in frames[-1:]:
            frames.append(frame)
        self._details.setdefault((file, what), detail)

    def problems(self) -> list[Problem]:
        """One line for each kind of fault."""
        lines = []
        for (file, what), frames in self._frames.items():
            count = len(frames)
            share = (
                f"all {count}" if count == self.used and count > 1 else f"{count} of {self.used}"
            )
            detail = self._details[file, what]
            first = f"{'the first ' if count > 1 else ''}{frames[0]}{detail and f': {detail}'}"
            lines.append(Problem(file, f"{share} frames of {self._video} {what} ({first})"))
        return lines


def videos_of_split(
    tree: VisorTree,
    split: str,
    mapping: Mapping[str, Mapping[str, str]],
    actions: Mapping[str, Sequence[ActionRow]],
) -> tuple[list[str], list[Problem]]:
    """Videos that have annotations in a split and actions, in the order of the mapping.

    Returns:
        The videos, and a problem for each annotated video that cannot be used.

    Raises:
        ActisegError: If the split has no annotations.
    """
    annotated = tree.polygons(split)
    problems = [
        Problem(str(annotated[video]), f"video is not in {where}")
        for where, known in (
            ("frame_mapping.json", mapping),
            ("the EPIC-KITCHENS tables", actions),
        )
        for video in sorted(annotated.keys() - known.keys())
    ]
    return [video for video in mapping if video in annotated and video in actions], problems


def plan_video(
    tree: VisorTree,
    split: str,
    video: str,
    mapping: Mapping[str, str],
    actions: Sequence[ActionRow],
    unusable: AbstractSet[str] | None,
    *,
    pictures: bool = True,
) -> VideoPlan:
    """Finds the sequences of a video, and frames that cannot be used.

    Args:
        tree: The input.
        split: `train` or `val`.
        video: Its annotation file exists in this split.
        mapping: VISOR frame name to EPIC frame name.
        actions: The video's actions in order.
        unusable: VISOR names of frames with broken hand-object data, reported already; None if
            contacts come from the annotations.
        pictures: Whether a frame without a picture cannot be used.
    """
    path = tree.polygons(split)[video]
    plan = VideoPlan()
    try:
        polygons = read_polygons(path)
    except ActisegError as error:
        what = str(error).removeprefix(f"{path}: ")
        return VideoPlan(problems=[Problem(str(path), f"video skipped: {what}")])
    store = tree.frames(split, video) if pictures else None
    findings = _Findings(video)
    visor_names = {name: visor_name for visor_name, name in mapping.items()}
    names = sorted(visor_names)
    usable: dict[str, bool] = {}
    for action in actions:
        first = bisect_left(names, f"frame_{action.start:010d}.jpg")
        last = bisect_right(names, f"frame_{action.end:010d}.jpg")
        frames = [FramePlan(name, visor_names[name]) for name in names[first:last]]
        if len(frames) < 2 or not any(_has_object(polygons.get(f.visor_name)) for f in frames):
            continue
        for name in (frame.visor_name for frame in frames):
            if name not in usable:
                findings.used += 1
                sound = _sound(path, store, name, polygons.get(name), findings)
                usable[name] = sound and name not in (unusable or ())
                if sound and unusable is None:
                    plan.says_contacts |= says_contacts(polygons[name])
                    for held in unknown_objects(polygons[name]):
                        what = "have a hand in contact with an object that is not there"
                        findings.add(str(path), what, name, held)
        plan.sequences.append((action, tuple(f for f in frames if usable[f.visor_name])))
    plan.problems = (store.problems if store else []) + findings.problems()
    if not plan.sequences:
        annotated = sum(map(_has_object, polygons.values()))
        what = f"{video} gives no sequence: {len(names)} frames in frame_mapping.json, {annotated}"
        plan.problems.append(
            Problem(str(path), f"{what} with objects here, and no two of them in one action")
        )
    return plan


def _has_object(annotations: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a frame has an object with a list of segments that is not empty."""
    try:
        return any(len(annotation["segments"]) > 0 for annotation in annotations or ())
    except (KeyError, TypeError):
        return True  # broken, but somebody meant to annotate it; reported by its own check


def _sound(
    path: Path,
    store: FileStore | None,
    name: str,
    annotations: Sequence[Mapping[str, Any]] | None,
    findings: _Findings,
) -> bool:
    """Whether a frame has valid annotations and, in a store, a picture; notes what it lacks."""
    if annotations is None:
        findings.add(str(path), "are in frame_mapping.json but have no annotation here", name)
        return False
    try:
        read_entities(annotations)
    except (AttributeError, TypeError, ValueError) as error:
        findings.add(str(path), "have broken annotations", name, str(error))
        return False
    if store is not None and name not in store:
        places = sorted(str(p) for p in store.places if p.exists())
        tried = "; looked in " + ", ".join(places) if places else ", neither in a folder nor a zip"
        findings.add(str(store.places[0]), f"are missing{tried}", name)
        return False
    return True
