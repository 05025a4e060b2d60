"""What the calibrated gate does on labelled clips that it has never seen.

The share of failing clips among the accepted ones is what calibration promised to bound; a study
says whether it did, for one way of choosing candidates and one thing that cameras do wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.rule import Limits, Reason, judge
from actiseg_ros.prompts import Candidates
from actiseg_ros.vision.segmenter import Segmentation, Segmenter
from training.data.layout import verb_of
from training.data.splits import Clip, load_clips
from training.deploy.bundle_files import read_steps
from training.deploy.held_out import seen_by
from training.deploy.risk_control import (
    Criteria,
    Trial,
    binomial_upper_bound,
    certified_step,
)
from training.deploy.trials import run_frames
from training.files.disk import write_json, write_text

SCORES = ("active score", "mean probability", "maximal probability", "entropy", "p-uncertainty")
"""Single numbers that a gate could go by instead; small means sure."""
RISKS = (0.02, 0.05, 0.1, 0.2)
"""Risks that a study tells about beside the one that the bundle was calibrated for."""


@dataclass(frozen=True)
class JudgedFrame:
    """One frame with a target, as the study keeps it.

    Attributes:
        trial: What the gate sees, and whether going would miss or collide.
        reasons: Of the rule against going, by the limits of the bundle; empty if it accepts.
        scores: One number for each of `SCORES`.
    """

    trial: Trial
    reasons: tuple[Reason, ...]
    scores: tuple[float, ...]


def study_gate(
    bundle: Path,
    data: Path,
    split: Path,
    out: Path,
    *,
    candidates: Sequence[Candidates] = ("narration",),
    corruptions: Sequence[str] = ("",),
    seed: int = 0,
    threads: int = 0,
) -> list[dict[str, Any]]:
    """Judges every frame of some clips by the bundle's limits and writes what came of it.

    Args:
        bundle: Calibrated bundle.
        data: Root of the ActionVOS layout.
        split: Clips that neither training nor calibration has seen.
        out: Folder for `study.json` and `risk_coverage.png`. With several studies each has a folder
            of its own in it, named after candidates and corruption, and `studies.md` lists them.
        candidates: How the robot's candidates are chosen, see `trials.prompt_of`.
        corruptions: Names in `corruptions.CORRUPTIONS`; an empty one for images as they are.
        seed: Of the corruptions.
        threads: Threads of the network; 0 lets ONNX Runtime choose.

    Returns:
        What each `study.json` holds. What the gate demands over time (freshness, `hold_frames`)
        plays no part. `held_out` is false where training or calibration is known to have used the
        very split.

    Raises:
        ActisegError: The bundle is not calibrated, or no frame has a target.
    """
    loaded = load_bundle(bundle)
    calibration = load_calibration(loaded)
    if calibration is None:
        raise ActisegError(f"{bundle}: not calibrated; run `actiseg calibrate` first")
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    segmenter = Segmenter(loaded, threads=threads)
    held_out = not seen_by(loaded, split)
    studies = []
    for corruption in corruptions:
        judged = _judge(segmenter, calibration, clips, data, candidates, corruption, seed)
        if not any(judged.values()):
            raise ActisegError(
                f"{split}: no frame of {len(clips)} clips has a target; give a split whose "
                "narrations name an annotated object"
            )
        for policy, frames in judged.items():
            if not frames:
                continue
            study = summary(frames, calibration, policy)
            study["asked"] = _by_risk(frames, loaded, policy)
            study |= {
                "candidates": policy,
                "corruption": corruption or None,
                "model_id": loaded.model_id,
                "calibration_id": calibration.id,
                "split": split.name,
                "held_out": held_out,
            }
            own = out
            if len(candidates) * len(corruptions) > 1:
                own = out / "-".join(filter(None, (policy, corruption)))
            own.mkdir(parents=True, exist_ok=True)
            write_json(own / "study.json", study)
            _draw(study["curves"], own / "risk_coverage.png")
            studies.append(study)
    if len(candidates) * len(corruptions) > 1:
        write_text(out / "studies.md", "\n".join(tables(studies)) + "\n")
    return studies


def _judge(
    segmenter: Segmenter,
    calibration: Calibration,
    clips: Sequence[Clip],
    data: Path,
    candidates: Sequence[Candidates],
    corruption: str,
    seed: int,
) -> Mapping[Candidates, list[JudgedFrame]]:
    judged: dict[Candidates, list[JudgedFrame]] = {policy: [] for policy in candidates}
    assert segmenter.bundle.gate is not None
    criteria = Criteria(**segmenter.bundle.gate["criteria"])
    for frame in run_frames(
        segmenter,
        clips,
        data,
        criteria,
        candidates,
        novelty=calibration.novelty,
        corruption=corruption,
        seed=seed,
    ):
        for policy, answer in frame.answers.items():
            if answer.trial is not None:
                reasons = calibration.judge(answer.trial.features)
                judged[policy].append(JudgedFrame(answer.trial, reasons, _scores(answer.result)))
    return judged


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
    """The study's numbers; clips are the unit, and one accepted frame that fails fails its clip.

    Limits without a certificate accept nothing, as on a robot that demands one (the default of
    `require_certificate`); what they would accept is told under `uncertified`.
    """
    certificate = calibration.certificate(policy)
    confidence = certificate.confidence if certificate else Criteria().confidence
    good = [frame.trial for frame in frames if not frame.reasons]
    reasons = Counter(reason.value for frame in frames for reason in frame.reasons)
    numbers: dict[str, Any] = {
        "clips": len({frame.trial.clip for frame in frames}),
        "frames": len(frames),
        "alone_frames": sum(frame.trial.alone for frame in frames),
    }
    if certificate is None:
        reasons[Reason.NOT_CALIBRATED.value] = len(frames)
        numbers |= _counts([], confidence) | {"uncertified": _counts(good, confidence)}
    else:
        numbers |= _counts(good, confidence)
    curves = {name: _risk_coverage(frames, index) for index, name in enumerate(SCORES)}
    gate = _counts(good, confidence)
    return {
        **numbers,
        "confidence": confidence,
        "certified_risk": certificate.risk if certificate else None,
        "reasons": dict(reasons),
        "verbs": _by_verb(good),
        "at_equal_risk": _at_equal_risk(curves, gate["share"]),
        "curves": curves | {"gate": [[gate["accepted_frames"] / len(frames), gate["share"]]]},
    }


def _counts(accepted: Sequence[Trial], confidence: float) -> dict[str, Any]:
    clips = {trial.clip for trial in accepted}
    failing = {trial.clip for trial in accepted if trial.failure}
    return {
        "accepted": len(clips),
        "failing": len(failing),
        "share": len(failing) / len(clips) if clips else 0.0,
        "upper_bound": binomial_upper_bound(len(failing), len(clips), confidence),
        "accepted_frames": len(accepted),
        "accepted_alone_frames": sum(trial.alone for trial in accepted),
    }


def _by_verb(accepted: Sequence[Trial]) -> dict[str, list[int]]:
    """Accepted clips and failing ones among them for each verb, those with most failures first."""
    clips = Counter(verb_of(clip) for clip in {trial.clip for trial in accepted})
    failing = Counter(verb_of(clip) for clip in {trial.clip for trial in accepted if trial.failure})
    return {
        verb: [clips[verb], failing[verb]]
        for verb in sorted(clips, key=lambda verb: (-failing[verb], -clips[verb], verb))
    }


def _by_risk(
    frames: Sequence[JudgedFrame], bundle: Bundle, policy: Candidates
) -> list[dict[str, Any]]:
    """What the limits would do that the same calibration certifies for other risks."""
    assert bundle.gate is not None
    steps = read_steps(bundle, policy)
    if not steps:
        return []
    criteria = Criteria(**bundle.gate["criteria"])
    clips = int(bundle.gate["policies"][policy]["clips"])
    rows = []
    for risk in RISKS:
        step = certified_step(steps, clips, replace(criteria, risk=risk))
        row: dict[str, Any] = {"risk": risk, "certified": step is not None}
        if step is not None:
            limits = steps[step].limits
            row |= _counts(_accepted(frames, limits), criteria.confidence)
        rows.append(row)
    return rows


def _accepted(frames: Sequence[JudgedFrame], limits: Limits) -> list[Trial]:
    return [frame.trial for frame in frames if not judge(frame.trial.features, limits)]


def _risk_coverage(frames: Sequence[JudgedFrame], index: int) -> list[list[float]]:
    """Share of frames accepted and share of accepted clips that fail, by one score's limit."""
    scores = np.array([frame.scores[index] for frame in frames])
    failed = np.array([frame.trial.failure for frame in frames])
    names = np.array([frame.trial.clip for frame in frames])
    known = scores[np.isfinite(scores)]
    points = []
    for limit in np.unique(np.quantile(known, np.linspace(0.02, 1, 50))) if len(known) else []:
        kept: npt.NDArray[np.bool_] = scores <= limit
        clips = set(names[kept])
        points.append([float(kept.mean()), len(set(names[kept & failed])) / max(1, len(clips))])
    return points


def _at_equal_risk(curves: Mapping[str, list[list[float]]], share: float) -> dict[str, float]:
    """Largest share of frames that each score accepts without a larger share of failing clips.

    The limit is chosen on the very clips that are counted, which favours the scores.
    """
    return {
        name: max((coverage for coverage, failing in points if failing <= share), default=0.0)
        for name, points in curves.items()
    }


def _draw(curves: Mapping[str, list[list[float]]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4))
    for name, points in curves.items():
        x, y = np.array(points).reshape(-1, 2).T
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


def tables(studies: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Markdown tables of several studies: what was accepted, risks asked, other scores."""
    yield (
        "| candidates | camera | certified risk | clips | accepted | failing | share "
        "| upper bound | frames accepted | of those alone | foreign |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|"
    for study in studies:
        foreign = study["reasons"].get(Reason.OUT_OF_DISTRIBUTION.value, 0) / study["frames"]
        shown = study.get("uncertified", study)
        risk = study["certified_risk"]
        yield (
            f"| {study['candidates']} | {study['corruption'] or 'as it is'} "
            f"| {'none' if risk is None else f'{risk:.0%}'} | {study['clips']} "
            f"| {shown['accepted']} | {shown['failing']} | {shown['share']:.1%} "
            f"| {shown['upper_bound']:.1%} | {shown['accepted_frames'] / study['frames']:.1%} "
            f"| {shown['accepted_alone_frames'] / max(1, study['alone_frames']):.1%} "
            f"| {foreign:.1%} |"
        )
    yield ""
    yield "| candidates | camera | risk asked | accepted | failing | risk seen | frames accepted |"
    yield "|---|---|---|---|---|---|---|"
    for study in studies:
        if study["corruption"]:
            continue
        for row in study["asked"]:
            start = f"| {study['candidates']} | as it is | {row['risk']:.0%} |"
            if row["certified"]:
                yield (
                    f"{start} {row['accepted']} | {row['failing']} | {row['share']:.1%} "
                    f"| {row['accepted_frames'] / study['frames']:.1%} |"
                )
            else:
                yield f"{start} not certified | | | |"
    yield ""
    yield f"| candidates | the gate | {' | '.join(SCORES)} |"
    yield "|---" * (2 + len(SCORES)) + "|"
    for study in studies:
        if not study["corruption"]:
            scores = [f"{study['at_equal_risk'][name]:.1%}" for name in SCORES]
            gate = study["curves"]["gate"][0][0]
            yield f"| {study['candidates']} | {gate:.1%} | {' | '.join(scores)} |"
