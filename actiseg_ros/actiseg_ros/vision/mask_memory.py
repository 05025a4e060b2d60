"""Carries masks from one image of a stream to the next, so that they flicker less.

The network sees one image at a time, and outlines that it is unsure of jump between images that
hardly differ. Here the masks before are moved along by optical flow and averaged with the new
ones, as much as the moved picture looks like the new one: what has just been covered or come into
view is the new image's alone.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

WEIGHT = 0.7
"""Share of the masks before, where the picture is the same. Chosen with `SIGMA` on two drawn
videos (seeds 77 and 78): flicker falls and p-mIoU does not."""
SIGMA = 12.0
"""Levels of 255 by which the moved picture may differ until little is taken from it."""
CUT = 0.5
"""Two images that agree less than this, of at most 1, show different scenes."""
MAX_GAP = 0.5
"""Seconds between two images after which nothing is carried over."""
_SURE = 8.0
"""Logits beyond this are no surer, or a surprise would take many images to be believed."""
_SIZE = (160, 90)
"""Columns and rows of the picture in which motion is looked for, whatever its shape: on some flat
ones (160x12 to 160x28) OpenCV's optical flow crashes."""


@dataclass(frozen=True)
class Joined:
    """The answer of a new image together with those before it.

    Attributes:
        masks: float32 [P, h, w], logits.
        active: float32 [P], logits.
    """

    masks: FloatArray
    active: FloatArray


class MaskMemory:
    """Remembers the answer of the last image of one stream. For one thread."""

    def __init__(self) -> None:
        self._flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._key: Hashable = None
        self._taken_ns = 0
        self._picture: npt.NDArray[np.uint8] | None = None
        self._answer: Joined | None = None

    def forget(self) -> None:
        """Carries nothing over to the next image."""
        self._picture = self._answer = None

    def begin(self, key: Hashable, taken_ns: int) -> None:
        """Announces the next image, and forgets what has no say in it.

        Args:
            key: Whatever must be the same for images to have a say in each other: the question,
                the camera, the session.
            taken_ns: When the image was taken, nanoseconds; 0 is unknown.
        """
        gap = (taken_ns - self._taken_ns) * 1e-9
        if key != self._key or min(taken_ns, self._taken_ns) <= 0 or not 0 <= gap <= MAX_GAP:
            self.forget()
        self._key, self._taken_ns = key, taken_ns

    def join(
        self, picture: npt.NDArray[np.uint8], masks: FloatArray, active: FloatArray
    ) -> Joined | None:
        """Joins the answer of a new image with the one before, and remembers the result.

        Args:
            picture: The image, uint8 [H, W, 3] RGB of any size.
            masks: Its masks, logits float32 [P, h, w], which cover the whole image.
            active: Logits float32 [P] that each object is used in the action.

        Returns:
            The joined answer; None if nothing was carried over, and the image's own answer holds.
        """
        small = cv2.resize(picture, _SIZE, interpolation=cv2.INTER_AREA)
        before, answer = self._picture, self._answer
        joined = None
        if before is not None and answer is not None:
            joined = self._joined(small, before, masks, active, answer)
        self._picture, self._answer = small, joined or Joined(masks, active)
        return joined

    def _joined(
        self,
        picture: npt.NDArray[np.uint8],
        before: npt.NDArray[np.uint8],
        masks: FloatArray,
        active: FloatArray,
        answer: Joined,
    ) -> Joined | None:
        now, then = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (picture, before))
        flow = np.asarray(self._flow.calc(now, then, cast("Any", None)))  # where each pixel was
        trust = _trust(picture, before, flow)
        if answer.masks.shape != masks.shape or trust.mean() < CUT:
            return None
        rows, columns = masks.shape[1:]
        scale = np.array([columns / picture.shape[1], rows / picture.shape[0]], np.float32)
        size = (columns, rows)
        moved = cv2.resize(flow, size, interpolation=cv2.INTER_AREA) * scale
        weight = WEIGHT * cv2.resize(trust, size, interpolation=cv2.INTER_AREA)
        carried = np.stack([_pulled(mask, moved) for mask in answer.masks])
        difference = np.clip(carried, -_SURE, _SURE) - np.clip(masks, -_SURE, _SURE)
        return Joined(
            masks + weight * difference,
            active + np.float32(WEIGHT) * (answer.active - active),
        )


def _trust(
    picture: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8], flow: FloatArray
) -> FloatArray:
    """How far each pixel looks as it did where it came from, float32 [h, w] in [0, 1]."""
    rows, columns = picture.shape[:2]
    error = cv2.absdiff(_pulled(before, flow), picture).max(axis=2).astype(np.float32)
    trust = np.exp(-((cv2.GaussianBlur(error, (0, 0), 1.5) / SIGMA) ** 2))
    x, y = _places(flow)
    seen = (x >= 0) & (x <= columns - 1) & (y >= 0) & (y <= rows - 1)
    return np.asarray(trust * seen, np.float32)


def _pulled(values: npt.NDArray[Any], flow: FloatArray) -> npt.NDArray[Any]:
    """Values [h, w] or [h, w, C], each taken from where the flow says it was."""
    x, y = _places(flow)
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def _places(flow: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Columns and rows, float32 [h, w] each, to which a flow [h, w, 2] (x, y) points."""
    rows, columns = flow.shape[:2]
    x, y = (np.arange(size, dtype=np.float32) for size in (columns, rows))
    return x + flow[..., 0], y[:, None] + flow[..., 1]
