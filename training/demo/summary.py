"""What a run of the demonstration came to: counts, score against the truth, latency."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.rule import Reason
from training.demo.footage import FRAME_RATE, DemoFootage
from training.demo.recorded import Outputs, RecordedMessage, image_of
from training.deploy.trials import is_alone
from training.evaluation.metrics import Tally
from training.files.provenance import processor_name


def score(outputs: Outputs, footage: DemoFootage) -> dict[str, float | None]:
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


def clear_frames(outputs: Outputs, footage: DemoFootage) -> dict[str, int]:
    """Counts judged frames in which the decision's target is there and nothing lies at it.

    Returns:
        How many there are (``frames``), in how many the gate says go (``go``), and in how many only
        the number of good frames in a row is not reached yet (``holding``).
    """
    counts = {"frames": 0, "go": 0, "holding": 0}
    for entry in outputs.judged:
        truth, decision = footage.truth.get(round(entry.stamp * FRAME_RATE)), entry.message
        if truth is None:
            continue
        ids = [label for label, name in truth.names.items() if name == decision.target]
        if is_alone(truth.labels(), ids):
            counts["frames"] += 1
            counts["go"] += bool(decision.go)
            counts["holding"] += list(decision.reasons) == [Reason.HOLDING.value]
    return counts


def summarise(
    inputs: dict[str, list[RecordedMessage]], outputs: Outputs, footage: DemoFootage, bundle: Bundle
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
        "clear": clear_frames(outputs, footage),
        "latency_ms": percentiles([entry.message.latency for entry in outputs.judged]),
        "judged_frames": len(outputs.judged),
        "dropped_frames": frames_in - len({entry.stamp for entry in outputs.masks}),
        "bundle": {"name": bundle.name, "model": bundle.model_id},
        "machine": {
            "processor": processor_name(),
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
