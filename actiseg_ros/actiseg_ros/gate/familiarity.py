"""Does an image belong to the world of the calibration images?

Two views are joined. The network's pooled features are compared with their spread over the
calibration images (Mahalanobis distance in the main directions, and what those leave over). The
image's appearance is judged by a linear discriminant that tells the calibration images from
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

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """The world of the calibration images.

    Both views are scaled so that 1 is about the 99 % quantile of held-out calibration images.

    Attributes:
        mean: float64 [E], mean embedding.
        basis: float64 [K, E], orthonormal rows: the main directions.
        deviation: float64 [K], scaled standard deviation along each row, above 0.
        residual: float64 [], scaled root mean square of what the basis leaves over, above 0.
        weights: float64 [S], linear discriminant of the appearance.
        bias: float64 [], added to the discriminant.
    """

    mean: FloatArray
    basis: FloatArray
    deviation: FloatArray
    residual: FloatArray
    weights: FloatArray
    bias: FloatArray

    def distance(
        self, embedding: npt.NDArray[np.float32], appearance: npt.NDArray[np.float32]
    ) -> float:
        """Distance of an image from the calibration images, by the stricter of both views.

        Args:
            embedding: float32 [E].
            appearance: float32 [S].

        Returns:
            Number from 0 on; infinity if an input is not finite or has another length.
        """
        x, look = np.asarray(embedding, np.float64), np.asarray(appearance, np.float64)
        fits = x.shape == self.mean.shape and look.shape == self.weights.shape
        if not fits or not (np.isfinite(x).all() and np.isfinite(look).all()):
            return float("inf")
        return max(0.0, self.spread(x), float(self.weights @ look + self.bias))

    def spread(self, embedding: npt.NDArray[np.float64]) -> float:
        """Scaled Mahalanobis distance of an embedding [E], from 0 on."""
        centred = embedding - self.mean
        along = self.basis @ centred
        rest = centred - along @ self.basis
        inner = float(np.mean((along / self.deviation) ** 2))
        outer = float(rest @ rest / self.residual**2)
        return float(np.sqrt(max(inner, outer)))


_NAMES = tuple(field.name for field in fields(Domain))


def save_domain(domain: Domain, path: Path) -> None:
    """Writes a domain as an ``.npz`` file without pickled objects."""
    arrays = {name: np.asarray(getattr(domain, name), np.float32) for name in _NAMES}
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **arrays)


def load_domain(path: Path) -> Domain:
    """Reads what `save_domain` wrote.

    Raises:
        BundleError: The file is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            domain = Domain(*(np.asarray(arrays[name], np.float64) for name in _NAMES))
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no calibration data ({error}); calibrate again") from error
    fits = (
        domain.mean.ndim == domain.weights.ndim == 1
        and domain.basis.shape == (len(domain.deviation), len(domain.mean))
        and domain.residual.shape == domain.bias.shape == ()
        and all(np.isfinite(getattr(domain, name)).all() for name in _NAMES)
        and bool((domain.deviation > 0).all())
        and bool(domain.residual > 0)
    )
    if not fits:
        raise BundleError(f"{path}: its arrays do not fit each other; calibrate again")
    return domain
