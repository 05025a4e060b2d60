"""Command line of the demonstration."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from actiseg_ros.bags.epic_bag import BagOptions, write_bag
from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import ActisegError
from training import cli
from training.demo.folder import clear
from training.demo.footage import FRAME_RATE, SIZE, DemoFootage, kitchen_footage
from training.demo.play import play_through_node
from training.files.disk import write_json


@dataclass(frozen=True)
class Demo:
    """Play a video with narrations through the node and show what it decides."""

    out: Path = Path("build/demo")
    """Folder for the results; an older one is replaced."""
    epic: Path | None = None
    """Folder with real EPIC-KITCHENS frames, instead of a drawn kitchen."""
    bundle: Path | None = None
    """Model bundle; the embedded one by default."""
    seconds: float = 36.0
    """Length of the kitchen's video."""
    seed: int = 1
    """Kitchen to draw."""


def run(options: Demo) -> dict[str, Any]:
    """Makes the footage, plays it and writes the results.

    Returns:
        The content of ``summary.json``; for real frames one per clip, under its folder's name.
    """
    bundle = load_bundle(options.bundle)
    clear(options.out)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(
        prefix=f".{options.out.name}-", dir=options.out.parent
    ) as folder:
        working = Path(folder)
        done = working / "done"
        done.mkdir()
        if options.epic is None:
            footage = kitchen_footage(working, options.seconds, options.seed)
            summary = show(footage, done, options.bundle)
        else:
            from training.demo.epic import epic_footage

            summary = {}
            for footage in epic_footage(options.epic, working):
                part = done / footage.video_id
                part.mkdir()
                summary[footage.video_id] = show(footage, part, options.bundle)
            write_json(done / "summary.json", _joined(summary))
        done.rename(options.out)
    print(f"bundle {bundle.name}, model {bundle.model_id[:12]}")
    return summary


def show(
    footage: DemoFootage,
    out: Path,
    bundle: Path | None,
    parameters: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Converts, plays and records one footage, and draws the results into `out`.

    Args:
        footage: What is played.
        out: Existing folder.
        bundle: Model bundle; None is the embedded one.
        parameters: Further parameters of `segment_node`.
    """
    from training.demo.figures import write_overlay, write_timeline
    from training.demo.recorded import read_bag, read_outputs
    from training.demo.summary import summarise

    bag = write_bag(
        footage.video,
        footage.narrations,
        footage.video_id,
        out / "input_bag",
        _options(footage),
    )
    print(f"input_bag: {bag.frames} images, {bag.actions} actions")
    play_through_node(
        bag.path,
        out / "output_bag",
        out / "nodes.log",
        bundle=bundle,
        duration=bag.duration,
        parameters=parameters,
    )
    inputs, outputs = read_bag(bag.path), read_outputs(out / "output_bag")
    check(inputs, outputs)
    write_overlay(out / "overlay.mp4", outputs, FRAME_RATE)
    write_timeline(out / "timeline.png", outputs, inputs["/narration"])
    summary = summarise(inputs, outputs, footage, load_bundle(bundle))
    write_json(out / "summary.json", summary)
    return summary


def _options(footage: DemoFootage) -> BagOptions:
    fps = FRAME_RATE if footage.video.is_dir() else None
    return BagOptions(fps=fps, size=SIZE)


def check(inputs: dict[str, list[Any]], outputs: Any) -> None:
    """Checks what must hold for every run, whatever the model says.

    Raises:
        ActisegError: A mask has another size than its image, or stamps do not fit.
    """
    stamps = {entry.stamp for entry in inputs["/image/compressed"]}
    for name in ("masks", "uncertainties"):
        for entry in getattr(outputs, name):
            size = (entry.message.width, entry.message.height)
            if size != SIZE or entry.stamp not in stamps:
                raise ActisegError(
                    f"{name}: a map of size {size} with stamp {entry.stamp} belongs to no image"
                )
    for decision in outputs.decisions:
        if decision.message.go != (not decision.message.reasons):
            raise ActisegError(f"a decision contradicts its reasons: {decision.message}")


def _joined(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Sums of the counts over all clips, and each clip's own summary."""
    total: dict[str, Any] = {
        key: sum(part[key] for part in parts.values())
        for key in ("frames_in", "decisions", "go", "no_go", "judged_frames", "dropped_frames")
    }
    reasons: dict[str, int] = {}
    for part in parts.values():
        for reason, count in part["reasons"].items():
            reasons[reason] = reasons.get(reason, 0) + count
    return {**total, "reasons": reasons, "clips": parts}


def main() -> int:
    """Runs the demonstration; 1 if real frames got a go."""
    options = tyro.cli(Demo, prog="python -m training.demo")
    summary = run(options)
    print(json.dumps(summary, indent=2))
    if options.epic is not None:
        if any(part["go"] for part in summary.values()):
            print("the gate said go on images that the model never saw: a defect", file=sys.stderr)
            return 1
        print(f"open {options.out}/*/overlay.mp4 and {options.out}/*/timeline.png")
        return 0
    print(f"open {options.out}/overlay.mp4 and {options.out}/timeline.png")
    return 0


if __name__ == "__main__":
    sys.exit(cli.told(main))
