"""How much faster `actiseg prepare` is than the published algorithm written down plainly.

Both prepare the same random tree of 1920x1080 frames: the plain program of the tests in one
process, drawing every map in full size for every action, and `prepare` with all cores.
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

from tests.training.data.direct_preparation import prepare_directly
from tests.training.data.visor_trees import write_tree
from training.data.prepare import prepare

VIDEOS = (("P01_02", "train"), ("P01_03", "train"), ("P02_101", "val"))


def cpu_seconds() -> float:
    """Processor time of this process and of those that it has ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=12, help="annotated frames per video")
    parser.add_argument("--actions", type=int, default=12, help="actions per video")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        write_tree(
            root,
            seed=0,
            videos=VIDEOS,
            frames=options.frames,
            actions=options.actions,
            image_size=(1920, 1080),
        )
        start, cpu = time.perf_counter(), cpu_seconds()
        counts = [prepare_directly(root, root / "direct", split) for split in ("train", "val")]
        plain, plain_cpu = time.perf_counter() - start, cpu_seconds() - cpu
        cv2.setNumThreads(0)
        start, cpu = time.perf_counter(), cpu_seconds()
        prepare(
            root / "VISOR", root / "annotations", root / "out", workers=options.workers,
            progress=False,
        )  # fmt: skip
        ours, ours_cpu = time.perf_counter() - start, cpu_seconds() - cpu
    pictures = sum(len(record["sparse_frames"]) for split in counts for record in split)
    result = {
        "sequences": sum(len(split) for split in counts),
        "frames": pictures,
        "plain_seconds": round(plain, 2),
        "plain_cpu_seconds": round(plain_cpu, 2),
        "prepare_seconds": round(ours, 2),
        "prepare_cpu_seconds": round(ours_cpu, 2),
        "workers": options.workers,
        "frames_per_second": round(pictures / ours, 1),
        "speedup": round(plain / ours, 1),
    }
    print(json.dumps({"prepare": result}))


if __name__ == "__main__":
    main()
