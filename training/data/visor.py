"""Reads a VISOR tree, EPIC-KITCHENS action tables and hand-object files, and plans the sequences.

A sequence is one EPIC-KITCHENS action with at least two annotated frames between its first and
last frame. Planning needs no images, so that a tree is checked completely before anything is
drawn.
"""

from __future__ import annotations

import ast
import csv
import json
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from training.data.labels import Contacts, Entity, polygon
from training.errors import ActisegError

ACTION_TABLES = ("EPIC_100_train.csv", "EPIC_100_validation.csv")
"""Rows of both tables serve both splits."""
SPARSE = "GroundTruth-SparseAnnotations"
_CONTACT_CATEGORY = 2
_MAX_OBJECTS = 255


@dataclass(frozen=True)
class Problem:
    """Something in the input that cannot be used."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class Action:
    """One row of an EPIC-KITCHENS action table."""

    video: str
    start: int
    """First frame, EPIC numbering, included."""
    end: int
    """Last frame, included."""
    narration: str
    verb: str
    verb_class: int
    noun: str
    noun_class: int
    noun_classes: frozenset[int]
    """Class ids of all nouns of the narration."""
    order: tuple[int, ...]
    """Numbers of the narration id, by which the actions of a video are sorted."""


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
    action: Action
    frames: tuple[FramePlan, ...]

    @property
    def name(self) -> str:
        """Folder name: eight-digit number, video, verb and noun."""
        return sequence_name(self.seq_id, self.action.video, self.action.verb, self.action.noun)


@dataclass(frozen=True)
class VisorTree:
    """Where the parts of the input lie."""

    visor: Path
    annotations: Path

    @property
    def mapping_file(self) -> Path:
        """`frame_mapping.json`: video to VISOR frame name to EPIC frame name."""
        return self.visor / "frame_mapping.json"

    def polygons_file(self, split: str, video: str) -> Path:
        """Polygons of a video's sparse frames."""
        return self.visor / SPARSE / "annotations_corrected" / split / f"{video}.json"

    def image_file(self, split: str, video: str, visor_name: str) -> Path:
        """JPEG of a sparse frame."""
        return self.visor / SPARSE / "rgb_frames" / split / video / visor_name

    def contacts_file(self, split: str) -> Path:
        """Hand-object data of a split, COCO layout."""
        return self.annotations / f"visor_hos_{split}.json"

    def tables(self) -> tuple[Path, ...]:
        """The EPIC-KITCHENS action tables."""
        return tuple(self.annotations / name for name in ACTION_TABLES)


@dataclass
class VideoPlan:
    """Sequences of one video before they are numbered, and what could not be used."""

    sequences: list[tuple[Action, tuple[FramePlan, ...]]] = field(default_factory=list)
    """May hold a sequence with fewer than two usable frames, because it takes a number."""
    problems: list[Problem] = field(default_factory=list)


def sequence_name(seq_id: int, video: str, verb: str, noun: str) -> str:
    """Folder name of a sequence; verbs and nouns keep their hyphens and colons."""
    return f"{seq_id:08d}_{video}_{verb}_{noun}"


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ActisegError: If it is missing or is not JSON.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError as error:
        raise ActisegError(f"{path}: not found") from error
    except (OSError, ValueError) as error:
        raise ActisegError(f"{path}: not readable as JSON ({error})") from error


def read_mapping(tree: VisorTree) -> dict[str, dict[str, str]]:
    """Reads the frame mapping: video to VISOR frame name to EPIC frame name.

    Raises:
        ActisegError: If the file is missing or has another form.
    """
    mapping = read_json(tree.mapping_file)
    if not isinstance(mapping, dict) or not all(isinstance(v, dict) for v in mapping.values()):
        raise ActisegError(f"{tree.mapping_file}: expected {{video: {{VISOR frame: EPIC frame}}}}")
    return mapping


def read_actions(tree: VisorTree) -> tuple[dict[str, list[Action]], list[Problem]]:
    """Reads both action tables.

    Returns:
        The actions of each video in the order of their narration ids, and unusable rows.

    Raises:
        ActisegError: If a table is missing or lacks a column.
    """
    actions: dict[str, list[Action]] = {}
    problems = []
    for path in tree.tables():
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError as error:
            raise ActisegError(f"{path}: not found; it is an EPIC-KITCHENS-100 table") from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ActisegError(f"{path}: not readable as CSV ({error})") from error
        for number, row in enumerate(rows, start=2):
            try:
                action = _action(row)
            except KeyError as error:
                raise ActisegError(f"{path}: there is no column {error}") from error
            except (TypeError, ValueError, SyntaxError) as error:
                problems.append(Problem(str(path), f"row {number} is unusable ({error})"))
                continue
            actions.setdefault(action.video, []).append(action)
    for listed in actions.values():
        listed.sort(key=lambda action: action.order)
    return actions, problems


def _action(row: Mapping[str, str]) -> Action:
    narration_id = row["narration_id"]
    noun_classes = ast.literal_eval(row["all_noun_classes"])
    if not isinstance(noun_classes, list):
        raise ValueError(f"all_noun_classes is {row['all_noun_classes']!r}; expected a list")
    if any("/" in row[name] for name in ("video_id", "verb", "noun")):
        raise ValueError("video, verb or noun contains '/', which cannot be in a folder name")
    return Action(
        video=row["video_id"],
        start=int(row["start_frame"]),
        end=int(row["stop_frame"]),
        narration=row["narration"],
        verb=row["verb"],
        verb_class=int(row["verb_class"]),
        noun=row["noun"],
        noun_class=int(row["noun_class"]),
        noun_classes=frozenset(noun_classes),
        order=tuple(int(part) for part in narration_id[1:].split("_")),
    )


def read_contacts(path: Path) -> tuple[dict[str, Contacts], dict[str, Problem]]:
    """Reads the objects in contact of every frame of a hand-object file.

    Frames that have hands only count as frames without hand-object data.

    Returns:
        Contacts by VISOR frame name, and a problem for each frame whose contacts are unusable.

    Raises:
        ActisegError: If the file is missing or not in COCO layout.
    """
    content = read_json(path)
    boxes: dict[str, list[tuple[int, int, int, int]]] = {}
    shapes: dict[str, list[tuple[Any, ...]]] = {}
    problems: dict[str, Problem] = {}
    try:
        file_names = {image["id"]: image["file_name"] for image in content["images"]}
        for annotation in content["annotations"]:
            if annotation["category_id"] != _CONTACT_CATEGORY:
                continue
            frame = file_names[annotation["image_id"]]
            try:
                x, y, width, height = (int(value) for value in annotation["bbox"])
                outlines = tuple(
                    polygon([flat[i : i + 2] for i in range(0, len(flat), 2)])
                    for flat in annotation["segmentation"]
                    if flat
                )
            except (TypeError, ValueError) as error:
                what = f"annotation {annotation.get('id')} of {frame} is unusable ({error})"
                problems.setdefault(frame, Problem(str(path), what))
                continue
            boxes.setdefault(frame, []).append((x, y, width, height))
            shapes.setdefault(frame, []).append(outlines)
    except (KeyError, TypeError) as error:
        raise ActisegError(f"{path}: not in COCO layout (missing {error})") from error
    contacts = {
        frame: Contacts(tuple(boxes[frame]), tuple(shapes[frame]))
        for frame in boxes
        if frame not in problems
    }
    return contacts, problems


def read_polygons(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Reads a video's polygon file.

    Returns:
        Annotations by VISOR frame name; the first entry counts if a frame is listed twice.

    Raises:
        ActisegError: If it is missing, not JSON, or has another form.
    """
    content = read_json(path)
    frames: dict[str, list[dict[str, Any]]] = {}
    try:
        for entry in content["video_annotations"]:
            frames.setdefault(entry["image"]["name"], entry["annotations"])
    except (KeyError, TypeError) as error:
        raise ActisegError(f"{path}: not a VISOR annotation file (missing {error})") from error
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
            if not isinstance(name, str) or not isinstance(class_id, int):
                raise ValueError(f"object {name!r} has class_id {class_id!r}")
            polygons = tuple(polygon(points) for points in annotation["segments"])
        except KeyError as error:
            raise ValueError(f"object {annotation.get('name')!r} lacks {error}") from error
        except (TypeError, ValueError) as error:
            raise ValueError(f"object {annotation.get('name')!r}: {error}") from error
        entities.append(Entity(name, class_id, polygons))
    return tuple(entities)


def plan_video(
    tree: VisorTree,
    split: str,
    video: str,
    mapping: Mapping[str, str],
    actions: Sequence[Action],
    unusable: AbstractSet[str],
) -> VideoPlan:
    """Finds the sequences of a video, and frames that cannot be used.

    Args:
        tree: The input.
        split: `train` or `val`.
        video: Its annotation file exists in this split.
        mapping: VISOR frame name to EPIC frame name.
        actions: The video's actions in order.
        unusable: VISOR names of frames with broken hand-object data, reported already.
    """
    path = tree.polygons_file(split, video)
    plan = VideoPlan()
    try:
        polygons = read_polygons(path)
    except ActisegError as error:
        what = str(error).removeprefix(f"{path}: ")
        return VideoPlan(problems=[Problem(str(path), f"video skipped: {what}")])
    visor_names = {name: visor_name for visor_name, name in mapping.items()}
    names = sorted(visor_names)
    usable: dict[str, bool] = {}
    for action in actions:
        first = bisect_left(names, f"frame_{action.start:010d}.jpg")
        last = bisect_right(names, f"frame_{action.end:010d}.jpg")
        frames = [FramePlan(name, visor_names[name]) for name in names[first:last]]
        if len(frames) < 2 or not any(_has_object(polygons.get(f.visor_name)) for f in frames):
            continue
        for frame in frames:
            if frame.visor_name not in usable:
                problem = _problem_of_frame(tree, split, video, frame, polygons)
                usable[frame.visor_name] = problem is None and frame.visor_name not in unusable
                if problem:
                    plan.problems.append(problem)
        plan.sequences.append((action, tuple(f for f in frames if usable[f.visor_name])))
    return plan


def _has_object(annotations: Sequence[Mapping[str, Any]] | None) -> bool:
    """Whether a frame has an object with a list of segments that is not empty."""
    try:
        return any(len(annotation["segments"]) > 0 for annotation in annotations or ())
    except (KeyError, TypeError):
        return True  # broken, but somebody meant to annotate it; reported by its own check


def _problem_of_frame(
    tree: VisorTree,
    split: str,
    video: str,
    frame: FramePlan,
    polygons: Mapping[str, Sequence[Mapping[str, Any]]],
) -> Problem | None:
    path = tree.polygons_file(split, video)
    if frame.visor_name not in polygons:
        what = f"frame {frame.visor_name} is in frame_mapping.json but has no annotation here"
        return Problem(str(path), what)
    try:
        read_entities(polygons[frame.visor_name])
    except (AttributeError, TypeError, ValueError) as error:
        return Problem(str(path), f"frame {frame.visor_name}: {error}")
    image = tree.image_file(split, video, frame.visor_name)
    return None if image.is_file() else Problem(str(image), "frame is missing")
