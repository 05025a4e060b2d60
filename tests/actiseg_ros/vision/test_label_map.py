"""The label map decides pixels exactly as the official inference does."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actiseg_ros.vision.label_map import merge, merge_logits, sigmoid

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
    st.sampled_from([0.0, -0.0, 1e-9, -1e-9, 6e-8, -1e-7, 1e-3, -1e-3, 20.0, 50.0]),
)


@settings(max_examples=100, deadline=None)
@given(arrays(np.float32, (3, 4, 5), elements=LOGIT), st.sampled_from([0.2, 0.5, 0.9]))
def test_merging_logits_equals_merging_their_sigmoids(x: np.ndarray, threshold: float) -> None:
    expected = merge(sigmoid(x), np.ones(3, np.bool_), 0.1, threshold)
    np.testing.assert_array_equal(merge_logits(list(x), 0.1, threshold), expected)


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
