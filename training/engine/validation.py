"""Validation inside a training run: the six numbers of the paper on clean labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.data.layout import IMAGES, LABELS, image_folder, split_file
from training.data.pictures import read_clip, read_labels
from training.data.splits import Clip, evenly_spread, load_clips, require_files
from training.engine.distributed import ProcessGroup
from training.evaluation.inference import (
    CLIP_LENGTH,
    POSITIVE_THRESHOLD,
    Tokenize,
    clips_of,
    predict_clip,
)
from training.evaluation.metrics import Tally
from training.files.progress import tracked
from training.model import ActionVOS


class Validator:
    """Predicts the clips of a split and compares them with their annotations.

    Args:
        data: folder in the ActionVOS layout.
        split: name of the split.
        clips: how many clips, evenly spread over the split; None for all.
        tokenize: prompts to ids and attention mask.
        positive_threshold: objects that are active with less probability are not drawn.
        clip_length: most frames that the network sees together.

    Raises:
        ActisegError: If the split has no clips, or a picture or label image of one is missing.
    """

    def __init__(
        self,
        data: Path,
        split: str,
        *,
        clips: int | None,
        tokenize: Tokenize,
        positive_threshold: float = POSITIVE_THRESHOLD,
        clip_length: int = CLIP_LENGTH,
    ) -> None:
        file = split_file(data, split)
        chosen = evenly_spread([clip for clip in load_clips(file) if not clip.flagged], clips)
        self._data, self._folder = data, image_folder(data, file)
        self._tokenize, self._clip_length = tokenize, clip_length
        self._threshold = positive_threshold
        # The longest first: what several processes do side by side then takes about as long.
        self._clips = sorted(chosen, key=_work, reverse=True)
        if not self._clips:
            raise ActisegError(f"{data}: split {split} has no clips to validate on")
        shown = {IMAGES: ".jpg", LABELS: ".png"}
        folders = {data / kind / self._folder: suffix for kind, suffix in shown.items()}
        require_files(chosen, folders, file)
        self.measure: dict[str, str | int | float | None] = {
            "split": file_sha256(file),
            "val_clips": clips,
            "positive_threshold": positive_threshold,
        }
        """What the numbers depend on beside the network; those of unlike ones do not compare."""

    def run(
        self, model: ActionVOS, group: ProcessGroup, stopping: Callable[[], bool]
    ) -> dict[str, float] | None:
        """The metrics in percent by name, the same for any number of processes.

        Every process calls this and predicts its share of the clips. They meet after each clip, so
        that none waits for long; the model returns to the mode it was in.

        Args:
            model: what is validated; all processes take the main one's weights.
            group: the processes.
            stopping: asked after each clip; if any process says yes, None is returned.
        """
        group.take_over(model.state_dict().values())
        training = model.training
        model.eval()
        tally = Tally()
        rounds = range(0, len(self._clips), group.size)
        try:
            for start in tracked(rounds, "validate", "clips", shown=group.main, brief=True):
                for clip in self._clips[start + group.rank : start + group.rank + 1]:
                    self._add(model, clip, tally)
                if group.any(stopping())[0]:
                    return None
        finally:
            model.train(training)
        whole = Tally()
        for part in group.gather(tally):
            whole.merge(part)
        return dict(whole.metrics(strict=False).as_percent())

    @torch.inference_mode()
    def _add(self, model: ActionVOS, clip: Clip, tally: Tally) -> None:
        """Adds a clip's samples to a tally."""
        for part in clips_of(len(clip.frames), self._clip_length):
            names = clip.frames[part]
            pictures = [self._file(IMAGES, clip.sequence, f"{name}.jpg") for name in names]
            frames = read_clip(pictures)
            truths = [
                read_labels(
                    self._file(LABELS, clip.sequence, f"{name}.png"), picture, frame.shape[:2]
                )
                for name, picture, frame in zip(names, pictures, frames, strict=True)
            ]
            positions = predict_clip(
                model, self._tokenize, frames, clip.expressions, threshold=self._threshold
            )
            for labels, truth in zip(clip.labels[positions], truths, strict=True):
                tally.add_frame(labels, truth, clip.positive)
        tally.videos += 1

    def _file(self, kind: str, sequence: str, name: str) -> Path:
        return self._data / kind / self._folder / sequence / name


def _work(clip: Clip) -> int:
    return len(clip.frames) * len(clip.objects)
