"""Key values for the diagnostics of `segment_node`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from actiseg_ros.gate.state import Decision, Gate
from actiseg_ros.pipeline import Pipeline

Values = dict[str, object]


def prompt_values(pipeline: Pipeline | None) -> Values:
    """What is looked for."""
    prompt = pipeline.prompt if pipeline else None
    if prompt is None:
        return {"narration": ""}
    return {
        "narration": prompt.narration,
        "objects": ", ".join(prompt.names),
        "target": prompt.target,
    }


def model_values(pipeline: Pipeline, latencies: Iterable[float]) -> Values:
    """Which model runs, where, and how fast.

    Args:
        pipeline: Configured pipeline.
        latencies: Seconds from the arrival of recent images to their decision.
    """
    values: Values = {
        "bundle": pipeline.bundle.path,
        "model": pipeline.bundle.model_id,
        "providers": ", ".join(pipeline.segmenter.providers),
    }
    known = [latency for latency in latencies if math.isfinite(latency)]
    if known:
        for percent, latency in zip((50, 95, 99), np.percentile(known, (50, 95, 99)), strict=True):
            values[f"latency p{percent} (ms)"] = 1000 * float(latency)
    return values


def gate_values(gate: Gate, decision: Decision) -> Values:
    """What was decided, from which features, against which limits."""
    calibration = gate.calibration
    return {
        "decision": decision.state,
        "reasons": ", ".join(str(reason) for reason in decision.reasons),
        "target": decision.target,
        "active_score": decision.active_score,
        "active_score_limit": calibration.limits.active_score if calibration else math.nan,
        "p_uncertainty": decision.p_uncertainty,
        "p_limit": decision.p_limit,
        "n_uncertainty": decision.n_uncertainty,
        "n_limit": decision.n_limit,
        "distance": decision.distance,
        "distance_limit": calibration.limits.distance if calibration else math.nan,
        "good_frames": decision.good_frames,
        "certified": bool(calibration and calibration.certified),
    }
