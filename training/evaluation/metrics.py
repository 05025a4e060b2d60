"""The six numbers of the ActionVOS evaluation, from label maps.

A sample is one object in one frame, for every object that the split lists and every frame of its
sequence. p-* are over objects whose ``positive`` flag is set, n-* over the others; a sample without
any true or predicted pixel is left out of the IoU means, yet counts as right in gIoU and Acc.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from actiseg_ros.errors import ActisegError
from training.data.layout import sequence_root
from training.data.palette import read_label_png
from training.data.splits import REVIEW_FLAGS, read_split, record_name
from training.files.disk import write_json
from training.files.processes import in_processes
from training.files.progress import tracked

METRICS = ("p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc")
"""The paper's columns; lower is better for the two that begin with ``n``."""

Flagged = Literal["auto", "leave-out", "include"]

_FRAMES_FOR_PROCESSES = 64
"""Below this many frames, starting processes takes longer than the work."""


@dataclass(frozen=True)
class Metrics:
    """Result of an evaluation; the first six are fractions in [0, 1]."""

    p_miou: float
    n_miou: float
    p_ciou: float
    n_ciou: float
    giou: float
    acc: float
    tp: int
    tn: int
    fp: int
    fn: int
    videos: int

    def as_percent(self) -> dict[str, float | int]:
        """Names and values as the command line reports them: fractions in percent, counts."""
        return {
            name: 100 * value if isinstance(value, float) else value
            for name, value in asdict(self).items()
        }


@dataclass
class _Overlaps:
    """Intersections and unions (pixels) of the samples whose union is not empty."""

    intersections: list[int] = field(default_factory=list)
    unions: list[int] = field(default_factory=list)

    def add(self, intersection: int, union: int) -> None:
        if union:
            self.intersections.append(intersection)
            self.unions.append(union)

    def extend(self, other: _Overlaps) -> None:
        self.intersections += other.intersections
        self.unions += other.unions

    def mean_iou(self) -> float:
        if not self.unions:
            return math.nan
        return self.sum_of_ious() / len(self.unions)

    def sum_of_ious(self) -> float:
        return math.fsum(i / u for i, u in zip(self.intersections, self.unions, strict=True))

    def cumulative_iou(self) -> float:
        return sum(self.intersections) / sum(self.unions) if self.unions else math.nan


@dataclass
class Tally:
    """Accumulates samples; the sums do not depend on the order of frames or sequences."""

    videos: int = 0
    tp: int = 0
    tn: int = 0
    fp: int = 0
    fn: int = 0
    _positive: _Overlaps = field(default_factory=_Overlaps)
    _negative: _Overlaps = field(default_factory=_Overlaps)
    _giou: list[float] = field(default_factory=list)

    def add_frame(
        self,
        prediction: NDArray[np.uint8],
        truth: NDArray[np.uint8],
        positive: Mapping[int, bool],
    ) -> None:
        """Adds one sample for each object of a frame.

        Args:
            prediction: label map [H, W], 0 is background.
            truth: label map [H, W] of the same size.
            positive: for every object of the sequence (labels 1 to 255) whether it is active.

        Raises:
            ActisegError: the label maps differ in size.
        """
        if prediction.shape != truth.shape:
            raise ActisegError(
                f"label maps differ in size: prediction {prediction.shape}, truth {truth.shape}"
            )
        pairs = truth.ravel().astype(np.uint16) * np.uint16(256) + prediction.ravel()
        confusion = np.bincount(pairs, minlength=1 << 16).reshape(256, 256)
        true_area, predicted_area = confusion.sum(1), confusion.sum(0)
        for label, active in positive.items():
            self._add(
                int(confusion[label, label]),
                int(true_area[label]),
                int(predicted_area[label]),
                active,
            )

    def _add(self, intersection: int, truth: int, prediction: int, active: bool) -> None:
        union = truth + prediction - intersection
        (self._positive if active else self._negative).add(intersection, union)
        if active and truth:
            # Acc asks only whether anything was drawn, not whether it overlaps.
            self.tp += prediction > 0
            self.fn += prediction == 0
            self._giou.append(intersection / union)
        else:
            self.fp += prediction > 0
            self.tn += prediction == 0
            self._giou.append(float(prediction == 0))

    def merge(self, other: Tally) -> None:
        """Adds the samples of ``other``."""
        for name in ("videos", "tp", "tn", "fp", "fn"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self._positive.extend(other._positive)
        self._negative.extend(other._negative)
        self._giou += other._giou

    def sums(self) -> dict[str, float]:
        """What the six numbers are quotients of, so that they follow for any choice of sequences.

        Returns:
            ``KIND_samples``, ``KIND_iou``, ``KIND_intersection`` and ``KIND_union`` of the samples
            with a union, KIND being p or n; ``samples``, ``giou`` and ``right`` of all.
        """
        sums: dict[str, float] = {}
        for kind, overlaps in (("p", self._positive), ("n", self._negative)):
            sums[f"{kind}_samples"] = len(overlaps.unions)
            sums[f"{kind}_iou"] = overlaps.sum_of_ious()
            sums[f"{kind}_intersection"] = sum(overlaps.intersections)
            sums[f"{kind}_union"] = sum(overlaps.unions)
        right = self.tp + self.tn
        return {**sums, "samples": len(self._giou), "giou": math.fsum(self._giou), "right": right}

    def metrics(self, *, strict: bool = True) -> Metrics:
        """Numbers of the samples so far.

        Args:
            strict: refuse undefined means, where the official evaluation divides by zero;
                otherwise they are NaN.

        Raises:
            ActisegError: ``strict`` and a mean has no sample.
        """
        if strict:
            self._require_samples()
        samples = len(self._giou)
        return Metrics(
            p_miou=self._positive.mean_iou(),
            n_miou=self._negative.mean_iou(),
            p_ciou=self._positive.cumulative_iou(),
            n_ciou=self._negative.cumulative_iou(),
            giou=math.fsum(self._giou) / samples if samples else math.nan,
            acc=(self.tp + self.tn) / samples if samples else math.nan,
            tp=self.tp,
            tn=self.tn,
            fp=self.fp,
            fn=self.fn,
            videos=self.videos,
        )

    def _require_samples(self) -> None:
        for kind, overlaps in (("positive", self._positive), ("negative", self._negative)):
            if not overlaps.unions:
                raise ActisegError(
                    f"none of the {len(self._giou)} samples in {self.videos} sequences has a "
                    f"{kind} object with true or predicted pixels, so {kind[0]}-mIoU and "
                    f"{kind[0]}-cIoU are undefined; evaluate a split with visible {kind} objects"
                )


@dataclass(frozen=True)
class _Sequence:
    """What the evaluation needs of one entry of a split file."""

    name: str
    frames: tuple[str, ...]
    positive: dict[int, bool]


def evaluate(
    predictions: Path,
    annotations: Path,
    split: Path,
    *,
    flagged: Flagged = "auto",
    workers: int | None = None,
    strict: bool = True,
) -> Metrics:
    """Evaluates label PNGs against annotations, reading every file once.

    Args:
        predictions: folder with SEQ/FRAME.png, or with one subfolder that holds them.
        annotations: the same for the true labels (``Annotations_Sparse/SPLIT``).
        split: list in the form of ``ImageSets/SPLIT.json``.
        flagged: ``leave-out`` skips sequences flagged redundant, missing or other, as the official
            evaluation does; ``include`` takes all; ``auto`` skips them if the file has flags.
        workers: processes; all cores by default.
        strict: refuse undefined means (see ``Tally.metrics``).

    Raises:
        ActisegError: a file is missing, unreadable or of another size than its counterpart, the
            split lacks a field, or (``strict``) a mean has no sample.
    """
    parts = evaluate_sequences(predictions, annotations, split, flagged=flagged, workers=workers)
    if not parts and strict:
        raise ActisegError(f"{split}: no sequence is left to evaluate")
    return merged(parts.values()).metrics(strict=strict)


def evaluate_sequences(
    predictions: Path,
    annotations: Path,
    split: Path,
    *,
    flagged: Flagged = "auto",
    workers: int | None = None,
) -> dict[str, Tally]:
    """The samples of each sequence by its name, in the order of the split; see ``evaluate``."""
    sequences = _sequences(split, flagged)
    if not sequences:
        return {}
    work = partial(
        _evaluate_sequence,
        sequence_root(predictions, sequences[0].name),
        sequence_root(annotations, sequences[0].name),
    )
    frames = sum(len(sequence.frames) for sequence in sequences)
    tallies = in_processes(work, sequences, workers, worth=frames >= _FRAMES_FOR_PROCESSES, chunk=4)
    shown = tracked(tallies, "evaluate", "sequences", total=len(sequences), brief=True)
    return dict(zip((sequence.name for sequence in sequences), shown, strict=True))


def merged(parts: Iterable[Tally]) -> Tally:
    """All samples together."""
    whole = Tally()
    for part in parts:
        whole.merge(part)
    return whole


def report(metrics: Metrics, file: Path | None = None) -> str:
    """One line for each number, in percent; also written as JSON if a file is named."""
    values = metrics.as_percent()
    if file is not None:
        write_json(file, values)
    return "\n".join(
        f"{name:7}{value:8.2f}" if isinstance(value, float) else f"{name:7}{value:5d}"
        for name, value in values.items()
    )


def _evaluate_sequence(predictions: Path, annotations: Path, sequence: _Sequence) -> Tally:
    tally = Tally(videos=1)
    for frame in sequence.frames:
        predicted_file = predictions / sequence.name / f"{frame}.png"
        true_file = annotations / sequence.name / f"{frame}.png"
        prediction, truth = read_label_png(predicted_file), read_label_png(true_file)
        if prediction.shape != truth.shape:
            raise ActisegError(
                f"{predicted_file} is {prediction.shape[1]}x{prediction.shape[0]} pixels, its "
                f"annotation {true_file} {truth.shape[1]}x{truth.shape[0]}; predictions must have "
                "the size of the annotations"
            )
        tally.add_frame(prediction, truth, sequence.positive)
    return tally


def _sequences(path: Path, flagged: Flagged) -> list[_Sequence]:
    records = read_split(path, frozenset({"positive"}))
    if flagged == "auto":
        has_flags = any(flag in record for record in records for flag in REVIEW_FLAGS)
        flagged = "leave-out" if has_flags else "include"
    if flagged == "leave-out":
        records = [record for record in records if not _is_flagged(path, record)]
    try:
        return [
            _Sequence(
                record_name(record),
                tuple(Path(frame).stem for frame in record["sparse_frames"]),
                {
                    int(key): bool(item["positive"])
                    for key, item in record["object_classes"].items()
                },
            )
            for record in records
        ]
    except (KeyError, TypeError) as error:
        raise ActisegError(
            f"{path}: sparse_frames of a clip is missing or no list of frames ({error!r})"
        ) from error


def _is_flagged(path: Path, record: Mapping[str, Any]) -> bool:
    missing = [flag for flag in REVIEW_FLAGS if flag not in record]
    if missing:
        raise ActisegError(
            f"{path}: {record_name(record)} has no field {missing[0]!r}; evaluate all sequences of "
            "such a file with --flagged include"
        )
    return any(record[flag] for flag in REVIEW_FLAGS)
