"""Augmentation: geometry of boxes, masks, weights and prompts; distortion; determinism."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from training.data.targets import object_boxes, object_masks, object_weights, relative_boxes
from training.data.transforms import (
    ClipImages,
    FixedSize,
    PublishedEvaluation,
    PublishedTraining,
    Transform,
    crop,
    distort,
    flip,
    resize,
    shorter_side,
    swap_sides,
)


def make_clip(
    height: int = 48, width: int = 86, times: int = 2, seed: int = 0, boxes: bool = True
) -> ClipImages:
    """A clip whose objects 1 and 2 are rectangles in their own colours; 3 is never seen."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((times, height, width), np.uint8)
    for time in range(times):
        labels[time, 4 : height // 2, 3 + time : width // 3] = 1
        labels[time, height // 2 :, width // 2 : width - 5] = 2
    colours = np.array([[90, 90, 90], [200, 30, 30], [30, 30, 200]], np.uint8)
    clip = ClipImages(
        frames=tuple(colours[labels]),
        labels=labels,
        weights=rng.integers(1, 5, labels.shape, dtype=np.uint8),
        boxes=np.zeros((3, times, 4), np.float32),
        captions=("left hand used", "cup", "leftover rice on the right"),
    )
    if not boxes:
        return clip
    found = object_boxes(clip, [1, 2, 3], [True] * 3, cleared=False)
    return ClipImages(clip.frames, labels, clip.weights, found, clip.captions)


def boxes_of(clip: ClipImages) -> np.ndarray:
    return object_boxes(clip, [1, 2, 3], [True] * 3, cleared=False)


def test_flip_mirrors_everything_and_exchanges_the_words_left_and_right() -> None:
    clip = make_clip()
    mirrored = flip(clip)
    np.testing.assert_array_equal(mirrored.labels, clip.labels[..., ::-1])
    np.testing.assert_array_equal(mirrored.weights, clip.weights[..., ::-1])
    np.testing.assert_array_equal(mirrored.frames[0], clip.frames[0][:, ::-1])
    assert mirrored.captions == ("right hand used", "cup", "leftover rice on the left")
    # Last pixels are included without adding one, so a mirrored box lies one pixel further right.
    np.testing.assert_array_equal(mirrored.boxes[:2, :, ::2], boxes_of(mirrored)[:2, :, ::2] + 1)
    assert mirrored.boxes[2, 0].tolist() == [86, 0, 86, 0]  # an empty box moves to the far edge
    twice = flip(mirrored)
    np.testing.assert_array_equal(twice.boxes, clip.boxes)
    assert twice.captions == clip.captions


@settings(deadline=None)
@given(st.text("lefrigt hands,.", max_size=40))
def test_swapping_sides_twice_changes_nothing(text: str) -> None:
    assert swap_sides(swap_sides(text)) == text


def test_crop_clamps_boxes_to_the_region() -> None:
    clip = crop(make_clip(), 10, 20, 30, 40)
    assert clip.size == (30, 40)
    assert clip.frames[0].shape == (30, 40, 3)
    inside = boxes_of(clip)
    np.testing.assert_array_equal(clip.boxes[0, :, :2], inside[0, :, :2])
    assert (clip.boxes[..., 0::2] <= 40).all()
    assert (clip.boxes[..., 1::2] <= 30).all()
    assert (clip.boxes >= 0).all()


@settings(deadline=None)
@given(
    st.integers(5, 120), st.integers(5, 160), st.integers(4, 200), st.integers(4, 200),
    st.integers(0, 99),
)  # fmt: skip
def test_maps_are_sampled_as_torch_does(h: int, w: int, height: int, width: int, seed: int) -> None:
    labels = np.random.default_rng(seed).integers(0, 9, (1, h, w), dtype=np.uint8)
    clip = ClipImages((np.zeros((h, w, 3), np.uint8),), labels, labels,
                      np.zeros((0, 1, 4), np.float32), ())  # fmt: skip
    own = resize(clip, (height, width)).labels
    expected = interpolate(torch.from_numpy(labels)[None].float(), (height, width), mode="nearest")
    np.testing.assert_array_equal(own, expected[0].numpy())


@pytest.mark.parametrize(
    ("size", "shorter", "limit", "expected"),
    [
        ((480, 854), 512, 512, (288, 512)),
        ((480, 854), 416, None, (416, 740)),
        ((854, 480), 320, 640, (569, 320)),
        ((480, 480), 600, 512, (512, 512)),
        ((480, 854), 480, None, (480, 854)),
        ((333, 1000), 50, 125, (42, 126)),  # the rounded shorter side lets the longer exceed
    ],
)
def test_resize_rule(
    size: tuple[int, int], shorter: int, limit: int | None, expected: tuple[int, int]
) -> None:
    assert shorter_side(*size, shorter, limit) == expected


def test_published_training_keeps_frames_maps_and_boxes_together() -> None:
    sizes = set()
    for seed in range(30):
        clip = PublishedTraining()(make_clip(480, 854, 1), np.random.default_rng(seed))
        assert clip.frames[0].shape[:2] == clip.labels.shape[1:] == clip.weights.shape[1:]
        assert max(clip.size) <= 513
        relative = relative_boxes(clip)
        assert (relative >= 0).all()
        assert (relative <= 1.01).all()
        sizes.add(clip.size)
    assert (288, 512) in sizes  # the branch without crop
    assert len(sizes) > 5  # the branch with it


def test_transforms_are_functions_of_the_generator() -> None:
    for transform in (PublishedTraining(), FixedSize(36, 64)):
        one, two, other = (
            transform(make_clip(480, 854), np.random.default_rng(seed)) for seed in (5, 5, 6)
        )
        np.testing.assert_array_equal(np.stack(one.frames), np.stack(two.frames))
        np.testing.assert_array_equal(one.labels, two.labels)
        assert one.size != other.size or (np.stack(one.frames) != np.stack(other.frames)).any()


@pytest.mark.parametrize("photometric", [True, False])
@pytest.mark.parametrize("kind", [PublishedTraining, partial(FixedSize, 90, 160)])
def test_without_spatial_augmentation_pixels_keep_their_place(
    kind: Callable[..., Transform], photometric: bool
) -> None:
    transform = kind(spatial=False, photometric=photometric)
    clip = make_clip(480, 854, boxes=transform.follows_boxes)
    one, two = (transform(clip, np.random.default_rng(seed)) for seed in (1, 2))
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.weights, two.weights)
    same = all(np.array_equal(a, b) for a, b in zip(one.frames, two.frames, strict=True))
    assert same != photometric


def test_evaluation_is_plain_resizing() -> None:
    clip = PublishedEvaluation()(make_clip(480, 854), np.random.default_rng(0))
    assert clip.size == (360, 640)


def test_fixed_size_keeps_objects_under_their_pixels() -> None:
    """After any window and flip, colours and labels still coincide away from borders."""
    for seed in range(20):
        clip = FixedSize(180, 320, zoom=1.5)(
            make_clip(480, 854, 1, boxes=False), np.random.default_rng(seed)
        )
        assert clip.size == (180, 320)
        for object_id in (1, 2):
            shape = np.pad(clip.labels[0] == object_id, 2)
            mask = cv2.erode(shape.astype(np.uint8), np.ones((5, 5)))[2:-2, 2:-2]
            colours = clip.frames[0][mask > 0].astype(int)
            if len(colours):
                assert np.ptp(colours, axis=0).max() <= 2, (seed, object_id)


def test_fixed_size_fits_pictures_decoded_at_a_lower_resolution() -> None:
    full = make_clip(480, 854, 1)
    half = tuple(np.ascontiguousarray(frame[::2, ::2]) for frame in full.frames)
    clip = ClipImages(half, full.labels, full.weights, full.boxes, full.captions)
    fitted = FixedSize(180, 320, spatial=False, photometric=False)(clip, np.random.default_rng(0))
    assert fitted.frames[0].shape == (180, 320, 3)
    assert fitted.labels.shape == (1, 180, 320)


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_distortion_wraps_or_clips(seed: int) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    wrapped = distort(frame, np.random.default_rng(seed), clip=False, permute=False)
    clipped = distort(frame, np.random.default_rng(seed), clip=True, permute=False)
    same = wrapped == clipped
    assert np.isin(clipped[~same], (0, 255)).all()


def test_brightness_beyond_white_wraps_around() -> None:
    white = np.full((4, 4, 3), 250, np.uint8)
    wrapped = [
        distort(white, np.random.default_rng(seed), clip=False, permute=False).min()
        for seed in range(40)
    ]
    assert min(wrapped) < 40


def test_distortion_draws_anew_for_every_frame() -> None:
    clip = make_clip(480, 854, 4)
    same = tuple([clip.frames[0]] * 4)
    clip = ClipImages(same, clip.labels, clip.weights, clip.boxes, clip.captions)
    for seed in range(5):
        frames = PublishedTraining()(clip, np.random.default_rng(seed)).frames
        if len({frame.tobytes() for frame in frames}) > 1:
            return
    pytest.fail("all frames of a clip were distorted alike")


def test_targets_of_stored_weights() -> None:
    labels = np.array([[[1, 1, 1, 1, 2, 2, 0, 0]]], np.uint8)
    weights = np.array([[[1, 2, 3, 4, 3, 2, 2, 1]]], np.uint8)
    clip = ClipImages((np.zeros((1, 8, 3), np.uint8),), labels, weights,
                      np.zeros((2, 1, 4), np.float32), ("a", "b"))  # fmt: skip
    ids, active = [1, 2], [True, False]
    assert object_weights(clip, ids, True)[:, 0, 0].tolist() == [
        [1, 2, 5, 5, 1, 1, 1, 1],
        [1, 1, 1, 1, 5, 2, 1, 1],
    ]
    assert object_weights(clip, ids, False).min() == object_weights(clip, ids, False).max() == 1
    masks = object_masks(clip, ids, active, cleared=True)[:, 0, 0].astype(int).tolist()
    assert masks == [[1, 1, 0, 1, 0, 0, 0, 0], [0] * 8]
    assert object_masks(clip, ids, active, cleared=False)[0, 0, 0].sum() == 4
    assert object_boxes(clip, ids, active, cleared=True)[:, 0].tolist() == [
        [0, 0, 3, 0],
        [0, 0, 0, 0],
    ]
