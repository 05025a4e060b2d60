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
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from actiseg_ros.bundle import Bundle, file_sha256, load_bundle, read_record
from actiseg_ros.calibration import load_calibration
from actiseg_ros.compressed import decode_compressed
from actiseg_ros.domain import fit_domain, save_domain
from actiseg_ros.evidence import features_of
from actiseg_ros.prompts import MAX_OBJECTS, Vocabulary, choose_target, clean_names, clean_narration
from actiseg_ros.rule import FEATURE_VERSION
from actiseg_ros.segmenter import Segmenter
from training.data.clips import Clip, load_clips
from training.data.palette import read_label_png
from training.errors import ActisegError
from training.risk_control import Criteria, Outcome, Trial, choose_limits


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
    trials, embeddings = _run_trials(loaded, clips, data, criteria, threads)
    if not trials or len(embeddings) < 4:
        raise ActisegError(
            f"{split}: {len(trials)} frames of {len(embeddings)} clips have a target; "
            "calibration needs clips whose narration names one of their objects"
        )
    trials, distance_limit = _cross_fitted(trials, embeddings, criteria)
    outcome = choose_limits(trials, loaded.thresholds.positive, distance_limit, criteria)
    record = _gate_record(loaded, outcome, criteria, data, split)
    _write(bundle, record, np.concatenate(list(embeddings.values())))
    load_calibration(load_bundle(bundle))
    return outcome


def _run_trials(
    bundle: Bundle, clips: Sequence[Clip], data: Path, criteria: Criteria, threads: int
) -> tuple[list[Trial], dict[str, npt.NDArray[np.float32]]]:
    """Runs the segmenter; returns the frames with a target and all embeddings of each clip."""
    segmenter = Segmenter(bundle, threads=threads)
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    trials: list[Trial] = []
    embeddings: dict[str, npt.NDArray[np.float32]] = {}
    for clip in tqdm(clips, desc="calibrate", unit="clip"):
        narration = clean_narration(clip.narration or "").text
        names = clean_names([item.name for item in clip.objects][:MAX_OBJECTS])
        if not names:
            continue
        target = choose_target(narration, names, vocabulary)
        ids = [item.object_id for item in clip.objects if clean_names([item.name]) == (target,)]
        segmenter.set_prompt(narration, names)
        rows = []
        for frame in clip.frames:
            rgb, truth = _read_frame(data, clip.sequence, frame)
            result = segmenter.segment(rgb)
            rows.append(result.embedding)
            if not target:
                continue
            drawn = result.labels == names.index(target) + 1
            features = features_of(result, target, bundle, None)
            p_failure, n_failure = failures(drawn, truth, ids, criteria)
            trials.append(Trial(clip.sequence, features, p_failure, n_failure, result.embedding))
        embeddings[clip.sequence] = np.stack(rows)
    return trials, embeddings


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


def _cross_fitted(
    trials: Sequence[Trial], embeddings: dict[str, npt.NDArray[np.float32]], criteria: Criteria
) -> tuple[list[Trial], float]:
    """Fills in each frame's distance from the other half of the clips; returns the limit too.

    A distance from images that include the frame itself would be too small.
    """
    names = sorted(embeddings)
    halves = [names[0::2], names[1::2]]
    distance: dict[str, Callable[[npt.NDArray[np.float32]], float]] = {}
    for mine, other in (halves, halves[::-1]):
        domain = fit_domain(np.concatenate([embeddings[name] for name in other]))
        distance.update(dict.fromkeys(mine, domain.distance))
    held_out = [distance[name](row) for name in names for row in embeddings[name]]
    limit = float(np.quantile(held_out, criteria.novelty_quantile)) * criteria.novelty_margin
    filled = [
        replace(t, features=replace(t.features, distance=distance[t.clip](t.embedding)))
        for t in trials
    ]
    return filled, limit


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


def _write(folder: Path, gate: dict[str, Any], embeddings: npt.NDArray[np.float32]) -> None:
    """Replaces the calibration; a reader sees the old bundle or the new one, never a mixture."""
    record = read_record(folder)
    temporary = folder / ".calibration.npz.part"
    save_domain(fit_domain(embeddings), temporary)
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
