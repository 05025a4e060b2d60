"""Which positive threshold suits a network, on clips that no result is reported on.

The published threshold is 0.75; a network from other weights and a shorter training may be less
sure. Networks are asked once for each clip, and the objects compete for pixels at each threshold.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import tyro

from training.checkpoints.weights import load_model
from training.data.layout import IMAGES, LABELS, image_folder
from training.data.palette import read_label_png
from training.data.pictures import read_clip
from training.data.splits import load_clips
from training.evaluation.inference import answer_clip, clips_of, is_active, label_maps
from training.evaluation.metrics import METRICS, Metrics, Tally
from training.files.disk import write_json
from training.files.progress import tracked
from training.model import tokenize

THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(1, 20))


@dataclass(frozen=True)
class Threshold:
    """Evaluate a network at several positive thresholds and tell the one with the best gIoU."""

    checkpoint: Path
    """Weights of a training."""
    data: Path
    """Folder in the ActionVOS layout."""
    split: Path
    """Clean clips on which nothing is reported."""
    clip_length: int = 1
    """Most frames evaluated together."""
    json: Path | None = None
    """Also write the numbers to this file."""


def measure(options: Threshold) -> dict[float, Metrics]:
    """The metrics at each of `THRESHOLDS`.

    Raises:
        ActisegError: If the split, an image or the weights cannot be read.
    """
    model, tokenizer, _ = load_model(options.checkpoint)
    encode = partial(tokenize, tokenizer, max_tokens=model.config.max_tokens)
    folder = image_folder(options.data, options.split)
    tallies = {threshold: Tally() for threshold in THRESHOLDS}
    clips = [clip for clip in load_clips(options.split) if clip.objects and not clip.flagged]
    for clip in tracked(clips, "thresholds", "clips"):
        for part in clips_of(len(clip.frames), options.clip_length):
            names = clip.frames[part]
            pictures = options.data / IMAGES / folder / clip.sequence
            frames = read_clip([pictures / f"{name}.jpg" for name in names])
            truths = [
                read_label_png(options.data / LABELS / folder / clip.sequence / f"{name}.png")
                for name in names
            ]
            answer = answer_clip(model, encode, frames, clip.expressions)
            size = frames[0].shape[0], frames[0].shape[1]
            for threshold, tally in tallies.items():
                active = is_active(answer.positives, threshold)
                for drawn, truth in zip(
                    label_maps(answer.masks, active, size), truths, strict=True
                ):
                    tally.add_frame(clip.labels[drawn], truth, clip.positive)
    return {threshold: tally.metrics() for threshold, tally in tallies.items()}


def best(measured: dict[float, Metrics]) -> float:
    """The threshold with the highest gIoU; the larger one of equals."""
    return max(measured, key=lambda threshold: (measured[threshold].giou, threshold))


def main() -> None:
    """Measures and prints the table."""
    options = tyro.cli(Threshold, prog="python -m training.benchmark.threshold")
    measured = measure(options)
    print("threshold" + "".join(f"{name:>8}" for name in METRICS))
    for threshold, metrics in measured.items():
        values = metrics.as_percent()
        print(f"{threshold:9.2f}" + "".join(f"{values[name]:8.2f}" for name in METRICS))
    print(f"best: {best(measured)}")
    if options.json is not None:
        numbers = {str(threshold): metrics.as_percent() for threshold, metrics in measured.items()}
        write_json(options.json, {"best": best(measured), "thresholds": numbers})


if __name__ == "__main__":
    main()
