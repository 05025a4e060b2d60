"""Sets the gate's limits from held-out clips, with the segmenter and the rule of the robot.

A decision to go is a failure if the mask would miss (p-failure: IoU with the truth too small) or
collide (n-failure: too much of the mask lies on other objects). The limits are loosened step by
step as long as an exact binomial bound keeps the share of failing clips among the accepted ones
below the risk. Clips are the unit, and a clip fails if any accepted frame of it does, because the
frames of one clip are not independent.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from actiseg_ros import letterbox
from actiseg_ros.bundle import Bundle, file_sha256, load_bundle, read_record
from actiseg_ros.calibration import load_calibration
from actiseg_ros.compressed import decode_compressed
from actiseg_ros.domain import Domain, save_domain
from actiseg_ros.evidence import features_of
from actiseg_ros.prompts import MAX_OBJECTS, Vocabulary, choose_target, clean_names, clean_narration
from actiseg_ros.rule import FEATURE_VERSION
from actiseg_ros.segmenter import Segmenter
from training.data.clips import Clip, load_clips
from training.data.palette import read_label_png
from training.errors import ActisegError
from training.novelty import Rgb, Views, altered, collage_appearances, fit_novelty
from training.risk_control import Criteria, Outcome, Trial, choose_limits

Look = tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
"""Embedding and appearance of one image."""


def calibrate(
    bundle: Path, data: Path, split: Path, criteria: Criteria | None = None, threads: int = 0
) -> Outcome:
    """Calibrates the gate of a bundle on held-out clips and writes the limits into it.

    Args:
        bundle: Folder of the bundle; its ``bundle.json`` is replaced at the end.
        data: Root of the ActionVOS layout.
        split: Split file; its clips must not have been used for training.
        criteria: Risk, confidence and what counts as a failure.
        threads: Threads of the network; 0 lets ONNX Runtime choose.

    Returns:
        The limits and the evidence for them.

    Raises:
        ActisegError: The split has no usable clip, or an image is missing.
        BundleError: The bundle cannot be read.
    """
    criteria = criteria or Criteria()
    loaded = load_bundle(bundle)
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    run = _run_trials(loaded, clips, data, criteria, threads)
    if not run.trials:
        raise ActisegError(
            f"{split}: no frame of {len(clips)} clips has a target; calibration needs clips "
            "whose narration names one of their objects"
        )
    domain, trials, distance_limit = _describe_world(run, criteria)
    outcome = choose_limits(trials, loaded.thresholds.positive, distance_limit, criteria)
    record = _gate_record(loaded, outcome, criteria, data, split)
    _write(bundle, record, domain)
    load_calibration(load_bundle(bundle))
    return outcome


@dataclass
class _Run:
    """What the segmenter saw and said on the held-out clips; lists run over frames."""

    trials: list[Trial] = field(default_factory=list)
    index_of_trial: list[int] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    views: list[Look] = field(default_factory=list)
    altered: list[Look] = field(default_factory=list)
    pool: list[Rgb] = field(default_factory=list)


def _run_trials(
    bundle: Bundle, clips: Sequence[Clip], data: Path, criteria: Criteria, threads: int
) -> _Run:
    """Runs the segmenter on every frame and on an altered version of it."""
    segmenter = Segmenter(bundle, threads=threads)
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    random = np.random.default_rng(0)
    run = _Run()
    for clip in tqdm(clips, desc="calibrate", unit="clip"):
        narration = clean_narration(clip.narration or "").text
        names = clean_names([item.name for item in clip.objects][:MAX_OBJECTS])
        if not names:
            continue
        target = choose_target(narration, names, vocabulary)
        ids = [item.object_id for item in clip.objects if clean_names([item.name]) == (target,)]
        segmenter.set_prompt(narration, names)
        for frame in clip.frames:
            rgb, truth = _read_frame(data, clip.sequence, frame)
            result = segmenter.segment(rgb)
            if target:
                drawn = result.labels == names.index(target) + 1
                features = features_of(result, target, bundle, None)
                wrong = failures(drawn, truth, ids, criteria)
                run.index_of_trial.append(len(run.views))
                run.trials.append(Trial(clip.sequence, features, *wrong))
            small = letterbox.resize(rgb, bundle.input)
            other = segmenter.segment(altered(small, random))
            run.groups.append(_video_of(clip.sequence))
            run.views.append((result.embedding, result.appearance))
            run.altered.append((other.embedding, other.appearance))
            run.pool.append(small)
    return run


def _video_of(sequence: str) -> str:
    """Video of a sequence named NUMBER_PARTICIPANT_VIDEO_VERB_NOUN."""
    return "_".join(sequence.split("_")[1:3])


def _describe_world(run: _Run, criteria: Criteria) -> tuple[Domain, list[Trial], float]:
    """Fits the domain; fills each trial's held-out distance in; returns their limit too."""
    looks = [*run.views, *run.altered]
    inside = Views(
        groups=run.groups * 2,
        embeddings=np.stack([embedding for embedding, _ in looks]),
        appearances=np.stack([look for _, look in looks]),
    )
    random = np.random.default_rng(1)
    outside = collage_appearances(run.pool, len(run.pool), random)
    domain, distances = fit_novelty(inside, outside, criteria.novelty_quantile)
    own = distances[: len(run.views)]
    limit = float(np.quantile(own, criteria.novelty_quantile)) * criteria.novelty_margin
    trials = [
        replace(trial, features=replace(trial.features, distance=float(own[index])))
        for trial, index in zip(run.trials, run.index_of_trial, strict=True)
    ]
    return domain, trials, limit


def _read_frame(
    data: Path, sequence: str, frame: str
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Image [H, W, 3] and its labels [H, W]."""
    stem = Path(frame).stem
    found = sorted((data / "JPEGImages_Sparse").glob(f"*/{sequence}/{stem}.jpg"))
    if not found:
        raise ActisegError(f"{data}: no image JPEGImages_Sparse/*/{sequence}/{stem}.jpg")
    rgb = decode_compressed(found[0].read_bytes())
    folder = data / "Annotations_Sparse" / found[0].parts[-3]
    labels = read_label_png(folder / sequence / f"{stem}.png")
    if labels.shape != rgb.shape[:2]:
        size = (rgb.shape[1], rgb.shape[0])
        labels = np.asarray(cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST), np.uint8)
    return rgb, labels


def failures(
    drawn: npt.NDArray[np.bool_],
    truth: npt.NDArray[np.uint8],
    ids: Sequence[int],
    criteria: Criteria,
) -> tuple[bool, bool]:
    """Would going on this mask miss, and would it collide?

    Args:
        drawn: bool [H, W], pixels that the label map gives to the target.
        truth: uint8 [H, W], true labels; 0 is background.
        ids: True labels of the target.
        criteria: Limits of the overlaps.

    Returns:
        p-failure and n-failure; an empty mask fails both.
    """
    area = int(np.count_nonzero(drawn))
    if not area:
        return True, True
    real = np.isin(truth, ids)
    iou = np.count_nonzero(drawn & real) / np.count_nonzero(drawn | real)
    collision = np.count_nonzero(drawn & (truth > 0) & ~real) / area
    return bool(iou < criteria.min_iou), bool(collision > criteria.max_collision)


def _gate_record(
    bundle: Bundle, outcome: Outcome, criteria: Criteria, data: Path, split: Path
) -> dict[str, Any]:
    evidence = asdict(outcome)
    limits = evidence.pop("limits")
    certified = evidence.pop("certified")
    return {
        "features": FEATURE_VERSION,
        "model": bundle.model_id,
        "certified": certified,
        "limits": limits,
        "criteria": asdict(criteria),
        "unit": "clip",
        "evidence": evidence,
        "data": {"folder": data.name, "split": split.name, "split_sha256": file_sha256(split)},
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _write(folder: Path, gate: dict[str, Any], domain: Domain) -> None:
    """Replaces the calibration; a reader sees the old bundle or the new one, never a mixture."""
    record = read_record(folder)
    temporary = folder / ".calibration.npz.part"
    save_domain(domain, temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    # The content is in the name, so that the old bundle.json keeps the file that it lists.
    name = f"calibration-{digest[:8]}.npz"
    temporary.replace(folder / name)
    old = [file for file in record["files"] if file.startswith("calibration-") and file != name]
    for file in old:
        del record["files"][file]
    record["files"][name] = digest
    record["gate"] = {**gate, "domain": {"file": name}}
    part = folder / ".bundle.json.part"
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / "bundle.json")
    for file in old:
        (folder / file).unlink(missing_ok=True)
