"""Fits an image of any size into the network's input, and finds the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import InputSpec


@dataclass(frozen=True)
class Letterbox:
    """Where the picture lies in the network's input: top left, the rest is padding.

    Attributes:
        height: Rows of the picture inside the network's input.
        width: Columns of the picture inside the network's input.
    """

    height: int
    width: int


def fit(height: int, width: int, spec: InputSpec) -> Letterbox:
    """Returns the largest size with the image's aspect that fits into the network's input."""
    scale = min(spec.height / height, spec.width / width)
    return Letterbox(
        height=min(spec.height, max(1, round(height * scale))),
        width=min(spec.width, max(1, round(width * scale))),
    )


def resize(rgb: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.uint8]:
    """Resizes an image to the largest size that fits into the network's input.

    Args:
        rgb: uint8 [H, W, 3].
        spec: Input of the image encoder.

    Returns:
        uint8 [h, w, 3] with the size that `fit` gives.
    """
    box = fit(rgb.shape[0], rgb.shape[1], spec)
    shrinks = box.width < rgb.shape[1] or box.height < rgb.shape[0]
    # Area averaging keeps thin objects from being skipped when the camera's image shrinks a lot.
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(rgb, (box.width, box.height), interpolation=method))


def pad(small: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """Normalises and pads a resized image.

    Args:
        small: uint8 [h, w, 3] from `resize`.
        spec: Input of the image encoder.

    Returns:
        float32 [3, spec.height, spec.width]; padding is zero after normalisation.
    """
    out = np.zeros((3, spec.height, spec.width), np.float32)
    height, width = small.shape[:2]
    for plane, values, place in zip(cv2.split(small), _normalised(spec), out, strict=True):
        place[:height, :width] = cv2.LUT(plane, values)
    return out


@lru_cache(maxsize=4)
def _normalised(spec: InputSpec) -> npt.NDArray[np.float32]:
    """What each sample becomes, float32 [3, 1, 256]: a picture has more pixels than these."""
    mean, std = (np.array(numbers, np.float32)[:, None, None] for numbers in (spec.mean, spec.std))
    return (np.arange(256, dtype=np.float32) / np.float32(255) - mean) / std


def crop(grid: npt.NDArray[np.float32], box: Letterbox, spec: InputSpec) -> npt.NDArray[np.float32]:
    """Cuts the padding off a mask grid.

    Args:
        grid: float32 [..., h, w] over the whole network input.
        box: Place of the picture.
        spec: Input of the image encoder.

    Returns:
        View of `grid`, float32 [..., h', w'], of all cells that touch the picture.
    """
    rows = -(-grid.shape[-2] * box.height // spec.height)
    columns = -(-grid.shape[-1] * box.width // spec.width)
    return grid[..., :rows, :columns]


@dataclass(frozen=True)
class Axis:
    """One axis of an enlargement of n cells.

    Pixels lie in gaps: gap i is what lies between the centres of cells i - 1 and i, and at the rim
    between a cell's centre and the edge.

    Attributes:
        counts: Pixels in each gap, int [n + 1].
        block: Most pixels that a gap has.
        pixels: Their positions, the last repeated where a gap has fewer, int [n + 1, block].
        shares: Share of the cell after the gap, in [0, 1), float32 [n + 1, block].
    """

    counts: npt.NDArray[np.intp]
    block: int
    pixels: npt.NDArray[np.intp]
    shares: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Enlargement:
    """Bilinear way from the cells of a cropped mask grid to the image (no corner alignment)."""

    rows: Axis
    columns: Axis

    def surface(
        self,
        corners: Sequence[npt.NDArray[np.float32]],
        rows: npt.NDArray[np.intp],
        columns: npt.NDArray[np.intp],
    ) -> npt.NDArray[np.float32]:
        """Values of the pixels between four cells each.

        Args:
            corners: The cells above left, above right, below left and below right, float32 [n].
            rows: Gap of each in the rows, [n].
            columns: Gap of each in the columns, [n].

        Returns:
            float32 [n, rows.block, columns.block]; where a gap has fewer pixels the last is
            repeated.
        """
        one = np.float32(1)
        right = self.columns.shares[columns]
        down = self.rows.shares[rows][:, :, None]
        left = one - right
        above, below = (
            (a[:, None] * left + b[:, None] * right)[:, None] for a, b in (corners[:2], corners[2:])
        )
        return np.asarray(above * (one - down) + below * down)


def enlargement(
    box: Letterbox, spec: InputSpec, grid: tuple[int, int], height: int, width: int
) -> Enlargement:
    """How a mask grid that `crop` has cut becomes an image.

    Args:
        box: Place of the picture.
        spec: Input of the image encoder.
        grid: Rows and columns of the mask grid over the whole network input.
        height: Rows of the original image.
        width: Columns of the original image.
    """
    return Enlargement(
        _axis(grid[0] * box.height, spec.height, height),
        _axis(grid[1] * box.width, spec.width, width),
    )


@lru_cache(maxsize=16)
def _axis(covered: int, scale: int, pixels: int) -> Axis:
    """The picture covers `covered / scale` cells, and the last one that it touches is whole."""
    cells = -(-covered // scale)
    place = (np.arange(pixels) + 0.5) * (covered / scale / pixels) + 0.5
    gaps = np.floor(place).astype(np.intp)
    counts = np.bincount(gaps, minlength=cells + 1)
    block = int(counts.max())
    starts = np.cumsum(counts) - counts
    inside = np.minimum(np.arange(block), np.maximum(counts - 1, 0)[:, None])
    # A gap without pixels is never asked for; it only must not point outside.
    chosen = np.minimum(starts[:, None] + inside, pixels - 1)
    return Axis(counts, block, chosen, (place - gaps).astype(np.float32)[chosen])
