"""What a clip's label and weight maps say about each prompt."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from training.data.labels import WEIGHT_NEGATIVE
from training.data.transforms import ClipImages

Float32 = npt.NDArray[np.float32]

_LOSS_WEIGHT = np.array([1, 1, 2, *[5] * 253], np.uint8)
"""Weight in the loss of each stored weight: 3 and 4 both become 5 (official loader)."""


def object_masks(
    clip: ClipImages, ids: Sequence[int], positive: Sequence[bool], cleared: bool
) -> npt.NDArray[np.bool_]:
    """Masks of the objects that are to be segmented, bool [P, T, H, W].

    Args:
        clip: Label and weight maps.
        ids: Object id of each prompt.
        positive: Whether each prompt's object is active; the mask of one that is not is empty.
        cleared: Leave out pixels whose stored weight is 3, also of active objects.
    """
    masks = np.zeros((len(ids), *clip.labels.shape), np.bool_)
    for mask, object_id, active in zip(masks, ids, positive, strict=True):
        if active:
            np.equal(clip.labels, object_id, out=mask)
            if cleared:
                mask &= clip.weights != WEIGHT_NEGATIVE
    return masks


def object_weights(
    clip: ClipImages, ids: Sequence[int], use_weights: bool
) -> npt.NDArray[np.uint8]:
    """Loss weights of each prompt, uint8 [P, T, H, W]: 1 outside the object; 1, 2 or 5 inside.

    Args:
        clip: Label and weight maps.
        ids: Object id of each prompt.
        use_weights: Else every weight is 1.
    """
    weights = np.ones((len(ids), *clip.labels.shape), np.uint8)
    if use_weights:
        inside = _LOSS_WEIGHT[clip.weights]
        for own, object_id in zip(weights, ids, strict=True):
            np.copyto(own, inside, where=clip.labels == object_id)
    return weights


def object_boxes(
    clip: ClipImages, ids: Sequence[int], positive: Sequence[bool], cleared: bool
) -> Float32:
    """First and last pixel of each prompt's mask, float32 [P, T, 4] as x1, y1, x2, y2.

    The last pixel is included without adding one; an empty mask has the box (0, 0, 0, 0).

    Args:
        clip: Label and weight maps.
        ids: Object id of each prompt.
        positive: Whether each prompt's object is active.
        cleared: As in `object_masks`.
    """
    return mask_boxes(object_masks(clip, ids, positive, cleared))


def mask_boxes(masks: npt.NDArray[np.bool_]) -> Float32:
    """First and last pixel of each mask, as `object_boxes` gives them.

    Args:
        masks: bool [P, T, H, W].
    """
    boxes = np.zeros((*masks.shape[:2], 4), np.float32)
    flat = masks.view(np.uint8).reshape(-1, *masks.shape[2:])
    for box, mask in zip(boxes.reshape(-1, 4), flat, strict=True):
        x, y, width, height = cv2.boundingRect(mask)
        if width:
            box[:] = x, y, x + width - 1, y + height - 1
    return boxes


def relative_boxes(clip: ClipImages) -> Float32:
    """Boxes as centre x, centre y, width, height in fractions of the clip, float32 [P, T, 4]."""
    low, high = clip.boxes[..., :2], clip.boxes[..., 2:]
    height, width = clip.size
    whole = np.array([width, height, width, height], np.float32)
    return np.concatenate([(low + high) / 2, high - low], axis=-1, dtype=np.float32) / whole
