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

from training.data.actions import Action
from training.data.labels import Entity, polygon
from training.data.layout import read_json, sequence_name
from training.data.tree import Problem, VisorTree
from training.files.errors import ActisegError

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
    action: Action
    frames: tuple[FramePlan, ...]

    @property
    def name(self) -> str:
        """Folder name: eight-digit number, video, verb and noun."""
        return sequence_name(self.seq_id, self.action.video, self.action.verb, self.action.noun)


@dataclass
class VideoPlan:
    """Sequences of one video before they are numbered, and what could not be used."""

    sequences: list[tuple[Action, tuple[FramePlan, ...]]] = field(default_factory=list)
    """May hold a sequence with fewer than two usable frames, because it takes a number."""
    problems: list[Problem] = field(default_factory=list)


def read_mapping(tree: VisorTree) -> dict[str, dict[str, str]]:
    """Reads the frame mapping: video to VISOR frame name to EPIC frame name.

    Raises:
        ActisegError: If the file is missing or has another form.
    """
    mapping = read_json(tree.mapping_file)
    if not isinstance(mapping, dict) or not all(isinstance(v, dict) for v in mapping.values()):
        raise ActisegError(f"{tree.mapping_file}: expected {{video: {{VISOR frame: EPIC frame}}}}")
    return mapping


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
