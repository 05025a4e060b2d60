"""What a cell's network says of the clips of a split, before it is decided what is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.checkpoints.weights import load_model
from training.data.layout import IMAGES, LABELS, image_folder
from training.data.pictures import read_clip, read_labels
from training.data.splits import Clip, load_clips
from training.evaluation.inference import Answer, answer_clip, clips_of
from training.files.progress import tracked
from training.model import tokenize
from training.model.device import choose_device

UInt8 = NDArray[np.uint8]


@dataclass(frozen=True)
class ClipAnswer:
    """A clip, or a part of a long one, and what the network says of it."""

    clip: Clip
    truths: list[UInt8]
    """Label map of each frame, [H, W]."""
    answer: Answer

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the frames."""
        return self.truths[0].shape[0], self.truths[0].shape[1]


def answers(
    checkpoint: Path, data: Path, split: Path, clip_length: int = 1, title: str = "clips"
) -> Iterator[ClipAnswer]:
    """Asks a network, on a GPU if there is one, about all clips of a split that are evaluated.

    Args:
        checkpoint: Weights with their tokenizer.
        data: Folder in the ActionVOS layout.
        split: A split file.
        clip_length: Most frames that are asked about together.
        title: What is done, for the progress.

    Raises:
        ActisegError: If the split, an image or the weights cannot be read.
    """
    model, tokenizer, _ = load_model(checkpoint)
    model.to(choose_device("auto"))
    encode = partial(tokenize, tokenizer, max_tokens=model.config.max_tokens)
    folder = image_folder(data, split)
    clips = [clip for clip in load_clips(split) if clip.objects and not clip.flagged]
    for clip in tracked(clips, title, "clips"):
        pictures = data / IMAGES / folder / clip.sequence
        labels = data / LABELS / folder / clip.sequence
        for part in clips_of(len(clip.frames), clip_length):
            files = [pictures / f"{name}.jpg" for name in clip.frames[part]]
            frames = read_clip(files)
            truths = [
                read_labels(labels / f"{file.stem}.png", file, frame.shape[:2])
                for file, frame in zip(files, frames, strict=True)
            ]
            yield ClipAnswer(clip, truths, answer_clip(model, encode, frames, clip.expressions))
