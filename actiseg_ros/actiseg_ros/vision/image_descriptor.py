"""A global descriptor of an image: the network's features and statistics that it would ignore.

A segmentation network is trained to ignore what does not matter for its task, so that its own
features hardly tell an image of another world from one of its training world. The statistics
keep what it ignores: how strong and how sparse the detail is at each scale, how many colours
there are, and how the outlines hang together.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
Rgb = npt.NDArray[np.uint8]

_LEVELS = 4
_QUANTILES = np.array([0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98])
_BLURS, _CANNY = (0.0, 1.5, 3.0), ((40, 80), (80, 160))
_SMALLEST = 32

SIZE = 4 * (3 * _LEVELS - 2) + 3 * len(_QUANTILES) + 6 + len(_BLURS) * len(_CANNY) * 4
"""Length of the vector that `image_statistics` returns."""


@dataclass(frozen=True)
class ImageDescriptor:
    """What novelty detection knows of one image.

    Attributes:
        embedding: float32 [E], the network's pooled features.
        statistics: float32 [SIZE], see `image_statistics`.
    """

    embedding: FloatArray
    statistics: FloatArray


def image_statistics(rgb: Rgb) -> FloatArray:
    """Describes an image at the network's resolution, without a network.

    Args:
        rgb: uint8 [h, w, 3], of any size; comparable only among images of similar size.

    Returns:
        float32 [SIZE], finite.
    """
    rows, columns = (max(0, _SMALLEST - side) for side in rgb.shape[:2])
    if rows or columns:
        rgb = np.asarray(cv2.copyMakeBorder(rgb, 0, rows, 0, columns, cv2.BORDER_REPLICATE))
    return np.array([*_detail(rgb), *_colours(rgb), *_outlines(rgb)], np.float32)


def _detail(rgb: Rgb) -> list[float]:
    """Strength and sparseness of the bands of a Laplacian pyramid: luminance and two colours."""
    red, green, blue = (plane.astype(np.float32) / 255 for plane in cv2.split(rgb))
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    numbers = []
    for kind, plane in enumerate((luminance, red - green, (red + green) / 2 - blue)):
        for level in range(_LEVELS):
            coarse = cv2.pyrDown(plane)
            band = plane - cv2.pyrUp(coarse, dstsize=plane.shape[::-1])
            plane = coarse
            if kind and not level:
                continue  # video and JPEG store colour at half the resolution
            strength = np.abs(band)
            mean = float(strength.mean()) + 1e-4
            # Every few pixels are enough for quantiles of the large levels.
            middle, high = np.quantile(strength.ravel()[:: 8 >> level or 1], (0.5, 0.95)) / mean
            spread = float(cv2.norm(band) / np.sqrt(band.size)) + 1e-4
            numbers += [np.log(mean), np.log(spread / mean), np.log(middle + 0.01),
                        np.log(high + 0.01)]  # fmt: skip
    return numbers


def _colours(rgb: Rgb) -> list[float]:
    """Quantiles of lightness and colour, number of different colours, clipped pixels."""
    lab = cv2.cvtColor(rgb, cv2.COLOR_RGB2LAB)
    numbers: list[float] = []
    for plane in cv2.split(lab):
        shares = np.cumsum(np.bincount(plane.ravel(), minlength=256)) / plane.size
        numbers += (np.searchsorted(shares, _QUANTILES) / 50).tolist()
    light = lab[..., 0].astype(np.int32) >> 5
    a, b = (np.clip((lab[..., k].astype(np.int32) - 64) >> 3, 0, 15) for k in (1, 2))
    shares = np.bincount((light * 256 + a * 16 + b).ravel()) / light.size
    used = shares[shares > 0]
    brightest = rgb.max(axis=2)
    return [
        *numbers,
        float(-(used * np.log(used)).sum()),
        float(np.log(np.count_nonzero(used > 5e-4) + 1)),
        float(np.log(np.count_nonzero(used > 5e-3) + 1)),
        *(float(np.log(np.mean(part) + 1e-3))
          for part in (brightest >= 250, brightest <= 12, brightest <= 30)),
    ]  # fmt: skip


def _outlines(rgb: Rgb) -> list[float]:
    """Density, number and length of edges at several scales and strengths."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    numbers: list[float] = []
    for blur in _BLURS:
        smooth = cv2.GaussianBlur(grey, (0, 0), blur) if blur else grey
        for low, high in _CANNY:
            edges = cv2.Canny(smooth, low, high)
            count, _, stats, _ = cv2.connectedComponentsWithStats(edges, connectivity=8)
            lengths = stats[1:, cv2.CC_STAT_AREA] if count > 1 else np.ones(1)
            numbers += [
                float(np.log(np.count_nonzero(edges) / edges.size + 1e-4)),
                float(np.log(count)),
                float(np.log(np.quantile(lengths, 0.9))),
                float(np.log(lengths.mean())),
            ]
    return numbers
