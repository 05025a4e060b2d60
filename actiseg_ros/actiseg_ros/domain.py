"""Has the network seen images like this one? Distance from the calibration images.

The image encoder gives pooled statistics of its features. Their spread over the calibration
images is described by a mean, the main directions with their standard deviations (shrunk
towards the average, since images of one clip resemble each other and the sample is small), and
the spread of what those directions leave over. Unfamiliar images mostly differ in that rest.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .errors import BundleError

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Domain:
    """Spread of the embeddings of the calibration images.

    Attributes:
        mean: float64 [E].
        basis: float64 [K, E], orthonormal rows.
        deviation: float64 [K], standard deviation along each row, above 0.
        residual: Root mean square length of what the basis leaves over, above 0.
    """

    mean: FloatArray
    basis: FloatArray
    deviation: FloatArray
    residual: float

    def distance(self, embedding: npt.NDArray[np.float32]) -> float:
        """Mahalanobis distance within the main directions joined with the scaled rest.

        Args:
            embedding: float32 [E].

        Returns:
            Number from 0 on, about 1 for a typical calibration image; infinity if the embedding
            is not finite or has another length.
        """
        x = np.asarray(embedding, np.float64)
        if x.shape != self.mean.shape or not np.isfinite(x).all():
            return float("inf")
        centred = x - self.mean
        along = self.basis @ centred
        rest = centred - along @ self.basis
        inner = float(np.mean((along / self.deviation) ** 2))
        outer = float(rest @ rest) / self.residual**2
        return float(np.sqrt(max(inner, outer)))


def fit_domain(
    embeddings: npt.NDArray[np.float32], energy: float = 0.95, shrinkage: float = 0.1
) -> Domain:
    """Describes the spread of embeddings.

    Args:
        embeddings: float32 [N, E], N at least 2.
        energy: Share of the variance that the main directions hold together.
        shrinkage: Weight of the average variance in each direction's variance.

    Returns:
        The description, usable with any later embedding of length E.

    Raises:
        ValueError: Fewer than two embeddings, or some are not finite.
    """
    x = np.asarray(embeddings, np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(f"embeddings of shape {x.shape} must be finite, [N >= 2, E]")
    mean = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    variance = singular**2 / (len(x) - 1)
    floor = np.finfo(np.float32).eps * max(1.0, float(np.abs(mean).max())) ** 2
    total = max(float(variance.sum()), floor)
    kept = 1 + int(np.searchsorted(np.cumsum(variance) / total, energy))
    kept = min(kept, len(variance))
    average = float(variance[:kept].mean())
    shrunk = (1 - shrinkage) * variance[:kept] + shrinkage * average
    rest = max(float(variance[kept:].sum()), 0.01 * total, floor)
    return Domain(mean, rows[:kept], np.sqrt(np.maximum(shrunk, floor)), float(np.sqrt(rest)))


def save_domain(domain: Domain, path: Path) -> None:
    """Writes a domain as an ``.npz`` file without pickled objects."""
    with path.open("wb") as stream:
        np.savez(
            stream,
            mean=domain.mean.astype(np.float32),
            basis=domain.basis.astype(np.float32),
            deviation=domain.deviation.astype(np.float32),
            residual=np.float32(domain.residual),
        )


def load_domain(path: Path) -> Domain:
    """Reads what `save_domain` wrote.

    Raises:
        BundleError: The file is missing, damaged, or its arrays do not fit each other.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            mean, basis, deviation, residual = (
                np.asarray(arrays[key], np.float64)
                for key in ("mean", "basis", "deviation", "residual")
            )
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise BundleError(f"{path}: no calibration data ({error}); calibrate again") from error
    fits = mean.ndim == 1 and basis.shape == (len(deviation), len(mean)) and residual.ndim == 0
    if not fits or not (deviation > 0).all() or not residual > 0 or not np.isfinite(basis).all():
        raise BundleError(f"{path}: its arrays do not fit each other; calibrate again")
    return Domain(mean, basis, deviation, float(residual))
