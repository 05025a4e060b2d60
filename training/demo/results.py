"""What came out of the node, read from the bags, and its score against the truth."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actiseg_ros.bags.recording import open_recording
from actiseg_ros.bundle import Bundle
from training.demo.footage import FRAME_RATE, Footage
from training.evaluation.metrics import Tally
from training.files.errors import ActisegError


@dataclass(frozen=True)
class Recorded:
    """One message: time in seconds of the bag, header stamp in seconds (nan without), message."""

    time: float
    stamp: float
    message: Any


@dataclass(frozen=True)
class Outputs:
    """The recorded messages of each output, in order of time."""

    masks: list[Recorded]
    objects: list[Recorded]
    uncertainties: list[Recorded]
    overlays: list[Recorded]
    decisions: list[Recorded]
    go: list[Recorded]
    diagnostics: list[Recorded]

    @property
    def judged(self) -> list[Recorded]:
        """The first decision about each image."""
        first: dict[float, Recorded] = {}
        for decision in self.decisions:
            if decision.stamp > 0:
                first.setdefault(decision.stamp, decision)
        return list(first.values())


def read_bag(path: Path) -> dict[str, list[Recorded]]:
    """Reads all messages of a bag by topic."""
    with open_recording(path) as recording:
        found: dict[str, list[Recorded]] = {name: [] for name in recording.topics}
        for entry in recording.messages():
            message = recording.decode(entry)
            header = getattr(message, "header", None)
            stamp = math.nan
            if header is not None:
                stamp = header.stamp.sec + header.stamp.nanosec * 1e-9
            found[entry.topic.name].append(Recorded(entry.time_ns * 1e-9, stamp, message))
    return found


def read_outputs(bag: Path) -> Outputs:
    """Reads the recorded outputs.

    Raises:
        ActisegError: An output topic is absent or never had a message.
    """
    topics = read_bag(bag)
    names = ("mask", "objects", "uncertainty", "overlay/compressed", "grasp", "go")
    wanted = [*(f"/segment/{name}" for name in names), "/diagnostics"]
    silent = [topic for topic in wanted if not topics.get(topic)]
    if silent:
        raise ActisegError(f"{bag}: nothing was recorded on {', '.join(silent)}")
    return Outputs(*(topics[topic] for topic in wanted))


def image_of(message: Any) -> NDArray[np.uint8]:
    """Pixels of a mono8 image message."""
    return np.asarray(message.data, np.uint8).reshape(message.height, message.width)


def score(outputs: Outputs, footage: Footage) -> dict[str, float | None]:
    """Compares the masks with the truth of their frames; None where there is no truth.

    Every object of the scene counts in every judged frame of its action, as in the evaluation of
    a split.
    """
    tally = Tally()
    objects = {entry.stamp: entry.message.objects for entry in outputs.objects}
    for mask in outputs.masks:
        truth = footage.truth.get(round(mask.stamp * FRAME_RATE))
        described = objects.get(mask.stamp)
        if truth is None or not described:
            continue
        label_of = {name: label for label, name in truth.names.items()}
        table = np.zeros(256, np.uint8)
        for entry in described:
            table[entry.label] = label_of.get(entry.name, 0)
        tally.add_frame(table[image_of(mask.message)], truth.labels(), truth.positive)
    metrics = tally.metrics(strict=False)
    return {
        name: None if math.isnan(getattr(metrics, name)) else 100 * getattr(metrics, name)
        for name in ("p_miou", "n_miou", "acc")
    }


def summarise(
    inputs: dict[str, list[Recorded]], outputs: Outputs, footage: Footage, bundle: Bundle
) -> dict[str, Any]:
    """Collects the numbers of ``summary.json``.

    Latencies are milliseconds from the arrival of an image to its decision, scores are percent.
    """
    frames_in = len(inputs["/image/compressed"])
    decisions = [entry.message for entry in outputs.decisions]
    go = sum(bool(message.go) for message in decisions)
    reasons = Counter(reason for message in decisions for reason in message.reasons)
    return {
        "frames_in": frames_in,
        "decisions": len(decisions),
        "go": go,
        "no_go": len(decisions) - go,
        "reasons": dict(reasons.most_common()),
        **score(outputs, footage),
        "latency_ms": percentiles([entry.message.latency for entry in outputs.judged]),
        "judged_frames": len(outputs.judged),
        "dropped_frames": frames_in - len({entry.stamp for entry in outputs.masks}),
        "bundle": {"name": bundle.name, "model": bundle.model_id},
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float | None]:
    """50th, 95th and 99th percentile in milliseconds, None without any number."""
    known = [value for value in seconds if math.isfinite(value)]
    return {
        f"p{q}": round(1000 * float(np.percentile(known, q)), 2) if known else None
        for q in (50, 95, 99)
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
