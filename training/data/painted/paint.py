"""Paints the pictures of a whole tree: videos in parallel, resumable, reproducible."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import cv2

from actiseg_ros.errors import ActisegError
from training.data.actions import read_actions
from training.data.kitchen.writer import Appearance, check_frame_size
from training.data.painted.world import World
from training.data.tree import PAINTED, SPARSE, Problem, VisorTree, distinct_splits
from training.data.visor import (
    plan_video,
    read_entities,
    read_mapping,
    read_polygons,
    videos_of_split,
)
from training.files.claims import claim, require_free
from training.files.disk import write_whole
from training.files.lock import sole_writer
from training.files.processes import in_processes
from training.files.progress import Progress

VERSION = 1
"""Raised whenever the same seed paints other pictures, so that old and new ones never mix."""


@dataclass(frozen=True)
class PaintConfig:
    """How pictures are painted.

    Attributes:
        seed: Other seeds give other worktops, clutter, light, hands and object instances.
        look: Family of the looks: others give every class another look.
        frame_size: Width and height of the JPEGs; annotations are in 1920x1080 pixels regardless.
        quality: JPEG quality, 1 to 100.

    Raises:
        ActisegError: If a value is out of range.
    """

    seed: int = 0
    look: int = 0
    frame_size: tuple[int, int] = (854, 480)
    quality: int = 90

    def __post_init__(self) -> None:
        for name, value in (("seed", self.seed), ("look", self.look)):
            if value < 0:
                raise ActisegError(f"{name}: {value}; expected 0 or more")
        check_frame_size(self.frame_size)
        if not 1 <= self.quality <= 100:
            raise ActisegError(f"quality: {self.quality}; expected 1 to 100")


@dataclass
class PaintSummary:
    """What was painted."""

    out: Path
    videos: dict[str, int] = field(default_factory=dict)
    """Videos of each split."""
    frames: dict[str, int] = field(default_factory=dict)
    """Pictures of each split."""
    resumed: dict[str, int] = field(default_factory=dict)
    """Those of them that an earlier run had painted."""
    problems: list[Problem] = field(default_factory=list)

    def lines(self) -> list[str]:
        """The summary as text, problems first."""
        text = [f"skipped: {problem}" for problem in self.problems]
        for split, frames in self.frames.items():
            text.append(
                f"{split}: {frames} pictures of {self.videos[split]} videos"
                f" ({self.resumed[split]} were there already)"
            )
        return [*text, f"{len(self.problems)} problems, in {self.out}"]


@dataclass(frozen=True)
class _Job:
    """The pictures of one video that are still to be painted."""

    source: Path
    """Polygons of the video."""
    folder: str
    """Which of `POLYGONS` they lie in."""
    out: Path
    split: str
    video: str
    config: PaintConfig
    frames: tuple[tuple[int, str], ...]
    """Place among the video's frames, and VISOR name."""

    def picture(self, name: str) -> Path:
        """Where the picture of a frame goes."""
        return self.out / SPARSE / "rgb_frames" / self.split / self.video / name

    @property
    def polygons(self) -> Path:
        """Where the polygons go: to a folder of the same name, without those of participants."""
        return self.out / SPARSE / self.folder / self.split / self.source.name


def paint(
    visor: Path,
    annotations: Path,
    out: Path,
    config: PaintConfig,
    splits: Sequence[str] = ("train", "val"),
    *,
    workers: int | None = None,
    progress: bool = True,
) -> PaintSummary:
    """Writes a VISOR tree with painted pictures of all frames that `prepare` will ask for.

    The pictures depend on the annotations and the configuration alone, not on the number of
    workers. An interrupted run continues when it is called again.

    Args:
        visor: Tree with `frame_mapping.json` and polygons; pictures in it are not read.
        annotations: Folder with both EPIC-KITCHENS-100 tables, which say what frames are used.
        out: New folder, or one that an earlier run with the same input and configuration wrote;
            gets the pictures, the polygons of their videos and the frame mapping.
        config: How to paint.
        splits: Splits to paint; others can follow later in the same folder.
        workers: Processes; all cores if None.
        progress: Show progress on standard error.

    Raises:
        ActisegError: If the input lacks a file, a split has nothing to paint, or `out` holds
            something else.
    """
    splits = distinct_splits(splits, "paint")
    tree = VisorTree(visor, annotations)
    if out.resolve() == visor.resolve():
        raise ActisegError(f"{out}: is the tree that is read; choose another --out")
    mapping = read_mapping(tree)
    actions, problems = read_actions(tree)
    summary = PaintSummary(out, problems=problems)
    jobs: list[_Job] = []
    inputs: dict[str, str] = {}
    for split in splits:
        videos, strange = videos_of_split(tree, split, mapping, actions)
        summary.problems.extend(strange)
        planned: list[_Job] = []
        for video in videos:
            plan = plan_video(
                tree, split, video, mapping[video], actions[video], frozenset(), pictures=False
            )
            summary.problems.extend(plan.problems)
            wanted = {f.visor_name for _, frames in plan.sequences for f in frames}
            numbered = enumerate(sorted(mapping[video]))
            frames = tuple((index, name) for index, name in numbered if name in wanted)
            if frames:
                path = tree.polygons(split)[video]
                folder = tree.polygons_folder(path)
                planned.append(_Job(path, folder, out, split, video, config, frames))
        if not planned:
            raise ActisegError(
                f"{visor}: the split {split!r} has no frame to paint: none of its videos has an"
                f" action with two annotated frames in the tables of {annotations}"
            )
        inputs[split] = _digest(planned)
        summary.videos[split] = len(planned)
        summary.frames[split] = sum(len(job.frames) for job in planned)
        jobs += planned
    with sole_writer(out):
        _claim(out, config, inputs)
        write_whole(VisorTree(out, annotations).mapping_file, tree.mapping_file.read_bytes())
        todo = [_unfinished(job) for job in jobs]
        for split in splits:
            left = sum(len(job.frames) for job in todo if job.split == split)
            summary.resumed[split] = summary.frames[split] - left
        total, done = sum(summary.frames.values()), sum(summary.resumed.values())
        with Progress("paint", "pictures", total, initial=done, shown=progress) as bar:
            # Long ones first, so that none is left over at the end.
            todo.sort(key=lambda job: -len(job.frames))
            worth = sum(bool(job.frames) for job in todo) > 1
            for count in in_processes(_paint, todo, workers, worth=worth):
                bar.update(count)
    return summary


def _digest(jobs: Sequence[_Job]) -> str:
    """What identifies the input of a split."""
    digest = hashlib.sha256()
    for job in jobs:
        polygons = job.source.read_bytes()
        digest.update(json.dumps([job.video, job.frames, len(polygons)]).encode())
        digest.update(polygons)
    return digest.hexdigest()


def _claim(out: Path, config: PaintConfig, inputs: dict[str, str]) -> None:
    """Checks that `out` may be written to, and notes what it holds."""
    state = out / PAINTED
    if not state.exists():
        require_free(out, "painted pictures")
    sources = {f"annotations of {split}": digest for split, digest in inputs.items()}
    claim(state, {"version": VERSION, **asdict(config), **sources}, "pictures", may_add=True)


def _unfinished(job: _Job) -> _Job:
    """What is left of a job; a picture that is there is complete."""
    left = tuple(frame for frame in job.frames if not job.picture(frame[1]).is_file())
    return replace(job, frames=left)


def _paint(job: _Job) -> int:
    """Paints what is left of a video; its polygons, written last, make it part of the tree."""
    cv2.setNumThreads(1)  # the processes use the cores already
    if job.frames:
        polygons = read_polygons(job.source)
        world = World(job.config.seed, job.config.look, job.video)
        appearance = Appearance(job.config.frame_size, job.config.quality)
        for index, name in job.frames:
            picture = world.frame(index, name, read_entities(polygons[name]))
            write_whole(job.picture(name), appearance.encode(picture))
    write_whole(job.polygons, job.source.read_bytes())
    return len(job.frames)
