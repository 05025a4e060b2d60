"""A lab's own kitchen, from recordings to a go: every step as its people take it.

``python -m training.demo.own --out build/demo-own`` draws a lab in a style that the embedded model
has never seen, records it, annotates it, trains a little, calibrates, and plays a new recording to
the node: with the embedded bundle, which must refuse it, and with the lab's own.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import tyro

from actiseg_ros.bags.epic_bag import BagOptions, write_bag
from actiseg_ros.errors import ActisegError
from training import cli
from training.data.commands import INCOMPLETE
from training.data.kitchen.style import Style
from training.data.kitchen.video import KitchenVideo, VideoOptions, make_video
from training.demo.__main__ import show
from training.demo.annotator import Annotator, unpainted
from training.demo.folder import begin, clear
from training.demo.footage import SIZE, kitchen_footage
from training.files.disk import write_json
from training.files.processes import in_processes

_RATE = 2
"""Frames a second of the recordings for training and calibration: none is drawn for nothing."""
_FOREIGN = "OUT_OF_DISTRIBUTION"


@dataclass(frozen=True)
class OwnDemo:
    """Draw a lab, and lead it from its recordings to a go."""

    out: Path = Path("build/demo-own")
    """Folder for everything that comes of it; an older one is replaced."""
    style: Style = "infrared"
    """How the lab is drawn."""
    seed: int = 11
    """Lab to draw."""
    recordings: int = 6
    """Recordings for training."""
    held_out: int = 7
    """Recordings that are kept for calibration."""
    seconds: float = 46.0
    """Length of each recording; an action takes five or six."""
    every: float = 0.5
    """Seconds between annotated pictures of the recordings for training, which gains from every
    picture; calibration gains from every clip, and has half as many."""
    epochs: int = 11
    """Passes of the training over the lab's pictures."""
    risk: float = 0.3
    """Largest share of wrong goes that is promised, and that the node is told to accept. What an
    afternoon's clips and minutes of training can show is no more than that."""
    live: float = 30.0
    """Length of the recording that is played to the node."""


@dataclass
class _Walk:
    """What is done, and how long it took."""

    out: Path
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Times a step."""
        print(f"\n== {name}", flush=True)
        began = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began, 1)
        print(f"   ({self.seconds[name]:.0f} s)", flush=True)

    def actiseg(self, *arguments: object, allowed: tuple[int, ...] = (0,)) -> None:
        """Runs a command as a user would, in the folder of the demonstration.

        Raises:
            ActisegError: It failed.
        """
        words = [str(argument) for argument in arguments]
        print("$ actiseg " + shlex.join(words), flush=True)
        command = [sys.executable, "-m", "training.cli", *words]
        status = subprocess.run(command, cwd=self.out, check=False).returncode
        if status not in allowed:
            raise ActisegError(f"actiseg {words[0]} ended with status {status}; see above")


def run(options: OwnDemo) -> dict[str, Any]:
    """Walks the whole way and writes ``summary.json``.

    Returns:
        Its content.

    Raises:
        ActisegError: A step failed.
    """
    out = options.out.resolve()
    clear(out)
    begin(out)
    walk = _Walk(out)
    training = [f"lab_{number:02d}" for number in range(1, options.recordings + 1)]
    kept = [f"calib_{number:02d}" for number in range(1, options.held_out + 1)]
    annotator = Annotator()
    with walk.step("record"):
        jobs = [
            _Job(out, name, options.seed + place, options)
            for place, name in enumerate(training + kept, start=1)
        ]
        videos = []
        for video in in_processes(_record, jobs):
            videos.append(video)
            print(f"bags/{video.video_id}: {len(video.clips)} actions", flush=True)
    with walk.step("frames"):
        for video in videos:
            name = video.video_id
            every = options.every if name in training else 2 * options.every
            walk.actiseg(
                "frames", "--bag", f"bags/{name}", "--every", every, "--out", f"frames/{name}"
            )
    with walk.step("annotate"):
        count = sum(
            annotator.annotate(out / "frames" / video.video_id, video.clips, video.fps)
            for video in videos
        )
        annotator.write(out / "instances.json")
        print(f"instances.json: {len(annotator.shapes)} objects in {count} pictures")
    with walk.step("import"):
        tables = [f"frames/{video.video_id}/narrations.csv" for video in videos]
        walk.actiseg(
            *("import", "coco", "--annotations", "instances.json", "--images", "frames"),
            *("--narrations", *tables, "--out", "data", "--val-videos", ",".join(kept)),
            allowed=(0, INCOMPLETE),
        )
    with walk.step("plan"):
        walk.actiseg("calibrate", "--plan", "--risk", options.risk, "--data", "data")
    with walk.step("train"):
        walk.actiseg(
            *("train", "--data", "data", "--pretrained", "embedded", "--epochs", options.epochs),
            *("--val-split", "", "--out", "run"),
        )
    with walk.step("export"):
        walk.actiseg("export", "--checkpoint", "run/last.safetensors", "--out", "bundle")
    with walk.step("calibrate"):
        walk.actiseg(
            *("calibrate", "--bundle", "bundle", "--data", "data"),
            *("--split", "data/ImageSets/val.json", "--familiar", "data/ImageSets/train.json"),
            *("--risk", options.risk),
        )
    with walk.step("play"):
        played = _play(out, options)
    summary = {"seconds": walk.seconds, **played}
    write_json(out / "summary.json", summary)
    return summary


@dataclass(frozen=True)
class _Job:
    """A recording to make."""

    out: Path
    name: str
    seed: int
    options: OwnDemo


def _record(job: _Job) -> KitchenVideo:
    """Films the lab and writes the recording as a bag."""
    cv2.setNumThreads(1)
    options = VideoOptions(
        seed=job.seed,
        seconds=job.options.seconds,
        fps=_RATE,
        size=SIZE,
        truth_every=_RATE,
        kitchen=job.options.seed,
        style=job.options.style,
        video_id=job.name,
    )
    folder = job.out / "video" / job.name
    video = make_video(folder, options, workers=1, progress=False, truth=False)
    bag = job.out / "bags" / job.name
    write_bag(video.video, video.narrations, job.name, bag, BagOptions(size=SIZE))
    return replace(video, clips=unpainted(video.clips))


def _play(out: Path, options: OwnDemo) -> dict[str, Any]:
    """Plays a new recording of the lab to the node, and one of another kitchen."""
    own = kitchen_footage(
        out / "video" / "live",
        options.live,
        options.seed + 1000,
        kitchen=options.seed,
        style=options.style,
    )
    other = kitchen_footage(out / "video" / "other", 12.0, 1)
    played = {}
    for name, footage, bundle in (
        ("embedded_bundle_in_the_lab", own, None),
        ("own_bundle_in_the_lab", own, out / "bundle"),
        ("own_bundle_elsewhere", other, out / "bundle"),
    ):
        print(f"-- {name}", flush=True)
        folder = out / name
        folder.mkdir()
        accepted = None if bundle is None else {"max_risk": str(options.risk)}
        played[name] = show(footage, folder, bundle, accepted)
    return played


def shortfalls(summary: dict[str, Any]) -> list[str]:
    """What of the walk did not end as it must; empty if all did."""
    embedded, own, elsewhere = (
        summary[name]
        for name in (
            "embedded_bundle_in_the_lab",
            "own_bundle_in_the_lab",
            "own_bundle_elsewhere",
        )
    )
    found = []
    if embedded["go"] or not embedded["reasons"].get(_FOREIGN):
        found.append("the embedded bundle did not refuse the lab as out of distribution")
    if not own["go"]:
        found.append(f"the lab's own bundle never said go; reasons: {own['reasons']}")
    if elsewhere["go"] or not elsewhere["reasons"].get(_FOREIGN):
        found.append("the lab's own bundle did not refuse another kitchen")
    return found


def main() -> int:
    """Walks; 1 if it did not end in a go."""
    options = tyro.cli(OwnDemo, prog="python -m training.demo.own")
    summary = run(options)
    print(json.dumps(summary, indent=2))
    for problem in (found := shortfalls(summary)):
        print(problem, file=sys.stderr)
    print(f"open {options.out}/own_bundle_in_the_lab/overlay.mp4")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(cli.told(main))
