"""Sets the gate's limits from held-out clips, with the segmenter and the rule of the robot.

Every way in which the robot chooses its candidates is calibrated by itself, since what is named
decides what the network can tell apart. The limits are loosened step by step as long as an exact
binomial bound keeps the share of failing clips among the accepted ones below the risk. Clips are
the unit, and a clip fails if any accepted frame of it does, because the frames of one clip are not
independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, file_sha256, load_bundle
from actiseg_ros.errors import ActisegError
from actiseg_ros.gate.calibration import load_calibration, vocabulary_id
from actiseg_ros.gate.novelty import NoveltyDetector
from actiseg_ros.gate.rule import FEATURE_VERSION
from actiseg_ros.prompts import CANDIDATES, Candidates
from actiseg_ros.vision import letterbox
from actiseg_ros.vision.image_descriptor import ImageDescriptor, Rgb
from actiseg_ros.vision.segmenter import Segmenter
from training.data.splits import Clip, load_clips
from training.deploy.bundle_files import replace_calibration
from training.deploy.corruptions import CORRUPTIONS, Corruption
from training.deploy.held_out import require_held_out
from training.deploy.novelty import Descriptors, altered, fit_novelty
from training.deploy.risk_control import Criteria, Outcome, Trial, choose_limits
from training.deploy.spoilt import repainted
from training.deploy.trials import read_image, run_frames
from training.files.progress import tracked
from training.files.provenance import utc_now

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
) -> Mapping[Candidates, Outcome]:
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
        For each way in which the robot chooses its candidates, the limits and the evidence for
        them; nothing for one that none of the clips shows.

    Raises:
        ActisegError: The split has no usable clip, the network was trained on it, or an image is
            missing.
        BundleError: The bundle cannot be read.
    """
    criteria = criteria or Criteria()
    loaded = load_bundle(bundle)
    require_held_out(loaded, data, split)
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    others = [clip for clip in load_clips(familiar) if clip.frames] if familiar else []
    segmenter = Segmenter(loaded, threads=threads)
    images = _FamiliarImages(segmenter)
    trials = _trials(segmenter, clips, data, criteria, images)
    if not any(trials.values()):
        raise ActisegError(
            f"{split}: no frame of {len(clips)} clips has a target; calibration needs clips "
            "whose narration names one of their objects"
        )
    held_out = len(images.descriptors)
    if others:
        _add_familiar(segmenter, data, others, images)
    novelty, distances = images.fit_detector(criteria.novelty_quantile)
    edge = float(np.quantile(distances[:held_out], criteria.novelty_quantile))
    distance_limit = max(1.0, edge)
    outcomes = {
        policy: choose_limits(
            [
                replace(trial, features=replace(trial.features, distance=float(distances[place])))
                for trial, place in own
            ],
            loaded.thresholds.positive,
            distance_limit,
            criteria,
        )
        for policy, own in trials.items()
        if own
    }
    record = _gate_record(loaded, outcomes, criteria, data, split)
    steps = {policy: outcome.steps for policy, outcome in outcomes.items()}
    replace_calibration(bundle, record, novelty, steps)
    load_calibration(load_bundle(bundle))
    return outcomes


class _FamiliarImages:
    """Collects what is known of the familiar images; lists run over images."""

    def __init__(self, segmenter: Segmenter) -> None:
        self.groups: list[str] = []
        self.descriptors: list[ImageDescriptor] = []
        self.altered: list[ImageDescriptor] = []
        self.spoilt: dict[Corruption, list[tuple[str, ImageDescriptor]]] = {
            spoil: [] for spoil in (*CORRUPTIONS.values(), repainted)
        }
        # Twice as many, since one fault is like itself, and foreign worlds are unlike each other.
        self._next = cycle((*self.spoilt, repainted))
        self._segmenter = segmenter
        self._random = np.random.default_rng(0)

    def add(self, video: str, rgb: Rgb, descriptor: ImageDescriptor) -> int:
        """Adds an image, an altered version of it and a spoilt one; returns its place.

        Args:
            video: Recording that it is of.
            rgb: uint8 [H, W, 3].
            descriptor: Of the image.
        """
        small = letterbox.resize(rgb, self._segmenter.bundle.input)
        self.groups.append(video)
        self.descriptors.append(descriptor)
        self.altered.append(self._segmenter.describe(altered(small, self._random)))
        spoil = next(self._next)
        wrong = self._segmenter.describe(spoil(rgb, self._random))
        self.spoilt[spoil].append((video, wrong))
        return len(self.descriptors) - 1

    def fit_detector(self, quantile: float) -> tuple[NoveltyDetector, npt.NDArray[np.float64]]:
        """Fits the detector; returns the held-out distance of each image too."""
        inside = _joined([*self.descriptors, *self.altered], self.groups * 2)
        spoilt = [
            _joined([image for _, image in found], [group for group, _ in found])
            for found in self.spoilt.values()
            if found
        ]
        detector, distances = fit_novelty(inside, quantile, spoilt=spoilt)
        return detector, distances[: len(self.descriptors)]


def _joined(images: Sequence[ImageDescriptor], groups: Sequence[str]) -> Descriptors:
    return Descriptors(
        groups=groups,
        patches=np.stack([image.patches for image in images]),
        statistics=np.stack([image.statistics for image in images]),
    )


def _trials(
    segmenter: Segmenter,
    clips: Sequence[Clip],
    data: Path,
    criteria: Criteria,
    images: _FamiliarImages,
) -> dict[Candidates, list[tuple[Trial, int]]]:
    """The frames with a target by way of choosing candidates, with their place in `images`."""
    trials: dict[Candidates, list[tuple[Trial, int]]] = {policy: [] for policy in CANDIDATES}
    for frame in run_frames(segmenter, clips, data, criteria):
        place = images.add(frame.video, frame.rgb, frame.descriptor)
        for policy, answer in frame.answers.items():
            if answer.trial is not None:
                trials[policy].append((answer.trial, place))
    return trials


def _add_familiar(
    segmenter: Segmenter, data: Path, clips: Sequence[Clip], images: _FamiliarImages
) -> None:
    """Adds one image of each clip, at most `_FAMILIAR` of them."""
    step = max(1, -(-len(clips) // _FAMILIAR))
    for clip in tracked(clips[::step], "familiar images", "clips"):
        rgb, _ = read_image(data, clip.sequence, clip.frames[0])
        images.add(clip.video, rgb, segmenter.describe(rgb))


def _gate_record(
    bundle: Bundle,
    outcomes: Mapping[Candidates, Outcome],
    criteria: Criteria,
    data: Path,
    split: Path,
) -> dict[str, Any]:
    return {
        "features": FEATURE_VERSION,
        "model": bundle.model_id,
        "vocabulary": vocabulary_id(bundle),
        "policies": {
            policy: asdict(replace(outcome, steps=())) for policy, outcome in outcomes.items()
        },
        "criteria": asdict(criteria),
        "unit": "clip",
        "data": {"folder": data.name, "split": split.name, "split_sha256": file_sha256(split)},
        "created": utc_now(),
    }
