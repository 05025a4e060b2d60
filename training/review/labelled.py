"""Cards of labelled clips: what the gate would decide, and whether it would be right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.features import uncertain_map
from actiseg_ros.gate.state import Decision
from actiseg_ros.overlay import draw_overlay
from actiseg_ros.prompts import Candidates
from actiseg_ros.vision.segmenter import Segmenter
from training.data.splits import load_clips
from training.deploy.risk_control import Criteria, Trial
from training.deploy.trials import Answer, run_frames
from training.review.cards import Card, degree_of, shown, small_jpeg

_TRUTH = (255, 255, 255)


def labelled_cards(
    bundle: Path, data: Path, split: Path, candidates: Candidates, *, threads: int = 0
) -> Iterator[Card]:
    """Judges every frame with a target of some labelled clips.

    Args:
        bundle: Calibrated bundle.
        data: Root of the ActionVOS layout.
        split: Split file.
        candidates: How the robot's candidates are chosen, see `trials.prompt_of`.
        threads: Threads of the network; 0 lets ONNX Runtime choose.

    Raises:
        ActisegError: The bundle is not calibrated, or not for these candidates, or a picture is
            missing.
        BundleError: The bundle cannot be read.
    """
    loaded = load_bundle(bundle)
    calibration = load_calibration(loaded)
    if calibration is None:
        raise ActisegError(f"{bundle}: not calibrated; run `actiseg calibrate` first")
    if calibration.limits(candidates) is None:
        known = ", ".join(calibration.policies)
        raise ActisegError(f"{bundle}: calibrated for candidates {known}, not {candidates}")
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    frames = run_frames(
        Segmenter(loaded, threads=threads),
        clips,
        data,
        Criteria(),
        (candidates,),
        novelty=calibration.novelty,
    )
    for frame in frames:
        answer = frame.answers.get(candidates)
        if answer is not None and answer.trial is not None:
            title = f"{frame.clip} / {frame.name}"
            yield _card(title, frame.rgb, answer, answer.trial, loaded, calibration)


def _card(
    title: str,
    rgb: npt.NDArray[np.uint8],
    answer: Answer,
    trial: Trial,
    bundle: Bundle,
    calibration: Calibration,
) -> Card:
    features, result = trial.features, answer.result
    reasons = calibration.judge(features)
    limits = calibration.limits(features.candidates)
    assert limits is not None
    label = result.prompt.names.index(result.prompt.target) + 1
    decision = Decision(
        not reasons, reasons, target=features.target, target_label=label,
        active_score=features.active_score, p_uncertainty=features.p_uncertainty,
        n_uncertainty=features.n_uncertainty, distance=features.distance,
        p_limit=limits.p_uncertainty, n_limit=limits.n_uncertainty,
    )  # fmt: skip
    picture = draw_overlay(rgb, result, decision, uncertain_map(result, bundle))
    if answer.truth is not None:
        _outline(picture, answer.truth)
    active = result.active >= bundle.thresholds.positive
    failed = ["misses"] * trial.p_failure + ["collides"] * trial.n_failure
    return Card(
        title=title,
        narration=result.prompt.narration,
        jpeg=small_jpeg(picture),
        go=decision.go,
        reasons=tuple(map(str, reasons)),
        target=features.target,
        objects=tuple(name for name, on in zip(result.prompt.names, active, strict=True) if on),
        numbers={
            "p-uncertainty": shown(features.p_uncertainty, limits.p_uncertainty),
            "n-uncertainty": shown(features.n_uncertainty, limits.n_uncertainty),
            "active": f"{shown(features.active_score)}, at least {limits.active_score:.2f}",
            "distance": shown(features.distance, limits.distance),
            "going would": ", ".join(failed) or "be right",
        },
        degree=degree_of(
            [
                (features.p_uncertainty, limits.p_uncertainty),
                (features.n_uncertainty, limits.n_uncertainty),
                (features.distance, limits.distance),
            ]
        ),
        wrong=trial.failure,
    )


def _outline(picture: npt.NDArray[np.uint8], truth: npt.NDArray[np.bool_]) -> None:
    """Draws where the target truly is."""
    found, _ = cv2.findContours(truth.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(picture, found, -1, _TRUTH, 1, cv2.LINE_AA)
