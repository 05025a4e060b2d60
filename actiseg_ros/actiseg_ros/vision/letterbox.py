"""Fits an image of any size into the network's input, and finds the way back."""

from __future__ import annotations

from dataclasses import dataclass

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
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    normalised = (small.astype(np.float32) / np.float32(255) - mean) / std
    out[:, : small.shape[0], : small.shape[1]] = normalised.transpose(2, 0, 1)
    return out


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


def enlarge(
    grid: npt.NDArray[np.float32], box: Letterbox, spec: InputSpec, height: int, width: int
) -> npt.NDArray[np.float32]:
    """Enlarges mask logits to the original image (bilinear, no corner alignment).

    Args:
        grid: float32 [h, w] over the whole network input.
        box: Place of the picture.
        spec: Input of the image encoder.
        height: Rows of the original image.
        width: Columns of the original image.

    Returns:
        float32 [height, width].
    """
    rows, columns = grid.shape
    if (rows * box.height) % spec.height or (columns * box.width) % spec.width:
        # The picture ends inside a cell: go by way of the network's own resolution.
        grid = cv2.resize(grid, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR)
        content = grid[: box.height, : box.width]
    else:
        content = crop(grid, box, spec)
    content = np.ascontiguousarray(content)
    return np.asarray(
        cv2.resize(content, (width, height), interpolation=cv2.INTER_LINEAR), np.float32
    )
