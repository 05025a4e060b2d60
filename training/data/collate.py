"""Samples and batches of clips with several prompts each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from training.data.pictures import normalise
from training.model.config import IMAGENET_MEAN, IMAGENET_STD

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Sample:
    """T frames of a sequence with P prompts."""

    frames: Tensor
    """RGB, uint8 [T, 3, H, W]."""
    captions: list[str]
    """P prompts."""
    masks: Tensor
    """bool [P, T, H, W]; empty for objects that are not active."""
    weights: Tensor
    """Action-guided loss weights 1, 2 or 5, uint8 [P, T, H, W]."""
    boxes: Tensor
    """Centre x, centre y, width, height in fractions of the clip, float32 [P, T, 4]."""
    valid: Tensor
    """int64 [P, T], 1."""
    positive: Tensor
    """1 if the object is active, int64 [P, T]."""
    size: tuple[int, int]
    """H, W."""
    sequence: str
    frame_names: list[str]
    start_frame: str
    """The frame that the sample is about; the others were drawn around it."""
    object_ids: list[int]
    pad_multiple: int = 32
    """Batches are padded to a multiple of this many pixels."""
    mean: Channels = IMAGENET_MEAN
    """Mean of R, G, B in [0, 1] that the network reads pictures without."""
    std: Channels = IMAGENET_STD
    """Standard deviation that it reads them by."""


@dataclass(frozen=True)
class Batch:
    """N clips of T frames with P prompts in all, padded at the right and the bottom.

    A loader's batch holds bytes, which are quick to move and a quarter of the memory; `to` brings
    it to the device that computes and makes numbers of them there.
    """

    frames: Tensor
    """RGB, uint8 [N, T, 3, H, W]; on its device normalised, float32, 0 on padding."""
    padding: Tensor
    """True on padding, bool [N, T, H, W]."""
    captions: list[str]
    """P prompts, those of the first clip first."""
    clip_of_prompt: Tensor
    """Index of each prompt's clip, int64 [P]."""
    masks: Tensor
    """bool [P, T, H, W]."""
    weights: Tensor
    """0 on padding, else 1, 2 or 5; uint8 [P, T, H, W], on its device float32."""
    boxes: Tensor
    """In fractions of the clip without padding, float32 [P, T, 4]."""
    valid: Tensor
    """int64 [P, T]."""
    positive: Tensor
    """int64 [P, T]."""
    sizes: Tensor
    """Height and width of each clip without padding, int64 [N, 2]."""
    sequences: list[str]
    """Sequence of each prompt, P entries."""
    frame_names: list[list[str]]
    """T frame names for each prompt."""
    start_frames: list[str]
    """The frame that the sample of each prompt is about."""
    object_ids: list[int]
    """Object id of each prompt."""
    first_frames: Tensor | None = None
    """Of the D different pictures one of the N * T frames that show it, int64 [D]; None if no
    picture is shown twice."""
    picture_of_frame: Tensor | None = None
    """Which of these each of the N * T frames shows, int64 [N * T]."""
    mean: Channels = IMAGENET_MEAN
    """As in `Sample`."""
    std: Channels = IMAGENET_STD

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on the device that computes with it: frames normalised, weights as float32."""
        moved: dict[str, Any] = {
            item.name: value.to(device, non_blocking=non_blocking)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        if moved["frames"].dtype == torch.uint8:
            frames = normalise(moved["frames"], self.mean, self.std)
            moved["frames"] = frames.masked_fill_(moved["padding"][:, :, None], 0)
            moved["weights"] = moved["weights"].float()
        return replace(self, **moved)

    def prompt(self, index: int) -> Batch:
        """One prompt and its clip alone, padded as they are."""
        clip = int(self.clip_of_prompt[index])
        of_prompts, of_clips = slice(index, index + 1), slice(clip, clip + 1)
        parts: dict[str, Any] = {}
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, (Tensor, list)):
                clips = item.name in ("frames", "padding", "sizes")
                parts[item.name] = value[of_clips if clips else of_prompts]
        parts["clip_of_prompt"] = torch.zeros_like(parts["clip_of_prompt"])
        parts["first_frames"] = parts["picture_of_frame"] = None
        return replace(self, **parts)

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; called by the data loader."""
        pinned: dict[str, Any] = {
            item.name: value.pin_memory()
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        return replace(self, **pinned)


def collate(samples: Sequence[Sample]) -> Batch:
    """Pads samples to their largest height and width, rounded up, and joins their prompts.

    Raises:
        ValueError: If the samples differ in their numbers of frames.
    """
    counts = {sample.frames.shape[0] for sample in samples}
    if len(counts) != 1:
        raise ValueError(f"clips of {sorted(counts)} frames cannot form one batch")
    multiple = max(sample.pad_multiple for sample in samples)
    height, width = (
        -(-max(sample.size[axis] for sample in samples) // multiple) * multiple for axis in (0, 1)
    )
    padding = torch.ones(len(samples), counts.pop(), height, width, dtype=torch.bool)
    for own, sample in zip(padding, samples, strict=True):
        own[:, : sample.size[0], : sample.size[1]] = False
    of_prompt = [sample for sample in samples for _ in sample.captions]
    first_frames, picture_of_frame = _pictures(samples)
    return Batch(
        frames=_joined([_padded(sample.frames, height, width)[None] for sample in samples]),
        padding=padding,
        captions=[caption for sample in samples for caption in sample.captions],
        clip_of_prompt=torch.tensor(
            [index for index, sample in enumerate(samples) for _ in sample.captions]
        ),
        masks=_joined([_padded(sample.masks, height, width) for sample in samples]),
        weights=_joined([_padded(sample.weights, height, width) for sample in samples]),
        boxes=torch.cat([sample.boxes for sample in samples]),
        valid=torch.cat([sample.valid for sample in samples]),
        positive=torch.cat([sample.positive for sample in samples]),
        sizes=torch.tensor([sample.size for sample in samples]),
        sequences=[sample.sequence for sample in of_prompt],
        frame_names=[sample.frame_names for sample in of_prompt],
        start_frames=[sample.start_frame for sample in of_prompt],
        object_ids=[object_id for sample in samples for object_id in sample.object_ids],
        first_frames=first_frames,
        picture_of_frame=picture_of_frame,
        mean=samples[0].mean,
        std=samples[0].std,
    )


def _pictures(samples: Sequence[Sample]) -> tuple[Tensor | None, Tensor | None]:
    """`Batch.first_frames` and `Batch.picture_of_frame`.

    Frames of one name are compared byte by byte: augmentation may have made them differ.
    """
    firsts: list[int] = []
    shown: list[int] = []
    seen: dict[tuple[str, str], list[tuple[int, Tensor]]] = {}
    for sample in samples:
        for name, frame in zip(sample.frame_names, sample.frames, strict=True):
            known = seen.setdefault((sample.sequence, name), [])
            picture = next((p for p, other in known if torch.equal(frame, other)), len(firsts))
            if picture == len(firsts):
                firsts.append(len(shown))
                known.append((picture, frame))
            shown.append(picture)
    if len(firsts) == len(shown):
        return None, None
    return torch.tensor(firsts), torch.tensor(shown)


def _padded(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps [..., h, w] with zeros at the right and the bottom; a copy only where there are some."""
    if maps.shape[-2:] == (height, width):
        return maps
    return F.pad(maps, (0, width - maps.shape[-1], 0, height - maps.shape[-2]))


def _joined(parts: Sequence[Tensor]) -> Tensor:
    """Parts behind each other; no copy of a single one."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
