"""Renders the sequences of a plan: frames, label maps and weights, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from training.data.contacts import annotated_contacts
from training.data.labels import (
    HEIGHT,
    WIDTH,
    Contacts,
    RenderedFrame,
    label_map,
    object_classes,
    render_frame,
    weight_map,
)
from training.data.layout import IMAGES, LABELS, WEIGHTS
from training.data.palette import write_label_png
from training.data.tree import Problem, VisorTree
from training.data.visor import FramePlan, SequencePlan, read_entities, read_polygons
from training.files.disk import write_whole

_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_TRAILER = 256
"""Bytes at a JPEG's end among which its end mark must be; some writers add a few after it."""


@dataclass(frozen=True)
class RenderTask:
    """Consecutive sequences of one video."""

    tree: VisorTree
    out: Path
    split: str
    sequences: tuple[SequencePlan, ...]
    contacts: dict[str, Contacts] | None
    """Contacts of the frames by VISOR name; None takes them from the annotations."""


@dataclass(frozen=True)
class RenderedSequence:
    """A finished sequence: its entry of the split file, or None if it was left out."""

    name: str
    planned: list[str]
    entry: dict[str, Any] | None
    problems: list[Problem]


class _FrameStore:
    """Decoded and rasterised frames of a video, kept while a later sequence needs them."""

    def __init__(self, task: RenderTask) -> None:
        self._task = task
        self._video = task.sequences[0].action.video
        self._polygons = read_polygons(task.tree.polygons(task.split)[self._video])
        self._pictures = task.tree.frames(task.split, self._video)
        self._last_use = {
            frame.visor_name: sequence.seq_id
            for sequence in task.sequences
            for frame in sequence.frames
        }
        self._frames: dict[str, tuple[RenderedFrame, bytes] | Problem] = {}

    def get(self, frame: FramePlan) -> tuple[RenderedFrame, bytes] | Problem:
        """The rasterised frame and its JPEG at 854x480, or why there is none."""
        stored = self._frames.get(frame.visor_name)
        if stored is None:
            stored = self._frames[frame.visor_name] = self._load(frame)
        return stored

    def release(self, sequence: SequencePlan) -> None:
        """Forgets frames that no later sequence has."""
        for frame in sequence.frames:
            if self._last_use[frame.visor_name] <= sequence.seq_id:
                self._frames.pop(frame.visor_name, None)

    def _load(self, frame: FramePlan) -> tuple[RenderedFrame, bytes] | Problem:
        name = frame.visor_name
        where = self._pictures.where(name)
        try:
            stored = self._pictures.read(name)
        except OSError as error:
            return Problem(where, f"frame is not readable ({error.strerror or error})")
        image = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR) if stored else None
        if image is None:
            return Problem(where, "frame is not a readable image")
        # Some versions of OpenCV fill what is missing with grey, and say nothing.
        if stored.startswith(_JPEG_START) and stored.rfind(_JPEG_END, -_TRAILER) < 0:
            return Problem(where, f"frame is cut short after {len(stored)} bytes")
        small = cv2.resize(image, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
        _, jpeg = cv2.imencode(".jpg", small)
        annotations = self._polygons[name]
        if self._task.contacts is None:
            contacts = annotated_contacts(annotations, self._task.split)
        else:
            contacts = self._task.contacts.get(name)
        return render_frame(read_entities(annotations), contacts), jpeg.tobytes()


def render_task(task: RenderTask) -> list[RenderedSequence]:
    """Writes the images of a task's sequences."""
    cv2.setNumThreads(1)  # the processes use the cores already
    store = _FrameStore(task)
    results = []
    reported: set[Problem] = set()
    for sequence in task.sequences:
        frames: list[FramePlan] = []
        loaded: list[tuple[RenderedFrame, bytes]] = []
        problems = []
        for frame in sequence.frames:
            stored = store.get(frame)
            if isinstance(stored, Problem):
                problems.append(stored)
            else:
                frames.append(frame)
                loaded.append(stored)
        entry = None
        if len(frames) >= 2:
            entry = _write_sequence(task.out, task.split, sequence, frames, loaded)
        store.release(sequence)
        results.append(
            RenderedSequence(
                sequence.name,
                [frame.name for frame in sequence.frames],
                entry,
                [problem for problem in problems if problem not in reported],
            )
        )
        reported.update(problems)
    return results


def _write_sequence(
    out: Path,
    split: str,
    sequence: SequencePlan,
    frames: Sequence[FramePlan],
    loaded: Sequence[tuple[RenderedFrame, bytes]],
) -> dict[str, Any] | None:
    """Writes one sequence; its entry of the split file, or None if nothing is annotated."""
    action = sequence.action
    objects = object_classes((rendered for rendered, _ in loaded), action.noun_classes)
    if not objects:
        return None
    ids = {entry["name"]: object_id for object_id, entry in objects.items()}
    narrated = {entry["name"] for entry in objects.values() if entry["narration"]}
    negative = {entry["name"] for entry in objects.values() if not entry["positive"]}
    folders = {kind: out / kind / split / sequence.name for kind in (IMAGES, LABELS, WEIGHTS)}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    for frame, (rendered, jpeg) in zip(frames, loaded, strict=True):
        png = frame.name.replace("jpg", "png")
        write_whole(folders[IMAGES] / frame.name, jpeg)
        write_label_png(folders[LABELS] / png, label_map(rendered, ids))
        write_label_png(folders[WEIGHTS] / png, weight_map(rendered, narrated, negative))
    return {
        "seq_id": sequence.seq_id,
        "video": action.video,
        "start": action.start,
        "narration": action.narration,
        "verb": action.verb,
        "verb_class": action.verb_class,
        "noun": action.noun,
        "noun_class": action.noun_class,
        "end": action.end,
        "sparse_frames": [frame.name for frame in frames],
        "object_classes": {str(object_id): entry for object_id, entry in objects.items()},
    }
