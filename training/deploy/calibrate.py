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
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, file_sha256, load_bundle, read_record
from actiseg_ros.gate.calibration import calibration_id, load_calibration
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.novelty import NoveltyDetector, save_novelty
from actiseg_ros.gate.rule import FEATURE_VERSION
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import MAX_OBJECTS, Prompt, choose_target, clean_names
from actiseg_ros.vision import letterbox
from actiseg_ros.vision.compressed import decode_compressed
from actiseg_ros.vision.image_descriptor import ImageDescriptor
from actiseg_ros.vision.segmenter import Segmenter
from training.data.palette import read_label_png
from training.data.splits import Clip, load_clips
from training.deploy.novelty import Descriptors, Rgb, altered, collage_statistics, fit_novelty
from training.deploy.risk_control import Criteria, Outcome, Trial, choose_limits
from training.files.errors import ActisegError
from training.files.progress import tracked

_FAMILIAR = 300
"""Largest number of images taken from a split of familiar images."""


def calibrate(
    bundle: Path,
    data: Path,
    split: Path,
    criteria: Criteria | None = None,
    *,
    familiar: Path | None = None,
    threads: int = 0,
) -> Outcome:
    """Calibrates the gate of a bundle on held-out clips and writes the limits into it.

    Args:
        bundle: Folder of the bundle; its ``bundle.json`` is replaced at the end.
        data: Root of the ActionVOS layout.
        split: Split file; its clips must not have been used for training.
        criteria: Risk, confidence and what counts as a failure.
        familiar: Another split of the same data, e.g. the training split. Its images (not its
            labels) join those of `split` in describing what is familiar.
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
    segmenter = Segmenter(loaded, threads=threads)
    images = _FamiliarImages(segmenter)
    trials, places = _run_trials(segmenter, clips, data, criteria, images)
    if not trials:
        raise ActisegError(
            f"{split}: no frame of {len(clips)} clips has a target; calibration needs clips "
            "whose narration names one of their objects"
        )
    held_out = len(images.descriptors)
    if familiar is not None:
        _add_familiar(segmenter, data, familiar, images)
    novelty, distances = images.fit_detector(criteria.novelty_quantile)
    trials = [
        replace(trial, features=replace(trial.features, distance=float(distances[place])))
        for trial, place in zip(trials, places, strict=True)
    ]
    edge = float(np.quantile(distances[:held_out], criteria.novelty_quantile))
    distance_limit = max(1.0, edge) * criteria.novelty_margin
    outcome = choose_limits(trials, loaded.thresholds.positive, distance_limit, criteria)
    record = _gate_record(loaded, outcome, criteria, data, split)
    _write(bundle, record, novelty)
    load_calibration(load_bundle(bundle))
    return outcome


class _FamiliarImages:
    """Collects what is known of the familiar images; lists run over images."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.groups: list[str] = []
        self.descriptors: list[ImageDescriptor] = []
        self.altered: list[ImageDescriptor] = []
        self.pool: list[Rgb] = []
        self._segmenter = segmenter
        self._random = np.random.default_rng(0)

    def add(self, group: str, rgb: Rgb, descriptor: ImageDescriptor) -> int:
        """Adds an image and an altered version of it; returns its index."""
        small = letterbox.resize(rgb, self._segmenter.bundle.input)
        self.groups.append(group)
        self.descriptors.append(descriptor)
        self.altered.append(self._segmenter.describe(altered(small, self._random)))
        self.pool.append(small)
        return len(self.descriptors) - 1

    def fit_detector(self, quantile: float) -> tuple[NoveltyDetector, npt.NDArray[np.float64]]:
        """Fits the detector; returns the held-out distance of each image too."""
        both = [*self.descriptors, *self.altered]
        inside = Descriptors(
            groups=self.groups * 2,
            embeddings=np.stack([image.embedding for image in both]),
            statistics=np.stack([image.statistics for image in both]),
        )
        random = np.random.default_rng(1)
        outside = collage_statistics(self.pool, len(self.pool), random)
        detector, distances = fit_novelty(inside, outside, quantile)
        return detector, distances[: len(self.descriptors)]


def _run_trials(
    segmenter: Segmenter,
    clips: Sequence[Clip],
    data: Path,
    criteria: Criteria,
    images: _FamiliarImages,
) -> tuple[list[Trial], list[int]]:
    """Runs the segmenter on every frame.

    Returns:
        The frames with a target, and the index of each in `images`.
    """
    bundle = segmenter.bundle
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    trials: list[Trial] = []
    places: list[int] = []
    for clip in tracked(clips, "calibrate", "clips"):
        narration = clean_narration(clip.narration or "")
        names = clean_names([item.name for item in clip.objects][:MAX_OBJECTS])
        if not names:
            continue
        target = choose_target(narration, names, vocabulary).name
        ids = [item.object_id for item in clip.objects if clean_names([item.name]) == (target,)]
        prompt = segmenter.encode(Prompt(narration.text, names, target))
        for frame in clip.frames:
            rgb, folder = _read_image(data, clip.sequence, frame)
            result = segmenter.segment(rgb, prompt)
            place = images.add(_video_of(clip.sequence), rgb, result.descriptor)
            if target:
                truth = _read_labels(data, folder, clip.sequence, frame, rgb.shape[:2])
                drawn = result.labels == names.index(target) + 1
                features = target_features(result, bundle, None)
                wrong = failures(drawn, truth, ids, criteria)
                trials.append(Trial(clip.sequence, features, *wrong))
                places.append(place)
    return trials, places


def _add_familiar(segmenter: Segmenter, data: Path, split: Path, images: _FamiliarImages) -> None:
    """Adds one image of each clip of a split, at most `_FAMILIAR` of them."""
    clips = [clip for clip in load_clips(split) if clip.frames]
    step = max(1, -(-len(clips) // _FAMILIAR))
    for clip in tracked(clips[::step], "familiar images", "clips"):
        rgb, _ = _read_image(data, clip.sequence, clip.frames[0])
        images.add(_video_of(clip.sequence), rgb, segmenter.describe(rgb))


def _video_of(sequence: str) -> str:
    """Video of a sequence named NUMBER_PARTICIPANT_VIDEO_VERB_NOUN."""
    return "_".join(sequence.split("_")[1:3])


def _read_image(data: Path, sequence: str, frame: str) -> tuple[Rgb, str]:
    """Image [H, W, 3] and the name of its split's folder."""
    stem = Path(frame).stem
    found = sorted((data / "JPEGImages_Sparse").glob(f"*/{sequence}/{stem}.jpg"))
    if not found:
        raise ActisegError(f"{data}: no image JPEGImages_Sparse/*/{sequence}/{stem}.jpg")
    return decode_compressed(found[0].read_bytes()), found[0].parts[-3]


def _read_labels(
    data: Path, folder: str, sequence: str, frame: str, size: tuple[int, ...]
) -> npt.NDArray[np.uint8]:
    """True labels [H, W] at the image's size."""
    path = data / "Annotations_Sparse" / folder / sequence / f"{Path(frame).stem}.png"
    labels = read_label_png(path)
    if labels.shape != size:
        labels = np.asarray(
            cv2.resize(labels, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8
        )
    return labels


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


def _write(folder: Path, gate: dict[str, Any], novelty: NoveltyDetector) -> None:
    """Replaces the calibration; a reader sees the old bundle or the new one, never a mixture."""
    record = read_record(folder)
    temporary = folder / ".calibration.npz.part"
    save_novelty(novelty, temporary)
    digest = hashlib.sha256(temporary.read_bytes()).hexdigest()
    # The content is in the name, so that the old bundle.json keeps the file that it lists.
    name = f"calibration-{digest[:8]}.npz"
    temporary.replace(folder / name)
    old = [file for file in record["files"] if file.startswith("calibration-") and file != name]
    for file in old:
        del record["files"][file]
    record["files"][name] = digest
    record["gate"] = {**gate, "domain": {"file": name}}
    record["gate"]["id"] = calibration_id(record["gate"], digest)
    part = folder / ".bundle.json.part"
    part.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    part.replace(folder / "bundle.json")
    for file in old:
        (folder / file).unlink(missing_ok=True)
