"""Samples a second of the data loader, beside a plain one that works as the published code does.

Both read the same drawn kitchen at 854x480 and draw the same samples. The plain loader decodes and
resizes with Pillow, normalises on the processor and pads into new arrays, all in float32; ours
decodes with simplejpeg, resizes with PyTorch's kernel for bytes and hands bytes on. Processor time
of one process, the two taking turns, so that other work on the machine hits both.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np
import torch
from PIL import Image

from training.data import transforms
from training.data.clips import ClipDataset
from training.data.collate import IMAGENET_MEAN, IMAGENET_STD, Batch, Sample, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.data.transforms import FixedSize, PublishedTraining

Recipe = tuple[str, dict[str, Any], int]
RECIPES: tuple[Recipe, ...] = (
    ("r101, one prompt", {"frames_per_clip": 5, "transform": PublishedTraining()}, 1),
    ("r101, all prompts",
     {"frames_per_clip": 5, "objects": "all", "transform": PublishedTraining()}, 1),
    ("tiny", {"frames_per_clip": 1, "objects": "all", "transform": FixedSize(180, 320),
              "negative_masks": True}, 8),
)  # fmt: skip
"""Name, options of the data set, and samples of a batch."""


def make_data(folder: Path, clips: int) -> Path:
    """A prepared kitchen with frames of the size that VISOR is prepared to."""
    make_kitchen(folder / "kitchen", KitchenConfig(clips, 3, 0.0, (854, 480)))
    prepare(
        folder / "kitchen" / "VISOR", folder / "kitchen" / "annotations", folder / "data",
        ("train",), progress=False,
    )  # fmt: skip
    return folder / "data"


def plain_image(dataset: ClipDataset, sequence: str, name: str) -> np.ndarray:
    """Decodes with Pillow."""
    path = dataset._data / "JPEGImages_Sparse" / dataset._folder / sequence / f"{name}.jpg"
    with Image.open(path) as image:
        if dataset._transform.decode_size is not None:
            image.draft("RGB", dataset._transform.decode_size)
        return np.asarray(image.convert("RGB"))


def plain_bilinear(frames: Sequence[np.ndarray], size: tuple[int, int]) -> tuple[np.ndarray, ...]:
    """Resizes with Pillow."""
    images = (Image.fromarray(np.ascontiguousarray(frame)) for frame in frames)
    return tuple(np.asarray(i.resize(size[::-1], Image.Resampling.BILINEAR)) for i in images)


def plain_nearest(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Samples rows and columns in one step."""
    rows, columns = (
        np.minimum(np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new)), old - 1)
        for old, new in zip(maps.shape[1:], size, strict=True)
    )
    return maps[:, rows.astype(np.intp)[:, None], columns.astype(np.intp)]


def plain_sample(sample: Sample) -> Sample:
    """Normalises on the processor."""
    frames = sample.frames.permute(0, 2, 3, 1).numpy().astype(np.float32) / np.float32(255)
    mean, std = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
    values = np.ascontiguousarray(((frames - mean) / std).transpose(0, 3, 1, 2))
    return replace(sample, frames=torch.from_numpy(values), weights=sample.weights.float())


def plain_collate(samples: Sequence[Sample]) -> Batch:
    """Pads into new arrays of float32, as ReferFormer does."""
    batch = collate(samples)
    frames = torch.zeros(batch.frames.shape)
    weights = torch.zeros(batch.weights.shape)
    for index, sample in enumerate(samples):
        height, width = sample.size
        frames[index, :, :, :height, :width] = sample.frames
    weights.copy_(batch.weights)
    return replace(batch, frames=frames, weights=weights)


@contextmanager
def plainly() -> Any:
    """Within, the data set reads and resizes as the published code does."""
    with (
        mock.patch.object(ClipDataset, "_image", plain_image),
        mock.patch.object(transforms, "_bilinear", plain_bilinear),
        mock.patch.object(transforms, "_nearest", plain_nearest),
    ):
        yield


def seconds_of(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(dataset: ClipDataset, samples: int, size: int, rounds: int) -> dict[str, float]:
    """Processor time of both loaders for the same samples, the least of some rounds."""
    order = [int(i) for i in np.random.default_rng(0).permutation(len(dataset))][:samples]
    batches = [order[start : start + size] for start in range(0, len(order), size)]

    def ours() -> None:
        for batch in batches:
            collate([dataset[index] for index in batch])

    def plain() -> None:
        with plainly():
            for batch in batches:
                plain_collate([plain_sample(dataset[index]) for index in batch])

    times = [(seconds_of(plain), seconds_of(ours)) for _ in range(rounds + 1)][1:]
    before, after = (min(column) for column in zip(*times, strict=True))
    batch = collate([dataset[index] for index in batches[0]])
    bytes_ours = sum(
        value.numel() * value.element_size()
        for value in vars(batch).values()
        if isinstance(value, torch.Tensor)
    )
    grown = 3 * (batch.frames.numel() + batch.weights.numel())
    return {
        "plain_samples_per_second": round(len(order) / before, 1),
        "samples_per_second": round(len(order) / after, 1),
        "speedup": round(before / after, 2),
        "plain_megabytes_per_batch": round((bytes_ours + grown) / 1e6, 1),
        "megabytes_per_batch": round(bytes_ours / 1e6, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="prepared folder; a kitchen is drawn without it")
    parser.add_argument("--clips", type=int, default=24, help="clips of the drawn kitchen")
    parser.add_argument("--samples", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or make_data(Path(scratch), options.clips)
        for name, choices, size in RECIPES:
            dataset = ClipDataset(data, "train", **choices)
            result = compare(dataset, options.samples, size, options.rounds)
            print(json.dumps({f"loader, {name}": result}), flush=True)


if __name__ == "__main__":
    main()
