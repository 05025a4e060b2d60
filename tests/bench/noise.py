"""How many label maps of 854x480 `actiseg noise masks` dilates in a second, files included.

Beside it: Algorithm 2 written down plainly, whole maps object by object, in one process.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import cv2
import numpy as np

from training.data.palette import read_label_png, write_label_png
from training.data.splits import record_name
from training.noise.mask import MaskNoise, write_noisy_masks

OBJECTS = 7
POSITIVE = (1, 2, 4, 6)


def draw_maps(root: Path, clips: int, frames: int) -> None:
    """Writes clips of ellipses, seven objects each, four of them positive, and their split."""
    random = np.random.default_rng(0)
    records = []
    for clip in range(clips):
        entries = {
            str(key): {"name": f"thing {key}", "class_id": key, "positive": int(key in POSITIVE)}
            for key in range(1, OBJECTS + 1)
        }
        record = {
            "seq_id": clip, "video": "P01_01", "verb": "take", "noun": "thing",
            "object_classes": entries,
        }  # fmt: skip
        records.append(record)
        folder = root / "clean" / record_name(record)
        folder.mkdir(parents=True)
        for frame in range(frames):
            labels = np.zeros((480, 854), np.uint8)
            for key in range(1, OBJECTS + 1):
                centre = int(random.integers(854)), int(random.integers(480))
                axes = int(random.integers(20, 150)), int(random.integers(20, 110))
                cv2.ellipse(labels, centre, axes, int(random.integers(180)), 0, 360, key, -1)
            write_label_png(folder / f"frame_{frame:010d}.png", labels)
    (root / "split.json").write_text(json.dumps(records))


def plainly(root: Path, kernel: int) -> int:
    """Algorithm 2 on whole maps, reading and writing as `noise masks` does."""
    square = np.ones((kernel, kernel), np.uint8)
    count = 0
    for source in sorted((root / "clean").rglob("*.png")):
        labels = read_label_png(source)
        noisy = np.zeros_like(labels)
        for key in POSITIVE:
            dilated = cv2.dilate((labels == key).astype(np.uint8), square)
            noisy[(noisy == 0) & (dilated != 0)] = key
        target = root / "plain" / source.relative_to(root / "clean")
        target.parent.mkdir(parents=True, exist_ok=True)
        write_label_png(target, noisy)
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=800)
    parser.add_argument("--frames", type=int, default=2, help="label maps per clip")
    parser.add_argument("--kernel", type=int, default=21)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        draw_maps(root, options.clips, options.frames)
        start = time.perf_counter()
        written = write_noisy_masks(
            root / "clean", root / "split.json", MaskNoise(options.kernel), root / "noisy",
            options.workers,
        )  # fmt: skip
        ours = time.perf_counter() - start
        start = time.perf_counter()
        count = plainly(root, options.kernel)
        plain = time.perf_counter() - start
        for target in (root / "noisy").rglob("*.png"):
            direct = root / "plain" / target.relative_to(root / "noisy")
            assert target.read_bytes() == direct.read_bytes(), target
    result = {
        "label_maps": written.frames,
        "kernel": options.kernel,
        "workers": options.workers,
        "maps_per_second": round(written.frames / ours, 1),
        "plain_maps_per_second": round(count / plain, 1),
    }
    print(json.dumps({"noise_masks": result}))


if __name__ == "__main__":
    main()
