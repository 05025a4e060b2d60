"""Novelty detection: does an image resemble the images of the calibration?

Each patch's features are compared with the nearest ones of the calibration images (deep nearest
neighbours; a density of several layers or a Gaussian of pooled features tells less), because a
foreign image consists of foreign parts. The pixel statistics are compared with their spread over
the calibration images (Mahalanobis distance), because a camera that is covered, dark, out of focus
or noisy still shows familiar parts. Familiar images stray in the one or in the other, foreign ones
often in both and far in neither, so their sum is looked at too. And what cameras are known to do
wrong, also with familiar parts and detail (one that hangs upside down), is told by a line between
the calibration images and copies of them that were spoilt so. The strictest of these views counts.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import BundleError
from actiseg_ros.vision.image_descriptor import ImageDescriptor

FloatArray = npt.NDArray[np.float64]

NEIGHBOUR = 4
"""A patch is as far from the calibration as its fourth-nearest neighbour there."""
_QUANTILES = (0.25, 0.5, 0.75)
_SMALLEST = 1e-3
_ONE_THREAD = 4 * 65536
"""Multiplications of a product of matrices up to which OpenBLAS takes one thread."""


@dataclass(frozen=True)
class NoveltyDetector:
    """What the calibration images look like.

    All views are scaled so that 1 is about the 98.5 % quantile of held-out calibration images.

    Attributes:
        patch_mean: float64 [D], mean of the patches' features.
        patch_deviation: float64 [D], their standard deviation, above 0.
        prototypes: float64 [K, D], standardised features of K calibration patches.
        typical: float64 [4], mean of an image's `patch_distances` and of the distance of its
            statistics.
        spread: float64 [4], their standard deviations, above 0.
        usual: float64 [3], median of the images' `strangeness`.
        unit: float64 [3], from there to the strangeness that counts as 1, above 0.
        statistics_mean: float64 [S].
        whitening: float64 [S, S], rows that make the statistics' deviation from their mean white.
        lies: float64 [L, M + 1], for each lie a row of weights of `overview` and a constant; their
            sum is 2 at the median of the images that lie so.
    """

    patch_mean: FloatArray
    patch_deviation: FloatArray
    prototypes: FloatArray
    typical: FloatArray
    spread: FloatArray
    usual: FloatArray
    unit: FloatArray
    statistics_mean: FloatArray
    whitening: FloatArray
    lies: FloatArray = field(default_factory=lambda: np.zeros((0, 1)))

    def distance(self, image: ImageDescriptor) -> float:
        """Distance of an image from the calibration images, by the strictest of the views.

        Returns:
            Number from 0 on; infinity if an input is not finite or of another size.
        """
        patches, numbers = np.asarray(image.patches, np.float64), np.asarray(image.statistics)
        fits = (
            patches.ndim == 2
            and patches.shape[1:] == self.patch_mean.shape
            and numbers.shape == self.statistics_mean.shape
        )
        if not fits or not (np.isfinite(patches).all() and np.isfinite(numbers).all()):
            return float("inf")
        found = (self.distances(patches, numbers) - self.typical) / self.spread
        strange = (strangeness(found) - self.usual) / self.unit
        return max(0.0, float(strange.max()), *self._of_lies(image))

    def distances(self, patches: FloatArray, statistics: npt.NDArray[Any]) -> FloatArray:
        """`patch_distances` of an image and the distance of its statistics, as they are.

        Args:
            patches: [N, D].
            statistics: [S].

        Returns:
            float64 [4].
        """
        standard = (patches - self.patch_mean) / self.patch_deviation
        white = self.whitening @ (statistics - self.statistics_mean)
        return np.append(patch_distances(standard, self.prototypes), np.sqrt(np.mean(white**2)))

    def _of_lies(self, image: ImageDescriptor) -> list[float]:
        if not len(self.lies):
            return []
        return [
            float(value) for value in self.lies @ [*overview(image.patches, image.statistics), 1]
        ]


def strangeness(standardised: FloatArray) -> FloatArray:
    """How far an image strays: in its patches, in its statistics, and in both together.

    Args:
        standardised: [..., 4], `NoveltyDetector.distances` in standard deviations.

    Returns:
        float64 [..., 3], the mean of the patches' distances, the distance of the statistics, and
        the sum of the two.
    """
    patches, statistics = standardised[..., :-1].mean(axis=-1), standardised[..., -1]
    return np.stack([patches, statistics, patches + statistics], axis=-1)


def overview(patches: npt.NDArray[Any], statistics: npt.NDArray[Any]) -> FloatArray:
    """What lies are told by: the upper and the lower half's mean features, and the statistics.

    Args:
        patches: [..., N, D], row by row from the top.
        statistics: [..., S].

    Returns:
        float64 [..., 2 D + S].
    """
    half = patches.shape[-2] // 2
    upper, lower = (part.mean(axis=-2) for part in (patches[..., :half, :], patches[..., half:, :]))
    return np.concatenate([upper, lower, statistics], axis=-1).astype(np.float64)


def patch_distances(patches: FloatArray, prototypes: FloatArray) -> FloatArray:
    """How far an image's patches are from known ones, in three numbers.

    Args:
        patches: Standardised features, [N, D].
        prototypes: The same of known patches, [K, D] with K >= `NEIGHBOUR`.

    Returns:
        float64 [3]: logarithms of the lower quartile, median and upper quartile of the patches'
        distances (root mean square over the features) to their fourth-nearest prototype.
    """
    squares = (
        (patches**2).sum(axis=1)[:, None]
        + (prototypes**2).sum(axis=1)
        - _products(2 * patches, prototypes)
    )
    nearest = np.partition(squares, NEIGHBOUR - 1, axis=1)[:, NEIGHBOUR - 1]
    distances = np.sqrt(np.maximum(nearest, 0) / patches.shape[1])
    return np.asarray(np.log(np.quantile(distances, _QUANTILES) + _SMALLEST))


def _products(rows: FloatArray, others: FloatArray) -> FloatArray:
    """``rows @ others.T`` in this thread alone.

    OpenBLAS shares what is larger than `_ONE_THREAD` among its threads, which then wait for each
    other. Where another process has a core, that takes tens of times as long as the product.
    """
    out = np.empty((len(rows), len(others)))
    piece = max(1, _ONE_THREAD // max(1, rows.size))
    for start in range(0, len(others), piece):
        np.matmul(rows, others[start : start + piece].T, out=out[:, start : start + piece])
    return out


_NAMES = tuple(entry.name for entry in fields(NoveltyDetector))


def save_novelty(
    detector: NoveltyDetector, path: Path, beside: Mapping[str, FloatArray] | None = None
) -> None:
    """Writes a detector as an ``.npz`` file without pickled objects.

    Args:
        detector: The detector.
        path: File; it is replaced.
        beside: Other arrays for the same file, under names of their own.
    """
    arrays = {name: np.asarray(getattr(detector, name), np.float32) for name in _NAMES}
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays, **(beside or {}))


def load_novelty(content: bytes, path: Path) -> NoveltyDetector:
    """Reads what `save_novelty` wrote.

    Args:
        content: Bytes of the file.
        path: Where they come from, for messages.

    Raises:
        BundleError: The file is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            found = NoveltyDetector(*(np.asarray(arrays[name], np.float64) for name in _NAMES))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no calibration data ({error}); calibrate again") from error
    width, size = found.patch_mean.shape, found.statistics_mean.shape
    fits = (
        len(width) == len(size) == 1
        and found.patch_deviation.shape == width
        and found.prototypes.ndim == 2
        and found.prototypes.shape[1:] == width
        and len(found.prototypes) >= NEIGHBOUR
        and found.typical.shape == found.spread.shape == (len(_QUANTILES) + 1,)
        and found.usual.shape == found.unit.shape == (3,)
        and found.whitening.shape == size + size
        and found.lies.ndim == 2
        and (not len(found.lies) or found.lies.shape[1] == 2 * width[0] + size[0] + 1)
        and all(np.isfinite(getattr(found, name)).all() for name in _NAMES)
        and bool((found.patch_deviation > 0).all())
        and bool((found.spread > 0).all())
        and bool((found.unit > 0).all())
    )
    if not fits:
        raise BundleError(f"{path}: its arrays do not fit each other; calibrate again")
    return found
