"""Decisions per second of a bundle: one camera image, eight candidate objects, two threads.

Times the robot's own segmenter and the gate's features on random images of the camera's size, and
ONNX Runtime's stages by themselves; the prompt is encoded once, as on the robot.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np

from actiseg_ros.bundle import load_bundle
from actiseg_ros.gate.features import target_features
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.segmenter import Segmenter

NAMES = ("knife", "pepper", "plate", "bowl", "spoon", "sponge", "left hand", "right hand")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="model bundle; the embedded one by default")
    parser.add_argument("--frames", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    segmenter = Segmenter(bundle, threads=options.threads)
    prompt = segmenter.encode(Prompt("cut pepper", NAMES, "pepper"))
    size = (options.height, options.width, 3)
    images = np.random.default_rng(0).integers(0, 256, (4, *size), dtype=np.uint8)
    for image in images:
        segmenter.segment(image, prompt)
    seconds: list[float] = []
    stages: dict[str, list[float]] = {}
    for index in range(options.frames):
        began = time.perf_counter()
        result = segmenter.segment(images[index % len(images)], prompt)
        target_features(result, bundle, None)
        seconds.append(time.perf_counter() - began)
        for name, value in result.timings.items():
            stages.setdefault(name, []).append(value)
    p50, p95, p99 = (float(v) for v in np.percentile(np.array(seconds) * 1e3, (50, 95, 99)))
    report = {
        "bundle": bundle.name,
        "machine": platform.processor() or platform.machine(),
        "threads": options.threads,
        "image": f"{options.width}x{options.height}",
        "candidates": len(NAMES),
        "milliseconds": {"p50": round(p50, 1), "p95": round(p95, 1), "p99": round(p99, 1)},
        "stages_p50": {k: round(1e3 * float(np.median(v)), 1) for k, v in stages.items()},
        "decisions_per_second": round(1e3 / p50, 1),
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
