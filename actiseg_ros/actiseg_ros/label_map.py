"""One label map out of many objects' probabilities, for the robot and the benchmark alike."""

from __future__ import annotations

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
