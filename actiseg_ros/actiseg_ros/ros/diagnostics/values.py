"""Key values for the diagnostics of `segment_node`."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from actiseg_ros.gate.calibration import Calibration
from actiseg_ros.gate.state import Decision, GateState
from actiseg_ros.pipeline import Model
from actiseg_ros.prompts import Prompt

Values = dict[str, object]


def prompt_values(prompt: Prompt | None) -> Values:
    """What is looked for."""
    if prompt is None:
        return {"narration": ""}
    return {
        "narration": prompt.narration,
        "objects": ", ".join(prompt.names),
        "target": prompt.target,
    }


def model_values(model: Model, latencies: Iterable[float]) -> Values:
    """Which model runs, where, and how fast.

    Args:
        model: Loaded model.
        latencies: Seconds from the arrival of recent images to their decision.
    """
    values: Values = {
        "bundle": model.bundle.path,
        "model": model.bundle.model_id,
        "providers": ", ".join(model.segmenter.providers),
    }
    known = [latency for latency in latencies if math.isfinite(latency)]
    if known:
        for percent, latency in zip((50, 95, 99), np.percentile(known, (50, 95, 99)), strict=True):
            values[f"latency p{percent} (ms)"] = 1000 * float(latency)
    return values


def gate_values(decision: Decision, state: GateState, calibration: Calibration | None) -> Values:
    """What was decided, from which features, against which limits."""
    certificate = calibration.certificate(state.candidates) if calibration else None
    limits = calibration.limits(state.candidates) if calibration else None
    return {
        "decision": decision.state,
        "reasons": ", ".join(str(reason) for reason in decision.reasons),
        "target": decision.target,
        "active_score": decision.active_score,
        "active_score_limit": limits.active_score if limits else math.nan,
        "p_uncertainty": decision.p_uncertainty,
        "p_limit": decision.p_limit,
        "n_uncertainty": decision.n_uncertainty,
        "n_limit": decision.n_limit,
        "distance": decision.distance,
        "distance_limit": limits.distance if limits else math.nan,
        "good_frames": decision.good_frames,
        "count started anew": state.restarts,
        "last because of": state.restart_cause,
        "calibration": calibration.id if calibration else "",
        "candidates": state.candidates,
        "certified": certificate is not None,
        "risk": certificate.risk if certificate else math.nan,
        "confidence": certificate.confidence if certificate else math.nan,
    }
