"""Eq. 4 and the two uncertainties: closed forms, limits and directions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actiseg_ros.gate.uncertainty import (
    ambiguous_pixels,
    claimed_pixels,
    n_uncertainty,
    p_uncertainty,
    uncertain_pixels,
)

MASKS = arrays(np.bool_, (9, 11))
PROBABILITIES = arrays(np.float32, (9, 11), elements=st.floats(0, 1, width=32))


def square(side: int = 4, size: int = 14, high: float = 1.0, low: float = 0.0) -> np.ndarray:
    p = np.full((size, size), low, np.float32)
    p[4 : 4 + side, 5 : 5 + side] = high
    return p


def test_margin_is_open_on_both_sides() -> None:
    p = np.full((3, 4), [0.31, 0.5, 0.69, 0.25], np.float32)
    assert uncertain_pixels(p, tau_e=10.0).tolist() == [[True, True, True, False]] * 3


def test_a_step_edge_fires_and_its_surroundings_do_not() -> None:
    p = np.zeros((6, 8), np.float32)
    p[:, 4:] = 1
    assert uncertain_pixels(p).tolist() == [[False] * 3 + [True] * 2 + [False] * 3] * 6


@pytest.mark.parametrize(("height", "fires"), [(0.21, False), (0.22, True)])
def test_the_gradient_is_the_plain_sobel(height: float, fires: bool) -> None:
    # A step of height s has a Sobel response of 4 s; the limit is 0.85.
    p = np.zeros((5, 6), np.float32)
    p[:, 3:] = height
    assert uncertain_pixels(p, tau_m=0.0).any() == fires


@pytest.mark.parametrize("side", [1, 2, 4, 7])
def test_a_crisp_confident_object_is_certain_at_any_size(side: int) -> None:
    p = square(side)
    ambiguous = ambiguous_pixels(p)
    assert uncertain_pixels(p).any()
    assert p_uncertainty(p >= 0.5, ambiguous) == 0
    assert n_uncertainty(p >= 0.5, ambiguous, np.zeros_like(ambiguous)) == 0


def test_a_soft_object_is_uncertain() -> None:
    p = square(4, high=0.6)
    assert p_uncertainty(p >= 0.5, ambiguous_pixels(p)) == 1


def test_ambiguous_distractor_raises_both() -> None:
    p = square(4)
    p[0:2, 0:2] = 0.45
    ambiguous = ambiguous_pixels(p)
    # Four cells near 0.5, and four beside them where Eq. 4's gradient fires.
    assert p_uncertainty(p >= 0.5, ambiguous) == pytest.approx(8 / 24)
    assert n_uncertainty(p >= 0.5, ambiguous, np.zeros_like(ambiguous)) == pytest.approx(8 / 16)


def test_overlap_with_another_object_is_counted_in_units_of_the_body() -> None:
    p = square(4)
    others = np.zeros(p.shape, np.bool_)
    others[4, 5:9] = True
    assert n_uncertainty(p >= 0.5, ambiguous_pixels(p), others) == pytest.approx(4 / 16)


def test_a_second_piece_is_spill() -> None:
    p = square(4)
    p[12:14, 12:14] = 1
    ambiguous = ambiguous_pixels(p)
    assert n_uncertainty(p >= 0.5, ambiguous, np.zeros_like(ambiguous)) == pytest.approx(4 / 16)


def test_nothing_drawn_is_fully_uncertain() -> None:
    nothing = np.zeros((5, 5), np.bool_)
    assert p_uncertainty(nothing, nothing) == 1
    assert n_uncertainty(nothing, nothing, nothing) == 1


def test_no_other_object_claims_nothing() -> None:
    assert not claimed_pixels(np.zeros((0, 4, 5), np.float32)).any()


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, MASKS)
def test_more_ambiguous_pixels_never_lower_p(m: np.ndarray, a: np.ndarray, b: np.ndarray) -> None:
    assert p_uncertainty(m, a | b) >= p_uncertainty(m, a)


@settings(max_examples=60, deadline=None)
@given(MASKS, MASKS, MASKS, MASKS)
def test_more_overlap_or_doubt_never_lowers_n(
    m: np.ndarray, a: np.ndarray, o: np.ndarray, more: np.ndarray
) -> None:
    assert n_uncertainty(m, a, o | more) >= n_uncertainty(m, a, o)
    assert n_uncertainty(m, a | more, o) >= n_uncertainty(m, a, o)


@settings(max_examples=60, deadline=None)
@given(arrays(np.bool_, (3, 14)), MASKS)
def test_spill_beside_the_body_never_lowers_n(spill: np.ndarray, ambiguous: np.ndarray) -> None:
    mask = square(4) >= 0.5
    doubt = np.zeros_like(mask)
    doubt[:9, :11] = ambiguous
    none = np.zeros_like(mask)
    more = mask.copy()
    more[11:14] |= spill & (np.arange(14) % 3 == 0)  # pieces of at most three pixels
    assert n_uncertainty(more, doubt, none) >= n_uncertainty(mask, doubt, none)


@settings(max_examples=60, deadline=None)
@given(PROBABILITIES, MASKS)
def test_ranges_and_subset(p: np.ndarray, others: np.ndarray) -> None:
    ambiguous = ambiguous_pixels(p)
    assert not (ambiguous & ~uncertain_pixels(p)).any()
    for value in (p_uncertainty(p >= 0.5, ambiguous), n_uncertainty(p >= 0.5, ambiguous, others)):
        assert 0 <= value <= 1


@settings(max_examples=60, deadline=None)
@given(PROBABILITIES)
def test_mirroring_changes_nothing(p: np.ndarray) -> None:
    flipped = np.ascontiguousarray(p[:, ::-1])
    np.testing.assert_array_equal(uncertain_pixels(flipped), uncertain_pixels(p)[:, ::-1])
    assert p_uncertainty(flipped >= 0.5, ambiguous_pixels(flipped)) == (
        p_uncertainty(p >= 0.5, ambiguous_pixels(p))
    )
