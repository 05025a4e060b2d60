"""Uncertain pixels (paper Eq. 4) and what they mean for touching and for colliding.

All functions are pure and work on the network's own mask grid (stride 4): enlarging the
probabilities first would thin out the gradients that Eq. 4 looks at.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

BoolMap = npt.NDArray[np.bool_]
FloatMap = npt.NDArray[np.float32]

_NEIGHBOURS = np.ones((3, 3), np.uint8)


def uncertain_pixels(p: FloatMap, tau_m: float = 0.20, tau_e: float = 0.85) -> BoolMap:
    """Paper Eq. 4: near the decision boundary, or with a steep spatial gradient.

    The gradient is the plain 3x3 Sobel operator, not divided by its weights: a normalised one
    stays below 0.71 for probabilities and could never pass `tau_e`.

    Args:
        p: float32 [h, w], probabilities in [0, 1] at mask stride.
        tau_m: Half width of the margin around 0.5 (exclusive).
        tau_e: Limit of the gradient's Euclidean norm (exclusive).

    Returns:
        bool [h, w], the set U of Eq. 4.
    """
    p = np.ascontiguousarray(p, np.float32)
    gx = cv2.Sobel(p, cv2.CV_32F, 1, 0, ksize=3, borderType=cv2.BORDER_REPLICATE)
    gy = cv2.Sobel(p, cv2.CV_32F, 0, 1, ksize=3, borderType=cv2.BORDER_REPLICATE)
    steep = gx * gx + gy * gy > np.float32(tau_e) ** 2
    return np.asarray((np.abs(p - np.float32(0.5)) < np.float32(tau_m)) | steep)


def ambiguous_pixels(p: FloatMap, tau_m: float = 0.20, tau_e: float = 0.85) -> BoolMap:
    """The uncertain pixels whose label is open: Eq. 4 without the outline of a crisp mask.

    Every mask has a steep outline, and the sharper the network the steeper. An outline that
    leaves the margin |p - 0.5| < tau_m within one cell says *where* the object ends, so it is
    no doubt about the object; counting it would forbid small objects altogether, whose outline
    is most of their area. Steep pixels away from the outline do count.

    Args:
        p: float32 [h, w], probabilities in [0, 1] at mask stride.
        tau_m: As in `uncertain_pixels`.
        tau_e: As in `uncertain_pixels`.

    Returns:
        bool [h, w], a subset of `uncertain_pixels(p, tau_m, tau_e)`.
    """
    margin = np.abs(p - np.float32(0.5)) < np.float32(tau_m)
    mask = (p >= 0.5).astype(np.uint8)
    outline = cv2.dilate(mask, _NEIGHBOURS) != cv2.erode(mask, _NEIGHBOURS)
    return np.asarray(margin | (uncertain_pixels(p, tau_m, tau_e) & ~outline))


def p_uncertainty(mask: BoolMap, ambiguous: BoolMap) -> float:
    """Will the mask touch where it says? One minus the worst IoU that is still plausible.

    If the truth may differ from the drawn mask M only at the ambiguous pixels A, its IoU with M
    is at least |M without A| / |M or A|. The uncertainty is one minus that bound, and so grows
    with every ambiguous pixel, inside or outside of the mask.

    Args:
        mask: bool [h, w], pixels drawn for the target.
        ambiguous: bool [h, w], see `ambiguous_pixels`.

    Returns:
        Number in [0, 1]; 1 if nothing is drawn.
    """
    if not mask.any():
        return 1.0
    return float(1.0 - np.count_nonzero(mask & ~ambiguous) / np.count_nonzero(mask | ambiguous))


def n_uncertainty(mask: BoolMap, ambiguous: BoolMap, others: BoolMap) -> float:
    """Does the mask reach what must not be touched?

    The reach R of the target is its mask and its ambiguous pixels; its body B is the largest
    connected piece of the mask. Whatever of R lies outside of the body (spill) or on pixels
    that another object claims (overlap) is counted, in units of the body's area and cut at 1.
    While the body stays the largest piece, more spill or more overlap never lowers the result.

    Args:
        mask: bool [h, w], pixels drawn for the target.
        ambiguous: bool [h, w], see `ambiguous_pixels`.
        others: bool [h, w], pixels that any other candidate object claims or may claim.

    Returns:
        Number in [0, 1]; 1 if nothing is drawn.
    """
    if not mask.any():
        return 1.0
    body = _largest_piece(mask)
    reach = mask | ambiguous
    forbidden = reach & (others | ~body)
    return min(1.0, float(np.count_nonzero(forbidden) / np.count_nonzero(body)))


def claimed_pixels(probabilities: FloatMap, tau_m: float = 0.20) -> BoolMap:
    """Pixels that any of several objects claims or may claim.

    Args:
        probabilities: float32 [K, h, w], K may be 0.
        tau_m: Margin of Eq. 4; above 0.5 - tau_m a pixel may belong to the object.

    Returns:
        bool [h, w].
    """
    return np.asarray((probabilities > np.float32(0.5 - tau_m)).any(axis=0))


def _largest_piece(mask: BoolMap) -> BoolMap:
    """Largest 8-connected piece of a non-empty mask; the first in raster order on a tie."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))
