"""How long a decision takes, by the number of candidate objects; bundles side by side.

A picture of a drawn kitchen goes through the robot's own code: segmenter, gate features and the
messages that the node publishes (where ROS's Python packages are there). The prompt is encoded
once, as on the robot. All cases take turns picture by picture, so that whatever else the machine
does hits them alike; the first rounds do not count. "busy" is what all cores together computed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.gate.features import target_features, uncertain_map
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmentation, Segmenter
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.pictures import read_rgb

NAMES = ("knife", "pepper", "plate", "bowl", "spoon", "sponge", "left hand", "right hand")
Rgb = npt.NDArray[np.uint8]


@dataclass
class Case:
    """One bundle with one number of candidates, and its times in seconds, also the processor's."""

    segmenter: Segmenter
    prompt: EncodedPrompt
    totals: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, action="append", help="the embedded one by default")
    parser.add_argument("--candidates", type=int, nargs="+", default=[1, 8, 16, 64])
    parser.add_argument("--frames", type=int, default=60, help="rounds that count")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    options = parser.parse_args()
    pictures = drawn_pictures(options.width, options.height)
    cases: dict[tuple[str, int], Case] = {}
    for folder in options.bundle or [None]:
        bundle = load_bundle(folder)
        segmenter = Segmenter(bundle, threads=options.threads)
        for count in options.candidates:
            prompt = Prompt("cut pepper", candidates(bundle, count), "pepper", "named")
            cases[bundle.name, count] = Case(segmenter, segmenter.encode(prompt))
    publish = message_maker()
    before = 0
    for index in range(-5, options.frames):
        if index == 0:
            before = resident()
        for case in cases.values():
            measure(case, pictures[index % len(pictures)], publish, counts=index >= 0)
    report = {
        "threads": options.threads,
        "image": f"{options.width}x{options.height}",
        "frames": options.frames,
        "messages": publish is not None,
        "grown_bytes": resident() - before,
        "cases": rows(cases),
    }
    print(table(report))
    print(json.dumps({"decisions": report}))


def drawn_pictures(width: int, height: int) -> list[Rgb]:
    """Some frames of a drawn kitchen, uint8 [H, W, 3]."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        config = KitchenConfig(2, seed=0, val_share=1.0, frame_size=(width, height))
        make_kitchen(root, config, workers=1, progress=False)
        return [read_rgb(path) for path in sorted(root.rglob("*.jpg"))[:8]]


def candidates(bundle: Bundle, count: int) -> tuple[str, ...]:
    """So many names, those of a usual scene first."""
    known = [name for entry in bundle.vocabulary for name in entry.names]
    more = [f"{name} {number}" for number in range(2, 99) for name in NAMES[:6]]
    return tuple(dict.fromkeys([NAMES[1], *NAMES, *known, *more]))[:count]


def message_maker() -> Callable[[Segmentation, Bundle], object] | None:
    """Makes what the node publishes of an image; None where ROS's Python packages are missing."""
    if importlib.util.find_spec("actiseg_msgs") is None:
        return None
    from std_msgs.msg import Header

    from actiseg_ros.ros.messages import mono8, objects_message, uncertainty_image

    def publish(found: Segmentation, bundle: Bundle) -> object:
        header = Header()
        return (
            mono8(header, found.labels),
            objects_message(header, found, bundle),
            mono8(header, uncertainty_image(uncertain_map(found, bundle), found.labels.shape)),
        )

    return publish


def measure(
    case: Case, rgb: Rgb, publish: Callable[[Segmentation, Bundle], object] | None, *, counts: bool
) -> None:
    """Takes one picture through; notes the times if it counts."""
    bundle = case.segmenter.bundle
    busy, began = time.process_time(), time.perf_counter()
    found = case.segmenter.segment(rgb, case.prompt)
    segmented = time.perf_counter()
    target_features(found, bundle, 0.0)
    judged = time.perf_counter()
    if publish is not None:
        publish(found, bundle)
    ended = time.perf_counter()
    if not counts:
        return
    case.totals.append(ended - began)
    case.processor.append(time.process_time() - busy)
    stages = {**found.timings, "evidence": judged - segmented, "messages": ended - judged}
    for name, seconds in stages.items():
        case.stages.setdefault(name, []).append(seconds)


def rows(cases: dict[tuple[str, int], Case]) -> list[dict[str, Any]]:
    """The numbers of every case, in milliseconds."""
    medians = {key: float(np.median(case.totals)) for key, case in cases.items()}
    least = min(count for _, count in cases)
    return [
        {
            "bundle": name,
            "candidates": count,
            "median": milliseconds(case.totals, 50),
            "p95": milliseconds(case.totals, 95),
            "processor": milliseconds(case.processor, 50),
            "to_fewest": round(medians[name, count] / medians[name, least], 2),
            "decisions_per_second": round(1 / medians[name, count], 1),
            "stages": {stage: milliseconds(values, 50) for stage, values in case.stages.items()},
        }
        for (name, count), case in cases.items()
    ]


def milliseconds(seconds: Sequence[float], percentile: float) -> float:
    return round(1e3 * float(np.percentile(seconds, percentile)), 2)


def resident() -> int:
    """Most bytes of memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def table(report: dict[str, Any]) -> str:
    """The report as text."""
    first = report["cases"][0]
    lines = [
        "{image}, {threads} threads, {frames} rounds; milliseconds".format(**report),
        f"{'bundle':10} {'objects':>7} {'median':>7} {'p95':>7} {'busy':>7} {'ratio':>6} "
        + " ".join(f"{name[:12]:>12}" for name in first["stages"]),
    ]
    lines += [
        "{bundle:10} {candidates:7} {median:7.1f} {p95:7.1f} ".format(**row)
        + "{processor:7.1f} {to_fewest:6.2f} ".format(**row)
        + " ".join(f"{value:12.2f}" for value in row["stages"].values())
        for row in report["cases"]
    ]
    return "\n".join([*lines, f"memory grew by {report['grown_bytes'] / 2**20:.1f} MiB"])


if __name__ == "__main__":
    main()
