"""The label map decides pixels exactly as the official inference does."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actiseg_ros.bundle import InputSpec
from actiseg_ros.vision.label_map import draw_labels, extent, merge, sigmoid
from actiseg_ros.vision.letterbox import Enlargement, Letterbox, crop, enlargement

SPEC = InputSpec(16, 20, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
PROBABILITY = st.floats(0, 1, width=32)


def reference(p: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Background 0.1 stacked before thresholded objects, then the first largest."""
    kept = np.where((p < 0.5) | ~active[:, None, None], np.float32(0), p)
    stacked = np.concatenate([np.full((1, *p.shape[1:]), 0.1, np.float32), kept])
    return stacked.argmax(axis=0)


@settings(max_examples=60, deadline=None)
@given(arrays(np.float32, (3, 4, 5), elements=PROBABILITY), arrays(np.bool_, 3))
def test_equals_the_stacked_argmax(p: np.ndarray, active: np.ndarray) -> None:
    np.testing.assert_array_equal(merge(p, active), reference(p, active))


LOGIT = st.one_of(
    st.floats(-100, 100, width=32),
    st.sampled_from(
        [
            float(np.float32(value))
            for value in [0.0, -0.0, 1e-9, -1e-9, 6e-8, -1e-7, 1e-3, -1e-3, 20.0, 50.0]
        ]
    ),
)


SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def every_pixel(grid: np.ndarray, way: Enlargement, size: tuple[int, int]) -> np.ndarray:
    """The enlarged logits of every object, pixel by pixel, [P, H, W]."""
    around = np.pad(grid, ((0, 0), (1, 1), (1, 1)), mode="edge")
    y, x = (np.repeat(np.arange(len(axis.counts)), axis.counts) for axis in (way.rows, way.columns))
    planes = []
    for one in around:
        corners = [one[y + down][:, x + right].ravel() for down in (0, 1) for right in (0, 1)]
        rows, columns = np.repeat(y, len(x)), np.tile(x, len(y))
        blocks = way.surface(corners, rows, columns).reshape(*size, way.rows.block, -1)
        i, j = (
            np.concatenate([np.arange(n) for n in axis.counts]) for axis in (way.rows, way.columns)
        )
        planes.append(blocks[np.arange(size[0])[:, None], np.arange(size[1]), i[:, None], j])
    return np.stack(planes)


@settings(max_examples=150, deadline=None)
@given(
    arrays(np.float32, (3, 4, 5), elements=LOGIT),
    SIZES,
    st.sampled_from([(16, 20), (16, 17), (13, 20), (9, 3)]),
    st.sampled_from([0.2, 0.5, 0.9]),
)
def test_labels_are_those_of_all_pixels_sigmoids(
    x: np.ndarray, size: tuple[int, int], picture: tuple[int, int], threshold: float
) -> None:
    box = Letterbox(*picture)
    x = crop(x, box, SPEC)
    way = enlargement(box, SPEC, (4, 5), *size)
    expected = merge(sigmoid(every_pixel(x, way, size)), np.ones(3, np.bool_), 0.1, threshold)
    numbers = np.array([7, 2, 9], np.uint8)
    drawn = draw_labels(x, numbers, way, 0.1, threshold)
    np.testing.assert_array_equal(drawn, np.array([0, 7, 2, 9])[expected])


@pytest.mark.parametrize("size", [(72, 128), (48, 85), (61, 47), (20, 30), (3, 4)])
def test_masks_are_enlarged_as_pictures_are(size: tuple[int, int]) -> None:
    grid = np.random.default_rng(0).normal(0, 3, (1, 4, 5)).astype(np.float32)
    whole = Letterbox(16, 20)
    plane = every_pixel(grid, enlargement(whole, SPEC, (4, 5), *size), size)[0]
    expected = cv2.resize(grid[0], size[::-1], interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(plane, expected, atol=2e-4)


def test_sigmoid_saturates_without_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        values = sigmoid(np.float32([-1000, -1, 0, 1, 1000]))
    np.testing.assert_allclose(values, [0, 0.26894143, 0.5, 0.7310586, 1], rtol=1e-6)
    assert values.dtype == np.float32


def test_exactly_half_is_foreground_and_below_is_not() -> None:
    below = np.nextafter(np.float32(0.5), np.float32(0))
    p = np.array([[[0.5, below]]], np.float32)
    assert merge(p, np.array([True])).tolist() == [[1, 0]]


def test_the_earlier_object_wins_a_tie_of_saturated_probabilities() -> None:
    p = np.ones((3, 1, 1), np.float32)
    assert merge(p, np.array([False, True, True])).item() == 2


def test_too_many_objects_or_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="255"):
        merge(np.zeros((256, 1, 1), np.float32), np.ones(256, np.bool_))
    with pytest.raises(ValueError, match=r"\[P\]"):
        merge(np.zeros((2, 1, 1), np.float32), np.ones(3, np.bool_))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (3, 5), (720, 1280), (4097, 4096)])
def test_the_extent_of_a_label_is_that_of_its_pixels(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    labels = np.zeros(shape, np.uint8)
    for label in (7, 255, 3, 255):  # boxes one over the other
        (top, bottom), (left, right) = (np.sort(rng.integers(0, side + 1, 2)) for side in shape)
        labels[top:bottom, left:right] = label
    for label in (0, 3, 7, 9, 255):
        rows, columns = np.nonzero(labels == label)
        found = extent(labels, label)
        if not len(rows):
            assert found is None
            continue
        assert found is not None and found.area == len(rows)
        assert (found.x, found.y) == (columns.min(), rows.min())
        assert (found.width, found.height) == (np.ptp(columns) + 1, np.ptp(rows) + 1)
        assert found.centroid == pytest.approx((columns.mean(), rows.mean()), abs=1e-9)
