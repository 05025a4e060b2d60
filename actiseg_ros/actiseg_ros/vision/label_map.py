"""One label map out of many objects' probabilities, for the robot and the benchmark alike."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.vision.letterbox import Enlargement

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


@dataclass(frozen=True)
class Extent:
    """Where the pixels of a label lie.

    Attributes:
        area: Their number, above 0.
        x: Leftmost column.
        y: Topmost row.
        width: Columns from the leftmost to the rightmost.
        height: Rows from the topmost to the lowest.
        centroid: Mean column and mean row.
    """

    area: int
    x: int
    y: int
    width: int
    height: int
    centroid: tuple[float, float]


def extent(labels: npt.NDArray[np.uint8], label: int) -> Extent | None:
    """Measures one label of a label map.

    Args:
        labels: uint8 [H, W].
        label: The label.

    Returns:
        Nothing if no pixel has it.
    """
    mask = (labels == label).view(np.uint8)
    rows = cv2.reduce(mask, 1, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    filled = np.flatnonzero(rows)
    if not len(filled):
        return None
    y, height, middle_y = _span(rows, filled)
    columns = cv2.reduce(mask[y : y + height], 0, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
    x, width, middle_x = _span(columns, np.flatnonzero(columns))
    return Extent(int(rows.sum()), x, y, width, height, (middle_x, middle_y))


def _span(counts: npt.NDArray[np.int32], filled: npt.NDArray[np.intp]) -> tuple[int, int, float]:
    """First place, length and mean place of pixels that were counted along one axis."""
    first, last = int(filled[0]), int(filled[-1])
    inside = counts[first : last + 1].astype(np.int64)
    return first, last - first + 1, float(first + np.arange(len(inside)) @ inside / inside.sum())


def sigmoid(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Logistic function in float32: no overflow, exactly 0.5 at 0, and 1 for large numbers."""
    e = np.exp(-np.abs(x, dtype=np.float32))
    one = np.float32(1)
    return np.where(x >= 0, one / (one + e), e / (one + e))


def draw_labels(
    logits: npt.NDArray[np.float32],
    numbers: npt.NDArray[np.uint8],
    enlargement: Enlargement,
    background: float = 0.1,
    threshold: float = 0.5,
) -> npt.NDArray[np.uint8]:
    """`merge` of the sigmoids of enlarged mask logits, without enlarging every mask.

    Between four neighbouring cells a bilinear surface stays within their values. So most of the
    picture is decided by looking at the cells: no mask reaches the threshold there, or exactly one
    does everywhere. What is left, the outlines and where objects compete, is computed pixel by
    pixel. The time thus follows what is drawn rather than the number of objects.

    Args:
        logits: float32 [P, h, w], finite, at least one object; all count as active.
        numbers: Label of each object, uint8 [P], from 1 on.
        enlargement: Way from these cells to the picture's H by W pixels.
        background: As in `merge`.
        threshold: As in `merge`, above `background` and below 1.

    Returns:
        uint8 [H, W], as `merge` gives it, but with these labels.

    Raises:
        ValueError: The thresholds are not in order.
    """
    if not background < threshold < 1:
        raise ValueError(f"background {background} < threshold {threshold} < 1 does not hold")
    level = np.float32(math.log(threshold / (1 - threshold)))
    corners = _corners(logits)
    lowest, highest = _fold(np.minimum, corners), _fold(np.maximum, corners)
    # Another object is certainly more probable, by more than float32 rounds a sigmoid to.
    rival = np.minimum(lowest.max(axis=0), _UNSATURATED) - _CLEARLY
    possible = (highest >= level - _CLOSE) & (highest >= rival)
    whole = (lowest >= level + _CLOSE) & possible & (possible.sum(axis=0) == 1)
    rows, columns = enlargement.rows, enlargement.columns
    quads = (numbers[:, None, None] * whole).max(axis=0)
    labels = quads.repeat(rows.counts, axis=0).repeat(columns.counts, axis=1)
    seen = (rows.counts > 0)[:, None] & (columns.counts > 0)
    objects, top, left = np.nonzero(possible & ~whole & seen)
    if not len(objects):
        return labels
    # Quads that are still open, and for each of their objects in turn the pixels that it wins.
    opened, quad = np.unique(top * seen.shape[1] + left, return_inverse=True)
    best = np.empty((len(opened), rows.block, columns.block), np.float32)
    winner = np.zeros(best.shape, np.uint8)
    values = [corner[objects, top, left] for corner in corners]
    for turn in _turns(quad):
        part = enlargement.surface([value[turn] for value in values], top[turn], left[turn])
        place, own = quad[turn], part >= level
        close = np.abs(part - level) <= _CLOSE
        own[close] = sigmoid(part[close]) >= np.float32(threshold)
        before, held = best[place], winner[place]
        rivals = own & (held > 0)
        # Strictly more probable, as in `merge`: saturated probabilities are equal.
        own[rivals] = sigmoid(part[rivals]) > sigmoid(before[rivals])
        best[place] = np.where(own, part, before)
        winner[place] = np.where(own, numbers[objects[turn]][:, None, None], held)
    y, x = np.divmod(opened, seen.shape[1])
    labels[rows.pixels[y][:, :, None], columns.pixels[x][:, None]] = winner
    return labels


# Wider than what float32 rounds a logit, its interpolation and its sigmoid to.
_CLOSE = np.float32(1e-3)
_CLEARLY = np.float32(1e-2)
_UNSATURATED = np.float32(8)
"""Up to here sigmoids of logits that differ by `_CLEARLY` differ in float32."""


def _corners(logits: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """The cells above left, above right, below left and below right, float32 [P, h + 1, w + 1].

    At the rim the outer cells stand for those that are missing.
    """
    around = np.pad(logits, ((0, 0), (1, 1), (1, 1)), mode="edge")
    above, below = around[:, :-1], around[:, 1:]
    return [above[..., :-1], above[..., 1:], below[..., :-1], below[..., 1:]]


def _fold(choose: np.ufunc, corners: Sequence[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
    return np.asarray(choose(choose(corners[0], corners[1]), choose(corners[2], corners[3])))


def _turns(groups: npt.NDArray[np.intp]) -> Iterator[npt.NDArray[np.intp]]:
    """Positions whose group comes for the first time, then those for the second time, ..."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    first = np.r_[True, ordered[1:] != ordered[:-1]]
    starts = np.flatnonzero(first)
    turn = np.arange(len(order)) - starts[np.cumsum(first) - 1]
    for number in range(int(turn.max()) + 1):
        yield order[turn == number]
