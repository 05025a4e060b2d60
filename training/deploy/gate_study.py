"""What the calibrated gate does on labelled clips that it has never seen.

The share of failing clips among the accepted ones is what calibration promised to bound; a study
says whether it did, for one way of choosing candidates and one thing that cameras do wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.rule import Reason
from actiseg_ros.prompts import Candidates
from actiseg_ros.vision.segmenter import Segmentation, Segmenter
from training.data.splits import load_clips
from training.deploy.risk_control import Criteria, binomial_upper_bound
from training.deploy.trials import LabelledFrame, run_frames
from training.files.disk import write_json

SCORES = ("active score", "mean probability", "maximal probability", "entropy", "p-uncertainty")
"""Single numbers that a gate could go by instead; small means sure."""


@dataclass(frozen=True)
class JudgedFrame:
    """One frame with a target, as the study keeps it.

    Attributes:
        clip: Sequence.
        reasons: Of the rule against going; empty if it accepts.
        failure: Whether going would miss or collide.
        scores: One number for each of `SCORES`.
    """

    clip: str
    reasons: tuple[Reason, ...]
    failure: bool
    scores: tuple[float, ...]


def study_gate(
    bundle: Path,
    data: Path,
    split: Path,
    out: Path,
    *,
    candidates: Candidates = "narration",
    corruption: str = "",
    seed: int = 0,
    threads: int = 0,
) -> dict[str, Any]:
    """Judges every frame of some clips by the bundle's limits and writes what came of it.

    Args:
        bundle: Calibrated bundle.
        data: Root of the ActionVOS layout.
        split: Clips that neither training nor calibration has seen.
        out: Folder to write `study.json` and `risk_coverage.png` into.
        candidates: How the robot's candidates are chosen, see `trials.prompt_of`.
        corruption: Name in `corruptions.CORRUPTIONS`; empty for images as they are.
        seed: Of the corruption.
        threads: Threads of the network; 0 lets ONNX Runtime choose.

    Returns:
        What `study.json` holds. What the gate demands over time (freshness, `hold_frames`) plays
        no part.

    Raises:
        ActisegError: The bundle is not calibrated, or no frame has a target.
    """
    loaded = load_bundle(bundle)
    calibration = load_calibration(loaded)
    if calibration is None:
        raise ActisegError(f"{bundle}: not calibrated; run `actiseg calibrate` first")
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    criteria = Criteria()
    frames = [
        _judged(frame, calibration)
        for frame in run_frames(
            Segmenter(loaded, threads=threads),
            clips,
            data,
            criteria,
            candidates,
            novelty=calibration.novelty,
            corruption=corruption,
            seed=seed,
        )
        if frame.trial is not None
    ]
    if not frames:
        raise ActisegError(f"{split}: no frame of {len(clips)} clips has a target")
    study = summary(frames, calibration, candidates)
    study |= {
        "candidates": candidates,
        "corruption": corruption or None,
        "model_id": loaded.model_id,
        "calibration_id": calibration.id,
        "split": split.name,
    }
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "study.json", study)
    _draw(study["curves"], out / "risk_coverage.png")
    return study


def _judged(frame: LabelledFrame, calibration: Calibration) -> JudgedFrame:
    assert frame.trial is not None
    features = frame.trial.features
    reasons = calibration.judge(features)
    return JudgedFrame(frame.clip, reasons, frame.trial.failure, _scores(frame.result))


def _scores(result: Segmentation) -> tuple[float, ...]:
    index = result.prompt.names.index(result.prompt.target)
    p = result.probabilities[index].astype(np.float64)
    inside = p[p >= 0.5]
    if not len(inside):
        return (np.inf,) * len(SCORES)
    entropy = -(p * np.log(p + 1e-9) + (1 - p) * np.log(1 - p + 1e-9)).sum() / len(inside)
    ambiguous = float((np.abs(p - 0.5) < 0.2).sum() / len(inside))
    return (
        -float(result.active[index]),
        -float(inside.mean()),
        -float(p.max()),
        float(entropy),
        ambiguous,
    )


def summary(
    frames: Sequence[JudgedFrame], calibration: Calibration, policy: Candidates
) -> dict[str, Any]:
    """The study's numbers; clips are the unit, and one accepted frame that fails fails its clip."""
    accepted = [frame for frame in frames if not frame.reasons]
    clips = {frame.clip for frame in accepted}
    failing = {frame.clip for frame in accepted if frame.failure}
    certificate = calibration.certificate(policy)
    confidence = certificate.confidence if certificate else 0.9
    return {
        "clips": len({frame.clip for frame in frames}),
        "accepted": len(clips),
        "failing": len(failing),
        "share": len(failing) / len(clips) if clips else 0.0,
        "upper_bound": binomial_upper_bound(len(failing), len(clips), confidence),
        "confidence": confidence,
        "certified_risk": certificate.risk if certificate else None,
        "frames": len(frames),
        "accepted_frames": len(accepted),
        "reasons": dict(Counter(reason.value for frame in frames for reason in frame.reasons)),
        "curves": {name: _risk_coverage(frames, index) for index, name in enumerate(SCORES)}
        | {"gate": [[len(accepted) / len(frames), len(failing) / max(1, len(clips))]]},
    }


def _risk_coverage(frames: Sequence[JudgedFrame], index: int) -> list[list[float]]:
    """Share of frames accepted and share of accepted clips that fail, by one score's limit."""
    scores = np.array([frame.scores[index] for frame in frames])
    failed = np.array([frame.failure for frame in frames])
    names = np.array([frame.clip for frame in frames])
    points = []
    for limit in np.quantile(scores[np.isfinite(scores)], np.linspace(0.02, 1, 50)):
        kept: npt.NDArray[np.bool_] = scores <= limit
        clips = set(names[kept])
        points.append([float(kept.mean()), len(set(names[kept & failed])) / max(1, len(clips))])
    return points


def _draw(curves: dict[str, list[list[float]]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, points in curves.items():
        x, y = zip(*points, strict=True)
        if name == "gate":
            axes.plot(x, y, "k*", markersize=12, label="the gate")
        else:
            axes.plot(x, y, label=f"by {name}")
    axes.set_xlabel("share of frames accepted")
    axes.set_ylabel("share of accepted clips that fail")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
