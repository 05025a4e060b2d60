"""Novelty detection: does an image resemble the images of the calibration?

Two views, which are joined. *As a whole*: what the encoder's coarse features are in
each part of the image, how much they differ within it, and what its pixels are like, compared with
the calibration images by a Gaussian (Mahalanobis distance). That finds foreign worlds. *Spoilt*:
networks that tell calibration images from copies that were spoilt as cameras and people do
(`spoilt.py`). That finds what is familiar but wrong, a camera upside down or exchanged colours.
What is foreign often strays a little in both, so the views are joined by their Euclidean norm.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import BundleError
from actiseg_ros.gate.spoilt import SpoiltClassifier
from actiseg_ros.vision.image_descriptor import PATCHES, ImageDescriptor

FloatArray = npt.NDArray[np.float64]

COARSE = 2
"""So many of the coarsest levels tell what parts are known; fine ones hold edges, which all worlds
share."""
_BANDS = 3
_SMALLEST = 1e-3


@dataclass(frozen=True)
class NoveltyDetector:
    """What the calibration images look like.

    Both views are scaled so that 0 is the median of held-out calibration images, and 1 a quantile
    that calibration chooses.

    Attributes:
        mean: float64 [M], mean of the images' `overview`.
        whitening: float64 [M, M], rows that make the deviation from the mean white.
        usual: float64 [1 or 2], median of the images' `strangeness` and of the odds of `spoilt`.
        unit: float64 [1 or 2], from there to what counts as 1, above 0.
        spoilt: Tells spoilt images; None if calibration knows none.
    """

    mean: FloatArray
    whitening: FloatArray
    usual: FloatArray
    unit: FloatArray
    spoilt: SpoiltClassifier | None = None

    def distance(self, image: ImageDescriptor) -> float:
        """Distance of an image from the calibration images.

        Returns:
            Number from 0 on; infinity if an input is not finite or of another size.
        """
        patches, statistics = image.patches, image.statistics
        if (
            patches.ndim != 3
            or len(patches) < COARSE
            or patches.shape[1] != PATCHES[0] * PATCHES[1]
            or statistics.ndim != 1
            or not (np.isfinite(patches).all() and np.isfinite(statistics).all())
        ):
            return float("inf")
        whole = overview(patches, statistics)
        if whole.shape != self.mean.shape or not self._read_by_network(image):
            return float("inf")
        views = [self.strangeness(whole)]
        if self.spoilt is not None:
            views.append(self.spoilt(image))
        return float(joined((views - self.usual) / self.unit))

    def strangeness(self, whole: FloatArray) -> float:
        """Logarithm of the Mahalanobis distance of an `overview`, root mean square of its parts."""
        # Not `@`: OpenBLAS would share the product among threads (`one_thread.py`).
        white = np.einsum("ij,j->i", self.whitening, whole - self.mean)
        return float(np.log(np.sqrt(np.mean(white**2)) + _SMALLEST))

    def _read_by_network(self, image: ImageDescriptor) -> bool:
        levels, _, width = image.patches.shape
        return self.spoilt is None or (
            len(self.spoilt.patch_mean) == levels * width
            and self.spoilt.statistics_mean.shape == image.statistics.shape
        )


def joined(views: FloatArray) -> FloatArray:
    """Euclidean norm of what an image strays in its views; nearer than usual is no merit.

    Args:
        views: float64 [..., V], each 0 at the median of familiar images and 1 at a high quantile.

    Returns:
        float64 [...], from 0 on, at least the largest view.
    """
    return np.asarray(np.sqrt((np.maximum(views, 0) ** 2).sum(axis=-1)))


def overview(patches: npt.NDArray[Any], statistics: npt.NDArray[Any]) -> FloatArray:
    """An image as a whole.

    Args:
        patches: float32 [..., L, N, D], row by row from the top, levels from fine to coarse.
        statistics: float32 [..., S].

    Returns:
        float64 [..., 4 C D + S]: of each of the C coarsest levels the mean features of the upper,
        middle and lower third and the logarithm of their spread over all patches; the statistics.
    """
    coarse = np.asarray(patches[..., -COARSE:, :, :], np.float64)
    *before, count, width = coarse.shape
    bands = coarse.reshape(*before, _BANDS, count // _BANDS, width).mean(axis=-2)
    spread = np.log(coarse.std(axis=-2) + _SMALLEST)
    parts = np.concatenate([bands, spread[..., None, :]], axis=-2)
    flat = parts.reshape(*before[:-1], -1)
    return np.concatenate([flat, np.asarray(statistics, np.float64)], axis=-1)


_NAMES = tuple(entry.name for entry in fields(NoveltyDetector) if entry.name != "spoilt")
_OF_SPOILT = tuple(entry.name for entry in fields(SpoiltClassifier))
_PREFIX = "spoilt_"


def save_novelty(
    detector: NoveltyDetector, path: Path, beside: Mapping[str, FloatArray] | None = None
) -> None:
    """Writes a detector as an ``.npz`` file without pickled objects.

    Args:
        detector: The detector.
        path: File; it is replaced.
        beside: Other arrays for the same file, under names of their own.
    """
    arrays = {name: getattr(detector, name) for name in _NAMES}
    if detector.spoilt is not None:
        arrays |= {_PREFIX + name: getattr(detector.spoilt, name) for name in _OF_SPOILT}
    small = {name: np.asarray(array, np.float32) for name, array in arrays.items()}
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **small, **(beside or {}))


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
            spoilt = None
            if _PREFIX + _OF_SPOILT[0] in arrays:
                weights = (np.asarray(arrays[_PREFIX + name], np.float64) for name in _OF_SPOILT)
                spoilt = SpoiltClassifier(*weights)
            own = {name: np.asarray(arrays[name], np.float64) for name in _NAMES}
            found = NoveltyDetector(**own, spoilt=spoilt)
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no calibration data ({error}); calibrate again") from error
    if not _fits(found):
        raise BundleError(f"{path}: its arrays do not fit each other; calibrate again")
    return found


def _fits(found: NoveltyDetector) -> bool:
    """Whether the arrays fit each other and are finite."""
    size, views = found.mean.size, 1 + (found.spoilt is not None)
    return (
        found.mean.shape == (size,)
        and found.whitening.shape == (size, size)
        and found.usual.shape == found.unit.shape == (views,)
        and all(np.isfinite(getattr(found, name)).all() for name in _NAMES)
        and bool((found.unit > 0).all())
        and (found.spoilt is None or found.spoilt.fits)
    )
