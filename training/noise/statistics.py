"""How noise changes the labels: the paper's Fig. 2 (nouns) and Fig. 3 (masks)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from training.files.disk import replacing

Labels = npt.NDArray[np.uint8]
OTHERS = "Others"


def noun_shares(
    clean: Sequence[Mapping[str, Any]],
    noisy: Sequence[Mapping[str, Any]],
    at_least: float = 0.01,
) -> dict[str, tuple[float, float]]:
    """Share of each major noun among all objects before and after text noise (Fig. 2).

    Args:
        clean: Records of the clean split.
        noisy: Records of the noisy one.
        at_least: A noun is major if its clean share exceeds this.

    Returns:
        Noun -> (clean share, noisy share), the most frequent first, and `OTHERS` last; shares are
        fractions and sum to 1 each.
    """
    before, after = _count_nouns(clean), _count_nouns(noisy)
    totals = max(before.total(), 1), max(after.total(), 1)
    shares = {
        noun: (count / totals[0], after[noun] / totals[1])
        for noun, count in before.most_common()
        if count / totals[0] > at_least
    }
    rest = tuple(1 - sum(share[side] for share in shares.values()) for side in (0, 1))
    shares[OTHERS] = (rest[0], rest[1])
    return shares


def shares_table(shares: Mapping[str, tuple[float, float]]) -> str:
    """The shares as text, in percent."""
    width = max(map(len, shares))
    lines = [f"{'noun':<{width}}  clean %  noisy %"]
    lines += [
        f"{noun:<{width}}  {100 * clean:7.2f}  {100 * noisy:7.2f}"
        for noun, (clean, noisy) in shares.items()
    ]
    return "\n".join(lines)


def draw_shares(shares: Mapping[str, tuple[float, float]], file: Path) -> None:
    """Draws the shares as paired bars."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(max(6.0, 0.45 * len(shares)), 4), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(shares))
    for offset, side, label in ((-0.2, 0, "clean"), (0.2, 1, "noisy")):
        heights = [100 * share[side] for share in shares.values()]
        axes.bar(places + offset, heights, 0.4, label=label)
    axes.set_xticks(places, list(shares), rotation=45, ha="right")
    axes.set_ylabel("objects (%)")
    axes.legend()
    with replacing(file) as temporary:
        figure.savefig(temporary, format=file.suffix.removeprefix("."))


@dataclass
class Severity:
    """Overlap of noisy with clean masks, one sample per positive object and frame (Fig. 3)."""

    samples: int = 0
    _iou: float = 0.0
    _intersection: int = 0
    _union: int = 0

    def add(self, clean: Labels, noisy: Labels, positive_ids: Iterable[int]) -> None:
        """Counts one frame; objects that are in neither map are no sample.

        Args:
            clean: uint8 [H, W].
            noisy: uint8 [H, W].
            positive_ids: Labels to compare.
        """
        pairs = cv2.calcHist([clean, noisy], [0, 1], None, [256, 256], [0, 256, 0, 256])
        # Counts are float32, which is exact up to 2^24 pixels.
        for object_id in positive_ids:
            intersection = int(pairs[object_id, object_id])
            union = int(pairs[object_id].sum() + pairs[:, object_id].sum()) - intersection
            if union:
                self.samples += 1
                self._iou += intersection / union
                self._intersection += intersection
                self._union += union

    def __iadd__(self, other: Severity) -> Severity:
        """Adds the samples of another part of the data."""
        self.samples += other.samples
        self._iou += other._iou
        self._intersection += other._intersection
        self._union += other._union
        return self

    @property
    def miou(self) -> float:
        """Mean IoU, a fraction; nan without samples."""
        return self._iou / self.samples if self.samples else float("nan")

    @property
    def ciou(self) -> float:
        """Cumulative IoU (all intersections over all unions), a fraction; nan without samples."""
        return self._intersection / self._union if self._union else float("nan")

    def as_json(self) -> dict[str, float | None]:
        """`samples`, `miou` and `ciou`; None for what has no samples."""
        known = bool(self.samples)
        return {
            "samples": self.samples,
            "miou": self.miou if known else None,
            "ciou": self.ciou if known else None,
        }


def severity_table(by_kernel: Mapping[int, Severity]) -> str:
    """The severity of each kernel as text, in percent."""
    lines = ["kernel  samples  mIoU %  cIoU %"]
    lines += [
        f"{f'{kernel}x{kernel}':>6}  {found.samples:7d}  {100 * found.miou:6.2f}  "
        f"{100 * found.ciou:6.2f}"
        for kernel, found in by_kernel.items()
    ]
    return "\n".join(lines)


def draw_severity(by_kernel: Mapping[int, Severity], file: Path) -> None:
    """Draws mIoU and cIoU against the kernel."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(by_kernel))
    for offset, name in ((-0.2, "miou"), (0.2, "ciou")):
        heights = [100 * getattr(found, name) for found in by_kernel.values()]
        bars = axes.bar(places + offset, heights, 0.4, label=name.replace("iou", "IoU"))
        axes.bar_label(bars, fmt="%.1f")
    axes.set_xticks(places, [f"{kernel}×{kernel}" for kernel in by_kernel])
    axes.set_xlabel("kernel (pixels)")
    axes.set_ylabel("overlap with clean masks (%)")
    axes.set_ylim(0, 105)
    axes.legend()
    with replacing(file) as temporary:
        figure.savefig(temporary, format=file.suffix.removeprefix("."))


def _count_nouns(records: Sequence[Mapping[str, Any]]) -> Counter[str]:
    return Counter(
        str(entry["name"]) for record in records for entry in record["object_classes"].values()
    )
