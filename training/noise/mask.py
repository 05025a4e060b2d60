"""Mask annotation noise (paper Alg. 2): separate, dilate, combine by first hit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from training.data.palette import read_label_png, write_label_png
from training.errors import ActisegError
from training.noise.text import read_split, sequence_name

Labels = npt.NDArray[np.uint8]


def check_kernel(kernel: int) -> None:
    """Refuses kernels without a centre.

    Raises:
        ActisegError: If `kernel` is not an odd number from 1 on.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ActisegError(
            f"mask noise kernel {kernel}: it must be odd and positive (paper: 9, 15, 21)"
        )


def dilate_labels(labels: Labels, positive_ids: Iterable[int], kernel: int) -> Labels:
    """Algorithm 2 on one label map.

    Args:
        labels: uint8 [H, W], 0 is background; not changed.
        positive_ids: Labels of the positive objects. They are combined in ascending order, so a
            pixel goes to the smallest label whose dilated mask covers it; negative objects vanish.
        kernel: Side of the square structuring element in pixels, odd.

    Returns:
        uint8 [H, W], the noisy label map.

    Raises:
        ActisegError: If the kernel is even or not positive.
    """
    check_kernel(kernel)
    noisy = np.zeros_like(labels)
    square = np.ones((kernel, kernel), np.uint8)
    reach = kernel // 2
    for object_id in sorted(set(positive_ids), reverse=True):
        mask = cv2.compare(labels, int(object_id), cv2.CMP_EQ)
        x, y, width, height = cv2.boundingRect(mask)
        if width == 0:
            continue
        # Only the object's surroundings can change; smaller labels overwrite larger ones, which
        # is the first hit in ascending order.
        window = np.s_[
            max(y - reach, 0) : y + height + reach, max(x - reach, 0) : x + width + reach
        ]
        dilated = cv2.dilate(np.ascontiguousarray(mask[window]), square)
        noisy[window][dilated != 0] = object_id
    return noisy


def positive_ids(record: Mapping[str, Any]) -> list[int]:
    """Labels of the objects that a split's record calls positive."""
    return [int(key) for key, entry in record["object_classes"].items() if entry["positive"]]


def write_noisy_masks(
    annotations: Path, split: Path, kernel: int, out: Path, workers: int | None = None
) -> int:
    """Writes the noisy label images of a whole split beside the clean ones.

    Files that exist are left alone, so an interrupted run can be repeated.

    Args:
        annotations: Folder with ``SEQUENCE/FRAME.png``.
        split: File in the form of ``ImageSets/SPLIT.json``.
        kernel: Side of the square in pixels, odd.
        out: Folder to fill in the same form; not `annotations` itself.
        workers: Processes; None is one per core.

    Returns:
        Number of label images in `out` that belong to the split.

    Raises:
        ActisegError: If the kernel is even, a label image is missing, or `out` holds the clean set.
    """
    check_kernel(kernel)
    if out.resolve() == annotations.resolve():
        raise ActisegError(f"{out}: the clean labels lie there; give another folder")
    jobs = [
        (annotations / name, out / name, positive_ids(record), kernel)
        for record in read_split(split)
        for name in [sequence_name(record)]
    ]
    count = 0
    with ProcessPoolExecutor(workers) as pool:
        results = pool.map(_write_sequence, jobs, chunksize=8)
        for written in tqdm(results, total=len(jobs), unit="clip", desc=f"masks {kernel}x{kernel}"):
            count += written
    return count


def _write_sequence(job: tuple[Path, Path, list[int], int]) -> int:
    source, target, positive, kernel = job
    files = sorted(source.glob("*.png"))
    if not files:
        raise ActisegError(f"{source}: no label images; prepare the split first")
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not (target / file.name).exists():
            write_label_png(
                target / file.name, dilate_labels(read_label_png(file), positive, kernel)
            )
    return len(files)
