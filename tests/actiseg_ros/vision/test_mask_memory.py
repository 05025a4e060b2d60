"""What is carried from image to image, and what is not."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiseg_ros.vision.mask_memory import MAX_GAP, WEIGHT, MaskMemory

GRID = (45, 80)
SIZE = (180, 320)
NONE_ACTIVE = np.zeros(1, np.float32)


def world(seed: int) -> np.ndarray:
    """A worktop larger than the camera's view, uint8 [300, 480, 3]."""
    coarse = np.random.default_rng(seed).integers(40, 216, (20, 32, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (480, 300), interpolation=cv2.INTER_CUBIC))


def view(picture: np.ndarray, x: int, y: int = 40) -> np.ndarray:
    return picture[y : y + SIZE[0], x : x + SIZE[1]].copy()


def square(row: int, column: int, sure: float = 6.0) -> np.ndarray:
    """Logits float32 [1, 45, 80] of a square of 12 cells."""
    mask = np.full((1, *GRID), -sure, np.float32)
    mask[0, row : row + 12, column : column + 12] = sure
    return mask


def shown(memory: MaskMemory, *images: tuple[np.ndarray, np.ndarray], gap: float = 0.1) -> list:
    """Joined answers of a stream of pictures with their masks."""
    found = []
    for number, (picture, mask) in enumerate(images):
        memory.begin("cut pepper", round(1e9 * (1 + gap * number)))
        found.append(memory.join(picture, mask, NONE_ACTIVE))
    return found


def iou(one: np.ndarray, other: np.ndarray) -> float:
    one, other = one > 0, other > 0
    return float((one & other).sum() / (one | other).sum())


def test_masks_move_along_with_the_picture() -> None:
    picture = world(0)
    unsure = np.full((1, *GRID), -1.0, np.float32)  # the network has lost it
    # The camera goes 8 pixels to the right, so that everything goes two cells to the left.
    _, joined = shown(
        MaskMemory(), (view(picture, 40), square(20, 40)), (view(picture, 48), unsure)
    )
    assert iou(joined.masks, square(20, 38)) > 0.9
    assert iou(joined.masks, square(20, 40)) < 0.8


def test_outlines_flicker_less_and_lie_where_they_lay() -> None:
    picture, random = world(1), np.random.default_rng(1)
    truth = [square(18, 40 - step) for step in range(12)]
    soft = [cv2.GaussianBlur(mask[0], (0, 0), 1.5)[None] for mask in truth]
    noisy = [mask + random.normal(0, 2, mask.shape).astype(np.float32) for mask in soft]
    views = [view(picture, 40 + 4 * step) for step in range(12)]
    first, *joined = shown(MaskMemory(), *zip(views, noisy, strict=True))
    assert first is None
    own = np.mean([iou(a, b) for a, b in zip(noisy[1:], truth[1:], strict=True)])
    ours = np.mean([iou(a.masks, b) for a, b in zip(joined, truth[1:], strict=True)])
    assert ours > own + 0.05
    steps = np.mean([iou(a, b) for a, b in itertools.pairwise(noisy)])
    calm = np.mean([iou(a.masks, b.masks) for a, b in itertools.pairwise(joined)])
    assert calm > steps + 0.1


def test_what_has_just_been_covered_is_the_new_image_s_alone() -> None:
    picture = view(world(2), 40)
    covered = picture.copy()
    covered[60:140, 160:260] = (250, 20, 20)  # a hand over the square
    before, after = square(20, 45), np.full((1, *GRID), -6.0, np.float32)
    _, joined = shown(MaskMemory(), (picture, before), (covered, after))
    np.testing.assert_allclose(joined.masks[0, 22:30, 47:55], -6.0, atol=0.1)


def test_nothing_is_carried_over_a_cut() -> None:
    one, other = (view(world(seed), 40) for seed in (3, 4))
    mask = square(20, 40)
    memory = MaskMemory()
    first, cut, after = shown(memory, (one, mask), (other, -mask), (other, mask))
    assert first is None and cut is None
    # The cut's own masks are remembered, not those before it.
    assert after is not None and (after.masks[0, 22:30, 42:50] < 0).all()


@pytest.mark.parametrize(
    ("key", "taken"),
    [("other question", 1.1), ("", 1.1 + MAX_GAP), ("", 0.9), ("", 0.0)],
    ids=["question", "gap", "time goes back", "unknown time"],
)
def test_what_does_not_belong_has_no_say(key: str, taken: float) -> None:
    picture, memory = view(world(5), 40), MaskMemory()
    memory.begin("", round(1e9))
    memory.join(picture, square(20, 40), NONE_ACTIVE)
    memory.begin(key, round(1e9 * taken))
    assert memory.join(picture, square(20, 40), NONE_ACTIVE) is None
    memory.begin(key, round(1e9 * (taken + 0.1)))
    assert (memory.join(picture, square(20, 40), NONE_ACTIVE) is None) == (taken == 0)
    memory.forget()
    memory.begin(key, round(1e9 * (taken + 0.2)))
    assert memory.join(picture, square(20, 40), NONE_ACTIVE) is None


def test_other_candidates_or_another_size_have_no_say() -> None:
    picture, memory = view(world(6), 40), MaskMemory()
    two = np.concatenate([square(20, 40), square(2, 2)])
    assert memory.join(picture, square(20, 40), NONE_ACTIVE) is None
    assert memory.join(picture, two, np.zeros(2, np.float32)) is None
    assert memory.join(picture[:100], two, np.zeros(2, np.float32)) is None


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.integers(-6, 6),
    st.floats(-30, 30, width=32),
    st.floats(-30, 30, width=32),
)
def test_the_joined_answer_lies_between_the_two(
    seed: int, shift: int, before: float, now: float
) -> None:
    picture, memory = world(seed), MaskMemory()
    for x, level in ((40, before), (40 + shift, now)):
        masks = np.full((2, *GRID), level, np.float32)
        joined = memory.join(view(picture, x), masks, np.full(2, level, np.float32))
    if joined is None:
        return
    low, high = sorted((before, now))
    slack = 1e-4 * max(1.0, abs(low), abs(high))
    for values in (joined.masks, joined.active):
        assert values.dtype == np.float32
        assert low - slack <= values.min() and values.max() <= high + slack
    assert joined.active == pytest.approx(now + WEIGHT * (before - now), abs=slack)


@pytest.mark.parametrize("size", [(1, 1), (1, 320), (180, 1), (9, 320), (180, 20), (180, 320)])
def test_pictures_of_any_shape_are_joined(size: tuple[int, int]) -> None:
    picture = np.asarray(cv2.resize(view(world(7), 40), size[::-1]))
    memory, masks = MaskMemory(), np.ones((1, *size), np.float32)
    assert memory.join(picture, masks, NONE_ACTIVE) is None
    joined = memory.join(picture, -masks, NONE_ACTIVE)
    assert joined is not None and joined.masks.shape == masks.shape
    np.testing.assert_allclose(joined.masks, 2 * WEIGHT - 1, atol=0.01)
