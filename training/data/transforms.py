"""Augmentation of clips: the published recipe, and one for networks with a fixed input size.

All prompts of a clip share its pictures and its label and weight maps, so a transform acts on the
maps once, whatever the number of prompts; masks are cut from them afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from threading import get_ident
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F

Float32 = npt.NDArray[np.float32]
UInt8 = npt.NDArray[np.uint8]

TRAINING_SIZES = (288, 320, 352, 392, 416, 448, 480, 512)
"""Shorter sides drawn from in training (ReferFormer)."""
_CROP_SIZES = (400, 500, 600)
_CROP_RANGE = (384, 600)


@dataclass(frozen=True)
class ClipImages:
    """The pictures of one clip and what is known about their pixels.

    A frame that is there twice has two pictures, which may be distorted differently, and one map.
    """

    frames: tuple[UInt8, ...]
    """RGB, uint8 [H, W, 3] each, T of them."""
    labels: UInt8
    """Object ids, uint8 [D, H, W] with a map for each of D different frames."""
    weights: UInt8
    """Stored action-guided weights, uint8 [D, H, W]."""
    boxes: Float32
    """x1, y1, x2, y2 in pixels, float32 [P, T, 4]."""
    captions: tuple[str, ...]
    """One prompt per object."""

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the maps."""
        return self.labels.shape[1], self.labels.shape[2]


class Transform(Protocol):
    """Turns the stored clip into the network's input size."""

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """Width and height below which JPEGs must not be decoded; None for full size."""

    @property
    def pad_multiple(self) -> int:
        """Batches are padded to a multiple of this."""

    @property
    def follows_boxes(self) -> bool:
        """Boxes are those of the stored clip, moved along; else those of the resulting masks."""

    def __call__(self, clip: ClipImages, rng: np.random.Generator) -> ClipImages:
        """Returns the transformed clip; all randomness comes from `rng`."""


@dataclass(frozen=True)
class PublishedTraining:
    """Augmentation of the official training: flip, photometric distortion, resize or crop.

    The network learns from the stored boxes moved along with the pictures, which is not always the
    box of the resulting mask: an empty box turns into (width, 0, width, 0) when flipped, and a crop
    clamps boxes that it leaves outside.
    """

    max_size: int = 512
    """Limit of the longer side; 16:9 frames always become 288x512 in the branch without crop."""
    spatial: bool = True
    """Without it no flip and no crop, and the same size in every epoch: pixels keep their place."""
    photometric: bool = True

    decode_size: tuple[int, int] | None = None
    pad_multiple: int = 32
    follows_boxes: bool = True

    def __call__(self, clip: ClipImages, rng: np.random.Generator) -> ClipImages:
        """Augments a clip; every frame gets its own photometric distortion."""
        if self.spatial and rng.random() < 0.5:
            clip = flip(clip)
        if self.photometric:
            frames = tuple(distort(frame, rng, clip=False, permute=True) for frame in clip.frames)
            clip = replace(clip, frames=frames)
        if not self.spatial:
            return resize(clip, shorter_side(*clip.size, TRAINING_SIZES[-1], self.max_size))
        if rng.random() < 0.5:
            clip = resize(clip, shorter_side(*clip.size, int(rng.choice(_CROP_SIZES)), None))
            height = int(rng.integers(_CROP_RANGE[0], min(clip.size[0], _CROP_RANGE[1]) + 1))
            width = int(rng.integers(_CROP_RANGE[0], min(clip.size[1], _CROP_RANGE[1]) + 1))
            top = int(rng.integers(clip.size[0] - height + 1))
            left = int(rng.integers(clip.size[1] - width + 1))
            clip = crop(clip, top, left, height, width)
        size = int(rng.choice(TRAINING_SIZES))
        return resize(clip, shorter_side(*clip.size, size, self.max_size))


@dataclass(frozen=True)
class PublishedEvaluation:
    """Resize of the official loader outside training: shorter side 360, longer at most 640."""

    shorter: int = 360
    max_size: int | None = 640

    decode_size: tuple[int, int] | None = None
    pad_multiple: int = 32
    follows_boxes: bool = True

    def __call__(self, clip: ClipImages, rng: np.random.Generator) -> ClipImages:
        """Resizes a clip."""
        return resize(clip, shorter_side(*clip.size, self.shorter, self.max_size))


@dataclass(frozen=True)
class FixedSize:
    """Fits clips into a fixed input and keeps their aspect, like the input at run time.

    Frames of another aspect than the input's come out smaller. With `spatial`, a window of the
    picture is enlarged and flipped; with `photometric`, every frame is distorted. Colours are
    clipped rather than wrapped and channels keep their places: a small network trained from scratch
    has to tell objects apart by colour.
    """

    height: int
    width: int
    spatial: bool = True
    photometric: bool = True
    zoom: float = 1.3
    """Largest enlargement; the window has at least this inverse share of the picture's sides."""

    pad_multiple: int = 1
    follows_boxes: bool = False

    @property
    def decode_size(self) -> tuple[int, int] | None:
        """The window still has to have the input's resolution."""
        zoom = self.zoom if self.spatial else 1.0
        return round(self.width * zoom), round(self.height * zoom)

    def __call__(self, clip: ClipImages, rng: np.random.Generator) -> ClipImages:
        """Cuts a window out of every frame and fits it into the input."""
        share = rng.uniform(1 / self.zoom, 1) if self.spatial else 1.0
        top, left = rng.uniform(0, 1 - share, 2) if self.spatial else (0.0, 0.0)
        window = _Window(top, left, share)
        mirrored = self.spatial and rng.random() < 0.5
        scale = min(self.height / clip.size[0], self.width / clip.size[1])
        size = (
            min(self.height, max(1, round(clip.size[0] * scale))),
            min(self.width, max(1, round(clip.size[1] * scale))),
        )
        frames = []
        for frame in clip.frames:
            part = window.cut(frame)
            shrinks = part.shape[0] > size[0]
            method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            small = cv2.resize(part, (size[1], size[0]), interpolation=method)
            frames.append(np.asarray(small, np.uint8))
        if self.photometric:
            frames = [distort(frame, rng, clip=True, permute=False) for frame in frames]
        fitted = replace(
            clip,
            frames=tuple(frames),
            labels=_nearest(np.stack([window.cut(one) for one in clip.labels]), size),
            weights=_nearest(np.stack([window.cut(one) for one in clip.weights]), size),
        )
        return flip(fitted) if mirrored else fitted


@dataclass(frozen=True)
class _Window:
    """Part of a picture in fractions of its sides, so that it fits pictures of any resolution."""

    top: float
    left: float
    share: float

    def cut(self, picture: UInt8) -> UInt8:
        height, width = picture.shape[:2]
        top, left = round(self.top * height), round(self.left * width)
        bottom, right = top + round(self.share * height), left + round(self.share * width)
        return picture[top:bottom, left:right]


def shorter_side(height: int, width: int, size: int, max_size: int | None) -> tuple[int, int]:
    """Size with the shorter side as wanted, unless the longer one would exceed its limit.

    Args:
        height: Present height.
        width: Present width.
        size: Shorter side asked for.
        max_size: Limit of the longer side, if any; half is rounded to even.

    Returns:
        Height and width; the longer side is truncated.
    """
    shorter, longer = min(height, width), max(height, width)
    if max_size is not None and longer / shorter * size > max_size:
        size = round(max_size * shorter / longer)
    if width < height:
        return int(size * height / width), size
    return size, int(size * width / height)


def flip(clip: ClipImages) -> ClipImages:
    """Mirrors a clip and exchanges the words left and right in its prompts."""
    width = clip.size[1]
    boxes = clip.boxes[..., [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
    return ClipImages(
        frames=tuple(frame[:, ::-1] for frame in clip.frames),
        labels=clip.labels[:, :, ::-1],
        weights=clip.weights[:, :, ::-1],
        boxes=boxes + np.array([width, 0, width, 0], np.float32),
        captions=tuple(swap_sides(caption) for caption in clip.captions),
    )


def swap_sides(caption: str) -> str:
    """Exchanges the words left and right; `leftover` stays."""
    other = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda found: other[found.group()], caption)


def crop(clip: ClipImages, top: int, left: int, height: int, width: int) -> ClipImages:
    """Cuts a region out of a clip; boxes are clamped to it."""
    rows, columns = slice(top, top + height), slice(left, left + width)
    boxes = clip.boxes - np.array([left, top, left, top], np.float32)
    return ClipImages(
        frames=tuple(frame[rows, columns] for frame in clip.frames),
        labels=clip.labels[:, rows, columns],
        weights=clip.weights[:, rows, columns],
        boxes=np.clip(boxes, 0, np.array([width, height, width, height], np.float32)),
        captions=clip.captions,
    )


def resize(clip: ClipImages, size: tuple[int, int]) -> ClipImages:
    """Resizes a clip: frames bilinear with antialias, maps nearest.

    PyTorch's kernel for bytes is Pillow's, in integers: a value in a thousand differs by 1, in a
    third of the time.

    Args:
        clip: The clip.
        size: Height and width.
    """
    if size == clip.size:
        return clip
    height, width = size
    ratios = height / clip.size[0], width / clip.size[1]
    return ClipImages(
        frames=_bilinear(clip.frames, size),
        labels=_nearest(clip.labels, size),
        weights=_nearest(clip.weights, size),
        boxes=clip.boxes * np.array([ratios[1], ratios[0]] * 2, np.float32),
        captions=clip.captions,
    )


def _bilinear(frames: Sequence[UInt8], size: tuple[int, int]) -> tuple[UInt8, ...]:
    """Frames [H, W, 3] at another height and width."""
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2)
    resized = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return tuple(np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy()))


def _nearest(maps: UInt8, size: tuple[int, int]) -> UInt8:
    """Samples maps [T, H, W] at floor(i * H / h) in float32, as PyTorch's `nearest` does."""
    rows, columns = (
        np.minimum(np.arange(new, dtype=np.float32) * (np.float32(old) / np.float32(new)), old - 1)
        for old, new in zip(maps.shape[1:], size, strict=True)
    )
    return maps.take(rows.astype(np.intp), axis=1).take(columns.astype(np.intp), axis=2)


def distort(frame: UInt8, rng: np.random.Generator, *, clip: bool, permute: bool) -> UInt8:
    """Draws brightness, contrast, saturation and hue anew for a frame.

    RGB values are treated as BGR, as published; hue and saturation do not mind.

    Args:
        frame: uint8 [H, W, 3].
        rng: Source of all draws.
        clip: Limit the result to 0..255. The published recipe does not: values wrap around.
        permute: Also permute the colour channels, half of the time.
    """
    image, scratch, whole = _canvases(frame.shape, get_ident())
    np.copyto(image, frame)
    if rng.random() < 0.5:
        image += np.float32(rng.uniform(-32, 32))
    contrast_first = rng.random() < 0.5
    if contrast_first:
        _contrast(image, rng)
    _hue_and_saturation(image, scratch, rng)
    if not contrast_first:
        _contrast(image, rng)
    channels = rng.permutation(3).tolist() if permute and rng.random() < 0.5 else [0, 1, 2]
    if clip:
        np.clip(image, 0, 255, out=image)
    # Through int32, because what is outside of 0..255 is to wrap around, not to be undefined.
    np.copyto(whole, image, casting="unsafe")
    result = whole.astype(np.uint8)
    if channels == [0, 1, 2]:
        return result
    return np.asarray(cv2.merge([cv2.extractChannel(result, index) for index in channels]))


@lru_cache(maxsize=4)
def _canvases(
    shape: tuple[int, ...], thread: int
) -> tuple[Float32, Float32, npt.NDArray[np.int32]]:
    """Arrays to work in, one set for each thread; fresh pages cost as much as the work."""
    return np.empty(shape, np.float32), np.empty(shape, np.float32), np.empty(shape, np.int32)


def _contrast(image: Float32, rng: np.random.Generator) -> None:
    """Changes an image in place."""
    if rng.random() < 0.5:
        image *= np.float32(rng.uniform(0.5, 1.5))


def _hue_and_saturation(image: Float32, scratch: Float32, rng: np.random.Generator) -> None:
    """Changes an image in place, by way of `scratch`."""
    saturate, turn = rng.random() < 0.5, rng.random() < 0.5
    if not saturate and not turn:
        return
    cv2.cvtColor(image, cv2.COLOR_BGR2HSV, dst=scratch)
    factor = rng.uniform(0.5, 1.5) if saturate else 1.0
    # Whole turns change nothing, and OpenCV takes hues from 0 on.
    degrees = rng.uniform(-18, 18) % 360 if turn else 0.0
    # One pass: hue plus the turn, saturation times the factor.
    change = np.array([[1, 0, 0, degrees], [0, factor, 0, 0], [0, 0, 1, 0]], np.float32)
    cv2.transform(scratch, change, dst=scratch)
    cv2.cvtColor(scratch, cv2.COLOR_HSV2BGR, dst=image)
