"""One label map out of many objects' probabilities, for the robot and the benchmark alike."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_LABELS = 255
"""A mono8 label map has room for this many objects beside the background."""


def merge(
    probabilities: npt.NDArray[np.float32],
    active: npt.NDArray[np.bool_],
    background: float = 0.1,
    threshold: float = 0.5,
) -> npt.NDArray[np.uint8]:
    """Lets the active objects and the background compete for every pixel.

    As the official ActionVOS inference does: probabilities below `threshold` become 0 (exactly
    the threshold stays), the background has a constant probability, and the largest wins. Ties
    go to the earlier object. Large logits saturate at 1 in float32, so that ties are common;
    the comparison therefore has to be done in float32.

    Args:
        probabilities: float32 [P, H, W] in [0, 1].
        active: bool [P]; an object that is not active draws nothing.
        background: Probability of the background, below `threshold`.
        threshold: Smallest probability that counts as foreground.

    Returns:
        uint8 [H, W]: 0 is background, i is the i-th object (counted from 1).

    Raises:
        ValueError: The shapes disagree or there are more than 255 objects.
    """
    if probabilities.ndim != 3 or active.shape != probabilities.shape[:1]:
        raise ValueError(
            f"probabilities {probabilities.shape} and active {active.shape} must be [P, H, W], [P]"
        )
    if len(probabilities) > MAX_LABELS:
        raise ValueError(f"{len(probabilities)} objects, a mono8 label map holds {MAX_LABELS}")
    labels = np.zeros(probabilities.shape[1:], np.uint8)
    best = np.full(labels.shape, background, np.float32)
    for index in np.flatnonzero(active):
        plane = probabilities[index].astype(np.float32, copy=False)
        # Strictly larger keeps the earlier object on a tie, as an argmax does.
        wins = (plane >= np.float32(threshold)) & (plane > best)
        labels[wins] = index + 1
        best[wins] = plane[wins]
    return labels


def sigmoid(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logistic function in float32: no overflow, exactly 0.5 at 0, and 1 for large numbers."""
    e = np.exp(-np.abs(x, dtype=np.float32))
    one = np.float32(1)
    return np.where(x >= 0, one / (one + e), e / (one + e))


def merge_logits(
    logits: Sequence[npt.NDArray[np.float32]], background: float = 0.1, threshold: float = 0.5
) -> npt.NDArray[np.uint8]:
    """`merge` of the objects' sigmoids, computed only where objects compete or are close to it.

    Most pixels belong to one object or to none, and there the logit's side of the threshold
    decides. At full HD this is several times faster than taking all sigmoids.

    Args:
        logits: One float32 [H, W] per object, at least one; all objects count as active.
        background: As in `merge`.
        threshold: As in `merge`, above `background` and below 1.

    Returns:
        uint8 [H, W], as `merge` gives it.

    Raises:
        ValueError: The thresholds are not in order.
    """
    if not background < threshold < 1:
        raise ValueError(f"background {background} < threshold {threshold} < 1 does not hold")
    level = math.log(threshold / (1 - threshold))
    # Wider than float32's rounding of a sigmoid; pixels inside are decided by `merge` itself.
    close = np.float32(1e-3)
    labels = np.zeros(logits[0].shape, np.uint8)
    contested = np.zeros(labels.shape, np.bool_)
    for index, plane in enumerate(logits):
        above = plane > np.float32(level) + close
        contested |= above & (labels > 0)
        contested |= np.abs(plane - np.float32(level)) <= close
        labels[above] = index + 1
    rows, columns = np.nonzero(contested)
    if len(rows):
        p = sigmoid(np.stack([plane[rows, columns] for plane in logits])[:, None])
        labels[rows, columns] = merge(p, np.ones(len(p), np.bool_), background, threshold)[0]
    return labels
