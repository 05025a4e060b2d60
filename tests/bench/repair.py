"""How near repaired masks come to the true ones, and what that costs (docs/repair.md).

A kitchen is drawn, Alg. 2 is laid over its labels, and the strategy moves the borders back as in
training: batches of 8 frames with all their objects, enlarged and distorted. So it does with labels
that are too small instead, and with such whose borders are wrong on both sides, and must not hurt.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch

from training.data.clips import Batch, ClipDataset, NoiseLayer, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.data.transforms import FixedSize
from training.losses.context import StepPosition
from training.noise.layer import LabelNoise
from training.noise.mask import MaskNoise
from training.strategies.repair import Repair, RepairOptions
from training.strategies.support.nouns import Lexicon

BATCH = 8


@dataclass(frozen=True)
class Borders:
    """Label noise that is not Alg. 2's; names and weights stay."""

    change: Callable[[np.ndarray, frozenset[int], int], np.ndarray]
    """The label map, uint8 [H, W], with its active objects and a seed of the frame."""

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        return clean_name

    def labels(
        self, sequence: str, frame: str, clean_labels: np.ndarray, positive_ids: frozenset[int]
    ) -> np.ndarray:
        seed = zlib.crc32(f"{sequence}/{frame}".encode())
        return self.change(clean_labels, positive_ids, seed)

    def weights(
        self, clean_labels: np.ndarray, noisy_labels: np.ndarray, clean_weights: np.ndarray
    ) -> np.ndarray:
        return clean_weights


def dilated(kernel: int) -> NoiseLayer | None:
    """Alg. 2."""
    return LabelNoise(mask=MaskNoise(kernel, "keep")) if kernel else None


def eroded(kernel: int) -> NoiseLayer:
    """Active objects without what lies within half a kernel of their borders."""
    square = np.ones((kernel, kernel), np.uint8)

    def change(labels: np.ndarray, active: frozenset[int], seed: int) -> np.ndarray:
        found = labels.copy()
        for number in active:
            mask = (labels == number).astype(np.uint8)
            inner = cv2.erode(mask, square)
            if inner.any():
                found[(mask > 0) & (inner == 0)] = 0
        return found

    return Borders(change)


def two_sided(kernel: int) -> NoiseLayer:
    """Borders that wander by half a kernel at most, to both sides."""

    def change(labels: np.ndarray, active: frozenset[int], seed: int) -> np.ndarray:
        waves = np.random.default_rng(seed).normal(size=(2, *labels.shape)).astype(np.float32)
        waves = np.stack([cv2.GaussianBlur(wave, (0, 0), kernel) for wave in waves])
        waves *= kernel // 2 / np.abs(waves).max()
        y, x = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float32)
        return cv2.remap(labels, x + waves[0], y + waves[1], cv2.INTER_NEAREST,
                         borderMode=cv2.BORDER_REPLICATE)  # fmt: skip

    return Borders(change)


NOISES = {
    "clean": dilated(0),
    **{f"dilated {kernel}": dilated(kernel) for kernel in (9, 15, 21)},
    **{f"eroded {kernel}": eroded(kernel) for kernel in (9, 15, 21)},
    **{f"two-sided {kernel}": two_sided(kernel) for kernel in (9, 15, 21)},
}


def dataset(data: Path, noise: NoiseLayer | None) -> ClipDataset:
    """The samples of a run with `--preset tiny`."""
    transform = FixedSize(180, 320)
    return ClipDataset(
        data, "train", frames_per_clip=1, objects="all", transform=transform,
        negative_masks=True, noise=noise,
    )  # fmt: skip


def overlap(masks: torch.Tensor, true: Batch) -> torch.Tensor:
    """IoU of active objects with the true masks, float32 [K]."""
    both = (masks & true.masks).flatten(1).sum(1)
    either = (masks | true.masks).flatten(1).sum(1)
    return (both / either)[(true.positive[:, 0] > 0) & true.masks.flatten(1).any(1)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--seed", type=int, default=8002, help="of the kitchen")
    options = parser.parse_args()
    device = torch.device("cpu")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make_kitchen(root / "raw", KitchenConfig(clips=options.clips, seed=options.seed,
                                                 val_share=0.0))  # fmt: skip
        prepare(root / "raw" / "VISOR", root / "raw" / "annotations", root / "data",
                splits=("train",))  # fmt: skip
        print(f"{'labels':>13}{'IoU given':>11}{'repaired':>10}{'shift, px':>11}{'ms a batch':>12}")
        clean, rows = dataset(root / "data", None), []
        for labels, noise in NOISES.items():
            noisy = dataset(root / "data", noise)
            strategy = Repair(RepairOptions(names=False), Lexicon.of(clean.clips))
            given, repaired, seconds = [], [], []
            for first in range(0, len(clean) - BATCH + 1, BATCH):
                places = range(first, first + BATCH)
                true = collate([clean[index] for index in places]).to(device)
                batch = collate([noisy[index] for index in places]).to(device)
                began = time.perf_counter()
                masks = strategy.inputs(batch, StepPosition(), 0).batch.masks
                seconds.append(time.perf_counter() - began)
                given.append(overlap(batch.masks, true))
                repaired.append(overlap(masks, true))
            shift = int(strategy._run_shift())
            before, after = (100 * torch.cat(found).mean().item() for found in (given, repaired))
            cost = 1000 * sorted(seconds)[len(seconds) // 2]
            print(f"{labels:>13}{before:>11.1f}{after:>10.1f}{shift:>11}{cost:>12.0f}", flush=True)
            rows.append({"labels": labels, "given": before, "repaired": after, "shift": shift,
                         "milliseconds": cost})  # fmt: skip
    print(json.dumps({"repair": rows}))


if __name__ == "__main__":
    main()
