"""Novelty detection: does an image resemble the images of the calibration?

Two views are joined. The network's pooled features are compared with their spread over the
calibration images (Mahalanobis distance in the main directions, and what those leave over). The
image's statistics are judged by a linear discriminant that tells the calibration images from
collages of them (outlier exposure), because a spread alone says little about images that are
unfamiliar only in how their parts come together.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import BundleError
from actiseg_ros.vision.image_descriptor import ImageDescriptor

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoveltyDetector:
    """Spread of the calibration images' descriptors.

    Both views are scaled so that 1 is about the 99 % quantile of held-out calibration images.

    Attributes:
        mean: float64 [E], mean embedding.
        basis: float64 [K, E], orthonormal rows: the main directions.
        deviation: float64 [K], scaled standard deviation along each row, above 0.
        residual: float64 [], scaled root mean square of what the basis leaves over, above 0.
        weights: float64 [S], linear discriminant of the statistics.
        bias: float64 [], added to the discriminant.
    """

    mean: FloatArray
    basis: FloatArray
    deviation: FloatArray
    residual: FloatArray
    weights: FloatArray
    bias: FloatArray

    def distance(self, image: ImageDescriptor) -> float:
        """Distance of an image from the calibration images, by the stricter of both views.

        Args:
            image: Descriptor of the image.

        Returns:
            Number from 0 on; infinity if an input is not finite or has another length.
        """
        x = np.asarray(image.embedding, np.float64)
        statistics = np.asarray(image.statistics, np.float64)
        fits = x.shape == self.mean.shape and statistics.shape == self.weights.shape
        if not fits or not (np.isfinite(x).all() and np.isfinite(statistics).all()):
            return float("inf")
        return max(0.0, self.spread(x), float(self.weights @ statistics + self.bias))

    def spread(self, embedding: npt.NDArray[np.float64]) -> float:
        """Scaled Mahalanobis distance of an embedding [E], from 0 on."""
        centred = embedding - self.mean
        along = self.basis @ centred
        rest = centred - along @ self.basis
        inner = float(np.mean((along / self.deviation) ** 2))
        outer = float(rest @ rest / self.residual**2)
        return float(np.sqrt(max(inner, outer)))


_NAMES = tuple(field.name for field in fields(NoveltyDetector))


def save_novelty(detector: NoveltyDetector, path: Path) -> None:
    """Writes a detector as an ``.npz`` file without pickled objects."""
    arrays = {name: np.asarray(getattr(detector, name), np.float32) for name in _NAMES}
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_novelty(path: Path) -> NoveltyDetector:
    """Reads what `save_novelty` wrote.

    Raises:
        BundleError: The file is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            detector = NoveltyDetector(*(np.asarray(arrays[name], np.float64) for name in _NAMES))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no calibration data ({error}); calibrate again") from error
    fits = (
        detector.mean.ndim == detector.weights.ndim == 1
        and detector.basis.shape == (len(detector.deviation), len(detector.mean))
        and detector.residual.shape == detector.bias.shape == ()
        and all(np.isfinite(getattr(detector, name)).all() for name in _NAMES)
        and bool((detector.deviation > 0).all())
        and bool(detector.residual > 0)
    )
    if not fits:
        raise BundleError(f"{path}: its arrays do not fit each other; calibrate again")
    return detector
