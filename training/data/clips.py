"""The clip data set: samples of an ActionVOS layout with their prompts and labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from torch.utils.data import Dataset

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.collate import Batch, Channels, Sample, collate
from training.data.layout import IMAGES, LABELS, WEIGHTS, image_folder, split_file
from training.data.palette import read_label_png
from training.data.splits import Clip, ObjectPrompt, load_clips
from training.data.targets import (
    mask_boxes,
    object_boxes,
    object_masks,
    object_weights,
    relative_boxes,
)
from training.data.transforms import ClipImages, Transform
from training.model.config import IMAGENET_MEAN, IMAGENET_STD

__all__ = ["Batch", "ClipDataset", "NoiseLayer", "Sample", "collate"]

UInt8 = npt.NDArray[np.uint8]


class NoiseLayer(Protocol):
    """Label noise that lies over the clean data while it is read."""

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        """The object's name in the prompt."""

    def labels(
        self, sequence: str, frame: str, clean_labels: UInt8, positive_ids: frozenset[int]
    ) -> UInt8:
        """The label map, uint8 [H, W]."""

    def weights(self, clean_labels: UInt8, noisy_labels: UInt8, clean_weights: UInt8) -> UInt8:
        """The stored weights that go with a noisy label map, uint8 [H, W]."""


@dataclass(frozen=True)
class _Place:
    """Where a sample begins: a clip, one of its frames, and its prompts."""

    clip: Clip
    start: int
    objects: tuple[ObjectPrompt, ...]


class ClipDataset(Dataset[Sample]):
    """Samples of a split, drawn as the official training draws them.

    Every sequence gives a sample for each run of `frames_per_clip` frames. Around the run's first
    frame lie one frame 1 to 3 before and one 1 to 3 after; the rest is drawn from all over the
    sequence.

    Args:
        data: Folder in the ActionVOS layout.
        split: Name of a split, or a split file; a file's pictures are those of the split that its
            name begins with.
        frames_per_clip: Frames T of a sample.
        objects: One prompt per sample as published, or every object of the sequence as a prompt of
            the same frames, so that their image side is computed once.
        transform: Brings clips to the input size.
        use_weights: Use the action-guided weights; without them every weight is 1, and masks are
            not cleared where the stored weight is 3.
        negative_masks: Give objects that are not active their masks and boxes too; the published
            training gives them empty ones, which a network cannot learn to find objects from
            unless it was pretrained on referring segmentation.
        noise: Noise over names and label maps.
        narrations: What prompts speak of: the clip's own narration, or that of any clip, drawn for
            each sample, which then tells nothing of what is done.
        mean: Of R, G, B in [0, 1]; the network's.
        std: Standard deviation of the same.
        redraw_frames: Draw the frames of every sample anew in each epoch; else once.
        seed: With the epoch and the index, the only source of randomness.

    Raises:
        ActisegError: If the split cannot be read or does not say which objects are active.
    """

    def __init__(
        self,
        data: Path,
        split: str | Path,
        *,
        frames_per_clip: int = 5,
        objects: Literal["one", "all"] = "one",
        transform: Transform,
        use_weights: bool = True,
        negative_masks: bool = False,
        noise: NoiseLayer | None = None,
        narrations: Literal["own", "any"] = "own",
        mean: Channels = IMAGENET_MEAN,
        std: Channels = IMAGENET_STD,
        redraw_frames: bool = True,
        seed: int = 0,
    ) -> None:
        file = split if isinstance(split, Path) else split_file(data, split)
        self.clips = load_clips(file)
        for clip in self.clips:
            if any(entry.positive is None for entry in clip.objects):
                raise ActisegError(f"{file}: {clip.sequence} does not say which objects are active")
        self._data = data
        self._folder = image_folder(data, file)
        self._frames_per_clip = frames_per_clip
        self._transform = transform
        self._use_weights = use_weights
        self._negative_masks = negative_masks
        self._noise = noise
        self._narrations = [clip.narration for clip in self.clips] if narrations == "any" else None
        self._mean, self._std = mean, std
        self._redraw_frames = redraw_frames
        self._seed = seed
        self._epoch = 0
        self._places = [
            _Place(clip, start, group)
            for clip in self.clips
            for group in ([(o,) for o in clip.objects] if objects == "one" else [clip.objects])
            for start in range(0, len(clip.frames), frames_per_clip)
            if group
        ]

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose draws follow; call before a loader starts its workers."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        """The sample of an index, the same for the same seed and epoch.

        Raises:
            ActisegError: If one of its files is missing or broken.
        """
        if torch.utils.data.get_worker_info() is not None:
            cv2.setNumThreads(0)  # OpenCV's thread pool does not survive the fork of a worker
        rng = np.random.default_rng((self._seed, self._epoch, index))
        place = self._places[index]
        frames = sorted(place.clip.frames)
        drawn = rng if self._redraw_frames else np.random.default_rng((self._seed, index))
        chosen = sample_frames(len(frames), place.start, self._frames_per_clip, drawn)
        names = [frames[position] for position in chosen]
        narration = place.clip.narration
        if self._narrations is not None:
            narration = self._narrations[int(rng.integers(len(self._narrations)))]
        distinct, order = np.unique(names, return_inverse=True)
        clip = self._read(place, narration, [str(name) for name in distinct], order)
        ids = [entry.object_id for entry in place.objects]
        positive = [bool(entry.positive) for entry in place.objects]
        shown = [active or self._negative_masks for active in positive]
        # A stored weight of 3 marks what no hand touches, so it would empty negative masks again.
        cleared = self._use_weights and not self._negative_masks
        if self._transform.follows_boxes:
            clip = replace(clip, boxes=object_boxes(clip, ids, shown, cleared)[:, order])
        clip = self._transform(clip, rng)
        masks = object_masks(clip, ids, shown, cleared)
        if not self._transform.follows_boxes:
            clip = replace(clip, boxes=mask_boxes(masks)[:, order])
        weights = object_weights(clip, ids, self._use_weights)
        times = len(names)
        return Sample(
            frames=torch.from_numpy(np.stack(clip.frames)).permute(0, 3, 1, 2).contiguous(),
            captions=list(clip.captions),
            masks=torch.from_numpy(masks[:, order]),
            weights=torch.from_numpy(weights[:, order]),
            boxes=torch.from_numpy(relative_boxes(clip)),
            valid=torch.ones(len(ids), times, dtype=torch.int64),
            positive=torch.tensor(positive, dtype=torch.int64)[:, None].repeat(1, times),
            size=clip.size,
            sequence=place.clip.sequence,
            frame_names=names,
            start_frame=frames[place.start],
            object_ids=ids,
            pad_multiple=self._transform.pad_multiple,
            mean=self._mean,
            std=self._std,
        )

    def _read(
        self,
        place: _Place,
        narration: str | None,
        names: Sequence[str],
        order: npt.NDArray[np.intp],
    ) -> ClipImages:
        """Reads the stored pictures of a sample; boxes are still empty.

        Args:
            place: The sample.
            narration: What its prompts speak of.
            names: Its frames, each once; the maps are theirs.
            order: For each frame of the sample its place among `names`. Pictures are in this order,
                because each is distorted anew.
        """
        sequence = place.clip.sequence
        positive_ids = frozenset(e.object_id for e in place.clip.objects if e.positive)
        frames, all_labels, all_weights = [], [], []
        for name in names:
            frame = self._image(sequence, name)
            clean = labels = self._labels(LABELS, sequence, name)
            if self._noise is not None:
                labels = self._noise.labels(sequence, name, clean, positive_ids)
            weights = np.ones_like(labels)
            if self._use_weights:
                weights = self._labels(WEIGHTS, sequence, name)
                if self._noise is not None:
                    weights = self._noise.weights(clean, labels, weights)
            frames.append(frame)
            all_labels.append(labels)
            all_weights.append(weights)
        return ClipImages(
            frames=tuple(frames[index] for index in order),
            labels=np.stack(all_labels),
            weights=np.stack(all_weights),
            boxes=np.zeros((len(place.objects), len(order), 4), np.float32),
            captions=tuple(self._caption(place.clip, entry, narration) for entry in place.objects),
        )

    def _caption(self, clip: Clip, entry: ObjectPrompt, narration: str | None) -> str:
        """The prompt in lower case, blanks collapsed; with the noisy name if there is noise."""
        expression, name = entry.expression, entry.name
        changed = narration != clip.narration
        if self._noise is not None and entry.class_id is not None:
            name = self._noise.name(clip.sequence, entry.object_id, entry.name, entry.class_id)
            changed = True
        if changed and narration is not None:
            expression = PROMPT_TEMPLATE.format(object=name, narration=narration)
        return " ".join(expression.lower().split())

    def _image(self, sequence: str, name: str) -> UInt8:
        path = self._data / IMAGES / self._folder / sequence / f"{name}.jpg"
        width, height = self._transform.decode_size or (0, 0)
        try:
            return simplejpeg.decode_jpeg(
                path.read_bytes(), "RGB", min_width=width, min_height=height
            )
        except (OSError, ValueError) as error:
            raise ActisegError(f"{path}: not a readable JPEG ({error})") from error

    def _labels(self, kind: str, sequence: str, name: str) -> UInt8:
        return read_label_png(self._data / kind / self._folder / sequence / f"{name}.png")


def sample_frames(count: int, start: int, wanted: int, rng: np.random.Generator) -> list[int]:
    """Draws the frames of a sample.

    Args:
        count: Frames of the sequence.
        start: The frame that the sample is about.
        wanted: Frames to draw.
        rng: Source of all draws.

    Returns:
        `wanted` sorted positions; they may repeat.
    """
    if wanted == 1:
        return [start]
    before = max(0, start - int(rng.integers(1, 4)))
    after = min(count - 1, start + int(rng.integers(1, 4)))
    local = [start, before, after]
    missing = wanted - len(local)
    if missing > 0:
        outside = [*range(before), *range(after, count)]
        pool = outside if len(outside) > missing else list(range(count))
        rounds, rest = divmod(missing, len(pool))
        local += pool * rounds + rng.choice(pool, rest, replace=False).tolist()
    return sorted(local)[:wanted]
