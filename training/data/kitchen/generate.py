"""Makes a whole synthetic VISOR tree: many kitchens in parallel, resumable, reproducible."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2

from actiseg_ros.bags.epic_actions import COLUMNS
from actiseg_ros.errors import ActisegError
from training.data.kitchen.clips import compose_clips, draw_kitchen
from training.data.kitchen.style import Style, check_style
from training.data.kitchen.writer import (
    Appearance,
    check_frame_size,
    hand_object_file,
    write_video,
)
from training.data.tree import KITCHEN
from training.files.claims import claim, require_free
from training.files.disk import read_json, write_json, write_text
from training.files.lock import sole_writer
from training.files.processes import in_processes
from training.files.progress import Progress

VERSION = 1
"""Raised whenever the same seed draws other pictures, so that old and new parts never mix."""
_CLIPS_PER_VIDEO = 5
_PARTICIPANTS = 37
_PARTS = ".parts"


@dataclass(frozen=True)
class KitchenConfig:
    """What is drawn.

    Attributes:
        clips: Number of clips (narrated actions) in all.
        seed: Other seeds give other kitchens, instances and actions.
        val_share: Share of the videos that go to the split ``val``; 0 and 1 are allowed.
        frame_size: Width and height of the JPEGs; annotations are in 1920x1080 pixels regardless.
        quality: JPEG quality, 1 to 100.
        hands: False paints the hands out of the pictures and leaves all annotations as they are.
        style: How pictures are drawn.
    """

    clips: int
    seed: int = 0
    val_share: float = 0.2
    frame_size: tuple[int, int] = (1920, 1080)
    quality: int = 90
    hands: bool = True
    style: Style = "plain"

    def __post_init__(self) -> None:
        check_style(self.style)
        if self.clips < 1:
            raise ActisegError(f"clips: {self.clips}; expected at least 1")
        if self.seed < 0:
            raise ActisegError(f"seed: {self.seed}; expected 0 or more")
        if not 0 <= self.val_share <= 1:
            raise ActisegError(f"val-share: {self.val_share}; expected a share between 0 and 1")
        check_frame_size(self.frame_size)
        if not 1 <= self.quality <= 100:
            raise ActisegError(f"quality: {self.quality}; expected 1 to 100")


def parse_size(text: str) -> tuple[int, int]:
    """Width and height from WIDTHxHEIGHT.

    Raises:
        ActisegError: If the text has another form.
    """
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise ActisegError(f"frame-size: {text!r}; expected WIDTHxHEIGHT, for example 854x480")
    return int(width), int(height)


@dataclass(frozen=True)
class _Job:
    out: Path
    config: KitchenConfig
    index: int
    clips: int
    split: str

    @property
    def video(self) -> str:
        return f"P{1 + self.index % _PARTICIPANTS:02d}_{101 + self.index // _PARTICIPANTS}"

    @property
    def part(self) -> Path:
        return self.out / _PARTS / f"{self.video}.json"


def _jobs(out: Path, config: KitchenConfig) -> list[_Job]:
    videos = -(-config.clips // _CLIPS_PER_VIDEO)
    val = round(videos * config.val_share)
    if videos > 1 and 0 < config.val_share < 1:
        val = min(max(val, 1), videos - 1)
    jobs = []
    for i in range(videos):
        count = min(_CLIPS_PER_VIDEO, config.clips - i * _CLIPS_PER_VIDEO)
        jobs.append(_Job(out, config, i, count, "val" if i >= videos - val else "train"))
    return jobs


def _run(job: _Job) -> int:
    """Draw one video; the part file, written last, marks it as done."""
    cv2.setNumThreads(1)
    config, seed = job.config, (job.config.seed, job.index)
    kitchen = draw_kitchen(seed, config.style)
    clips = compose_clips(seed, kitchen, job.clips)
    appearance = Appearance(config.frame_size, config.quality, config.hands)
    part = write_video(job.out, job.split, job.video, kitchen, clips, seed, appearance)
    write_json(job.part, part, indent=None)
    return job.clips


def _claim(out: Path, config: KitchenConfig) -> bool:
    """Check that OUT may be written to; True if it is complete already."""
    state = out / KITCHEN
    if not state.exists():
        require_free(out, "a kitchen")
    plan = {"version": VERSION, **asdict(config)}
    if config.style == "plain":
        del plan["style"]  # folders from before there were styles go on
    held = claim(state, plan, "a kitchen")
    return bool(held.get("complete", False))


def make_kitchen(
    out: Path, config: KitchenConfig, *, workers: int | None = None, progress: bool = True
) -> None:
    """Write a synthetic VISOR tree with its EPIC tables and hand-object files.

    The result depends on the configuration alone, not on the number of workers. An interrupted run
    continues when it is called again with the same configuration.

    Args:
        out: New or empty folder; gets ``VISOR/`` and ``annotations/``.
        config: What to draw.
        workers: Processes; by default one for each processor.
        progress: Show a progress bar.

    Raises:
        ActisegError: If the folder holds something else.
    """
    with sole_writer(out):
        if _claim(out, config):
            return
        jobs = _jobs(out, config)
        todo = [job for job in jobs if not job.part.is_file()]
        done = config.clips - sum(job.clips for job in todo)
        with Progress("kitchen", "clips", config.clips, initial=done, shown=progress) as bar:
            for clips in in_processes(_run, todo, workers):
                bar.update(clips)
        write_tables(out, [read_json(job.part) for job in jobs])
        state = read_json(out / KITCHEN)
        write_json(out / KITCHEN, {**state, "complete": True})
        shutil.rmtree(out / _PARTS)


def write_tables(out: Path, parts: list[dict[str, Any]]) -> None:
    """Write the tables that span all videos."""
    mapping = {part["video"]: part["mapping"] for part in parts}
    write_json(out / "VISOR" / "frame_mapping.json", mapping, indent=None)
    for split, table in (("train", "EPIC_100_train.csv"), ("val", "EPIC_100_validation.csv")):
        chosen = [part for part in parts if part["split"] == split]
        contacts = out / "annotations" / f"visor_hos_{split}.json"
        write_json(contacts, hand_object_file(chosen), indent=None)
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(row for part in chosen for row in part["rows"])
        write_text(out / "annotations" / table, text.getvalue())
        for folder in ("annotations_corrected", "rgb_frames"):
            (out / "VISOR" / "GroundTruth-SparseAnnotations" / folder / split).mkdir(
                parents=True, exist_ok=True
            )
