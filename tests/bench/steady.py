"""What `MaskMemory` does to the masks of a stream: flicker, accuracy, what the gate takes, time.

Drawn kitchen videos at 15 frames a second with their truth, each frame through the robot's own
segmenter, by itself and with the memory of the stream. Every active object that is no hand is the
target in turn.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import av
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import load_bundle
from actiseg_ros.gate.calibration import Calibration, load_calibration
from actiseg_ros.gate.features import target_features
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.mask_memory import MaskMemory
from actiseg_ros.vision.segmenter import Segmentation, Segmenter
from training.data.kitchen.video import KitchenVideo, VideoOptions, make_video
from training.data.palette import read_label_png
from training.data.splits import Clip, load_clips
from training.deploy.risk_control import Criteria
from training.deploy.trials import failures

FPS, EVERY = 15, 2
"""Frames a second, and every how many of them the truth is known."""
Mask = npt.NDArray[np.bool_]


@dataclass
class Score:
    """What came out, as lists of shares over objects and frames."""

    steady: list[float] = field(default_factory=list)
    steady_truth: list[float] = field(default_factory=list)
    positive: list[float] = field(default_factory=list)
    negative: list[float] = field(default_factory=list)
    switches: list[bool] = field(default_factory=list)
    accepted: list[bool] = field(default_factory=list)
    failing: list[bool] = field(default_factory=list)
    milliseconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Numbers in percent, counts and milliseconds."""
        taken = np.array(self.accepted)
        means = {
            "temporal_iou": self.steady,
            "of_the_truth": self.steady_truth,
            "p_miou": self.positive,
            "n_miou": self.negative,
            "switches": self.switches,
        }
        return {
            **{name: round(100 * float(np.mean(values)), 2) for name, values in means.items()},
            "accepted": int(taken.sum()),
            "failing": int((taken & np.array(self.failing)).sum()),
            "judged": len(taken),
            "frame_ms": round(float(np.median(self.milliseconds)), 2),
            "memory_ms": round(float(np.median(self.memory)), 2) if self.memory else 0.0,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", type=Path, help="the embedded one by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[81])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each video")
    options = parser.parse_args()
    bundle = load_bundle(options.bundle)
    calibration = load_calibration(bundle)
    segmenter = Segmenter(bundle, threads=1)
    scores: dict[str, Score] = defaultdict(Score)
    with tempfile.TemporaryDirectory() as scratch:
        for seed in options.seeds:
            drawn = VideoOptions(seed, options.seconds, FPS, truth_every=EVERY)
            video = make_video(Path(scratch) / str(seed), drawn, workers=1, progress=False)
            for clip, frames in actions(video):
                truth = truth_of(video, clip)
                for name, answers in streams(segmenter, clip, frames, calibration):
                    judge(scores[name], answers, clip, truth, segmenter, calibration)
    rows = {name: score.row() for name, score in scores.items()}
    for name, row in rows.items():
        print(f"{name}: " + ", ".join(f"{key} {value}" for key, value in row.items()))
    print(json.dumps({"steady": {"seeds": options.seeds, "seconds": options.seconds, **rows}}))


def actions(video: KitchenVideo) -> Iterator[tuple[Clip, dict[int, npt.NDArray[np.uint8]]]]:
    """The actions of a video, each with its frames, uint8 [H, W, 3] by number."""
    with av.open(str(video.video)) as container:
        every = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for clip in load_clips(video.truth / "ImageSets" / "val.json"):
        numbers = [number_of(name) for name in clip.frames]
        last = min(max(numbers), len(every) - 1)
        yield clip, {number: every[number] for number in range(min(numbers), last + 1)}


def number_of(frame: str) -> int:
    return int(Path(frame).stem.rpartition("_")[2])


def truth_of(video: KitchenVideo, clip: Clip) -> dict[int, npt.NDArray[np.uint8]]:
    """Label images of the frames whose truth is known."""
    folder = video.truth / "Annotations_Sparse" / "val" / clip.sequence
    return {
        number_of(name): read_label_png(folder / f"{Path(name).stem}.png") for name in clip.frames
    }


def streams(
    segmenter: Segmenter,
    clip: Clip,
    frames: dict[int, npt.NDArray[np.uint8]],
    calibration: Calibration | None,
) -> Iterator[tuple[str, dict[int, tuple[Segmentation, float]]]]:
    """Answers by number, each with the image's distance: alone, and with a memory."""
    names = tuple(item.name for item in clip.objects)
    prompt = segmenter.encode(Prompt(clip.narration or "", names, names[0], "named"))
    memory = MaskMemory()
    alone, stream = {}, {}
    for number, rgb in frames.items():
        looked = segmenter.look([rgb])
        distance = calibration.novelty.distance(looked.descriptors[0]) if calibration else math.inf
        alone[number] = segmenter.answer(looked, prompt)[0], distance
        memory.begin(clip.sequence, round(1e9 * (number + 1) / FPS))
        stream[number] = segmenter.answer(looked, prompt, memory)[0], distance
    yield "alone", alone
    yield "steady", stream


def judge(
    score: Score,
    answers: dict[int, tuple[Segmentation, float]],
    clip: Clip,
    truth: dict[int, npt.NDArray[np.uint8]],
    segmenter: Segmenter,
    calibration: Calibration | None,
) -> None:
    """Adds a stream's answers to a score."""
    bundle = segmenter.bundle
    for result, _ in answers.values():
        score.milliseconds.append(1e3 * sum(result.timings.values()))
        if "memory" in result.timings:
            score.memory.append(1e3 * result.timings["memory"])
    for one, other in pairwise(answers.values()):
        drawn = [result.active >= bundle.thresholds.positive for result, _ in (one, other)]
        score.switches += (drawn[0] != drawn[1]).tolist()
    for index, item in enumerate(clip.objects):
        active = clip.positive[item.object_id]
        true = {number: labels == item.object_id for number, labels in truth.items()}
        for number in sorted(answers.keys() & truth.keys()):
            if not true[number].any():
                continue
            result, distance = answers[number]
            mask = result.labels == index + 1
            (score.positive if active else score.negative).append(iou(mask, true[number]))
            if not active or "hand" in item.name:
                continue
            following = number + EVERY
            if following in answers and true.get(following, mask[:0]).any():
                after = answers[following][0].labels == index + 1
                if mask.any() or after.any():
                    score.steady.append(iou(mask, after))
                    score.steady_truth.append(iou(true[number], true[following]))
            if calibration is not None:
                asked = replace(result, prompt=replace(result.prompt, target=item.name))
                features = target_features(asked, bundle, distance)
                score.accepted.append(not calibration.judge(features))
                failed = failures(mask, truth[number], [item.object_id], Criteria())
                score.failing.append(any(failed))


def iou(one: Mask, other: Mask) -> float:
    union = (one | other).sum()
    return float((one & other).sum() / union) if union else 0.0


if __name__ == "__main__":
    main()
