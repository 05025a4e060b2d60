"""What novelty detection knows of an image: features of its patches, and statistics of its pixels.

A segmentation network keeps what its task needs and drops the rest, so its features tell that the
*parts* of an image are unlike any that it was calibrated on, and hardly that the camera is dirty.
The statistics keep what the network ignores: how strong, how sparse and how flat the detail of each
region is at each scale, in lightness and in colour.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

PATCHES = (6, 10)
"""Rows and columns of the patches whose features are compared."""
_REGIONS = (9, 16)
_LEVELS = 3
_QUANTILES = (0.1, 0.5, 0.9)
_FLAT = 1.5 / 255
_FLOOR = 1e-3
_SMALLEST = 8
"""Least side of a region in pixels."""

SIZE = len(_QUANTILES) * (3 * 2 + 3 * _LEVELS + 2 * 3 * (_LEVELS - 1))
"""Length of the vector that `image_statistics` returns."""


@dataclass(frozen=True)
class ImageDescriptor:
    """What novelty detection knows of one image.

    Attributes:
        patches: float32 [L, N, D], the encoder's features at L levels from fine to coarse, averaged
            over a grid of N patches.
        statistics: float32 [SIZE], see `image_statistics`.
    """

    patches: FloatArray
    statistics: FloatArray


def patch_features(features: FloatArray) -> FloatArray:
    """Averages a feature map over a grid of patches.

    Args:
        features: float32 [D, h, w], without padding.

    Returns:
        float32 [N, D] with N = 60 patches, row by row.
    """
    rows, columns = (
        _area_weights(size, count) for size, count in zip(features.shape[1:], PATCHES, strict=True)
    )
    pooled = rows @ features @ columns.T
    return np.ascontiguousarray(pooled.reshape(len(features), -1).T, np.float32)


def _area_weights(size: int, count: int) -> FloatArray:
    """Share of each of `size` cells in each of `count` equal parts, float32 [count, size]."""
    edges = np.linspace(0, size, count + 1)
    cells = np.arange(size)
    overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
    overlap = np.maximum(overlap, 0)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


def image_statistics(rgb: Rgb) -> FloatArray:
    """Describes an image at the network's resolution, without a network.

    Mean and spread of each region, and in the bands of a Laplacian pyramid the strength, the
    sparseness and the share of flat pixels: of lightness and of two colour differences, whose
    finest band is left out, since video and JPEG store it coarsely. Of every number three quantiles
    over the regions are kept.

    Args:
        rgb: uint8 [h, w, 3], of any size; comparable only among images of similar size.

    Returns:
        float32 [SIZE], finite.
    """
    missing = [
        max(0, _SMALLEST * regions - side)
        for regions, side in zip(_REGIONS, rgb.shape[:2], strict=True)
    ]
    if any(missing):
        rgb = np.asarray(
            cv2.copyMakeBorder(rgb, 0, missing[0], 0, missing[1], cv2.BORDER_REPLICATE)
        )
    red, green, blue = (plane.astype(np.float32) / 255 for plane in cv2.split(rgb))
    lightness = 0.299 * red + 0.587 * green + 0.114 * blue
    numbers = _of_regions(lightness, finest=True)
    numbers += _of_regions(red - green, finest=False)
    numbers += _of_regions((red + green) / 2 - blue, finest=False)
    table = np.stack([number.ravel() for number in numbers], axis=1)
    return np.quantile(table, _QUANTILES, axis=0).ravel().astype(np.float32)


def _of_regions(plane: FloatArray, *, finest: bool) -> list[FloatArray]:
    """Numbers of every region, float32 [9, 16] each.

    Args:
        plane: float32 [h, w].
        finest: Whether the finest band counts.
    """
    mean = _regions(plane)
    spread = np.sqrt(np.maximum(_regions(plane * plane) - mean * mean, 0))
    numbers = [mean, np.log(spread + _FLOOR)]
    for level in range(_LEVELS):
        coarse = np.asarray(cv2.pyrDown(plane), np.float32)
        band = plane - cv2.pyrUp(coarse, dstsize=plane.shape[::-1])
        plane = coarse
        if level == 0 and not finest:
            continue
        strength = np.abs(band)
        middle = _regions(strength) + _FLOOR
        energy = np.sqrt(_regions(band * band)) + _FLOOR
        flat = _regions((strength < _FLAT).astype(np.float32))
        numbers += [np.log(middle), np.log(energy / middle), flat]
    return numbers


def _regions(plane: FloatArray) -> FloatArray:
    return np.asarray(cv2.resize(plane, _REGIONS[::-1], interpolation=cv2.INTER_AREA), np.float32)
