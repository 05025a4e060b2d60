"""How near repaired masks come to the true ones, and what that costs (docs/repair.md).

A kitchen is drawn, Alg. 2 is laid over its labels, and the strategy moves the borders back as in
training: batches of 8 frames with all their objects, enlarged and distorted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from training.data.clips import Batch, ClipDataset, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.data.transforms import FixedSize
from training.losses.context import StepPosition
from training.noise.layer import LabelNoise
from training.noise.mask import MaskNoise
from training.strategies.repair import Repair, RepairOptions
from training.strategies.support.nouns import Lexicon

BATCH = 8


def dataset(data: Path, kernel: int) -> ClipDataset:
    """The samples of a run with `--preset tiny --mask-noise KERNEL`."""
    noise = LabelNoise(mask=MaskNoise(kernel, "keep")) if kernel else None
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
        print(f"{'kernel':>7}{'IoU given':>11}{'repaired':>10}{'shift, px':>11}{'ms a batch':>12}")
        clean, rows = dataset(root / "data", 0), []
        for kernel in (0, 9, 15, 21):
            noisy = dataset(root / "data", kernel)
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
            print(f"{kernel:>7}{before:>11.1f}{after:>10.1f}{shift:>11}{cost:>12.0f}", flush=True)
            rows.append({"kernel": kernel, "given": before, "repaired": after, "shift": shift,
                         "milliseconds": cost})  # fmt: skip
    print(json.dumps({"repair": rows}))


if __name__ == "__main__":
    main()
