"""Is an image familiar, or one that a camera or a hand has spoilt?

Some small networks tell calibration images from copies of them that were spoilt in known ways.
Unlike a density they learn what does *not* differ between familiar images: where things lie (a
camera that hangs upside down), which colours go together (red and blue exchanged), how sharp edges
are. They see every patch with its place, and take the mean and the maximum over the patches, since
a fault may show everywhere or on the hands alone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.one_thread import products
from actiseg_ros.vision.image_descriptor import PATCHES, ImageDescriptor

FloatArray = npt.NDArray[np.float64]

_LARGEST = 6.0
"""Standardised inputs are cut off here: far away nothing was learned."""


@dataclass(frozen=True)
class SpoiltClassifier:
    """Weights of E networks, whose answers are averaged.

    Inputs are standardised: of a patch its features at L levels and its place, and the image's
    statistics. Rows are outputs, the last column of a matrix is the constant.

    Attributes:
        patch_mean: float64 [L D].
        patch_deviation: float64 [L D], above 0.
        statistics_mean: float64 [S].
        statistics_deviation: float64 [S], above 0.
        first: float64 [E, H, L D + 3], patches' first layer.
        second: float64 [E, H, H + 1], their second.
        of_statistics: float64 [E, H, S + 1].
        output: float64 [E, 1 + K, 3 H + 1], logits: familiar, then each of K ways to spoil an
            image.
        told: float64 [K], 1 for a way that can be told from familiar images, else 0.
    """

    patch_mean: FloatArray
    patch_deviation: FloatArray
    statistics_mean: FloatArray
    statistics_deviation: FloatArray
    first: FloatArray
    second: FloatArray
    of_statistics: FloatArray
    output: FloatArray
    told: FloatArray

    def __call__(self, image: ImageDescriptor) -> float:
        """Logarithm of the odds that an image is spoilt in one of the ways that can be told."""
        patches, statistics = standardised(self, image.patches[None], image.statistics[None])
        layers = zip(self.first, self.second, self.of_statistics, self.output, strict=True)
        found = []
        for first, second, of_statistics, output in layers:
            seen = _relu(second, _relu(first, patches[0]))
            numbers = _relu(of_statistics, statistics)[0]
            pooled = np.concatenate([seen.mean(axis=0), seen.max(axis=0), numbers])
            found.append(odds(_linear(output, pooled[None])[0], self.told))
        return float(np.mean(found))

    @property
    def fits(self) -> bool:
        """Whether the arrays fit each other and are finite."""
        if self.first.ndim != 3 or not len(self.first):
            return False
        (networks, hidden, _), size = self.first.shape, len(self.statistics_mean)
        width = len(self.patch_mean)
        shapes = {
            "patch_mean": (width,),
            "patch_deviation": (width,),
            "statistics_mean": (size,),
            "statistics_deviation": (size,),
            "first": (networks, hidden, width + 3),
            "second": (networks, hidden, hidden + 1),
            "of_statistics": (networks, hidden, size + 1),
            "output": (networks, 1 + len(self.told), 3 * hidden + 1),
            "told": (len(self.told),),
        }
        return (
            all(getattr(self, name).shape == shape for name, shape in shapes.items())
            and all(np.isfinite(getattr(self, entry.name)).all() for entry in fields(self))
            and bool((self.patch_deviation > 0).all())
            and bool((self.statistics_deviation > 0).all())
            and bool((self.told > 0).any())
        )


def standardised(
    scale: SpoiltClassifier, patches: npt.NDArray[np.float32], statistics: npt.NDArray[np.float32]
) -> tuple[FloatArray, FloatArray]:
    """What the network sees of B images.

    Args:
        scale: Means and deviations.
        patches: [B, L, N, D], N patches row by row.
        statistics: [B, S].

    Returns:
        float64 [B, N, L D + 2], features of each patch at all levels, its row and column from -1 to
        1; and float64 [B, S].
    """
    images, levels, count, width = patches.shape
    flat = patches.transpose(0, 2, 1, 3).reshape(images, count, levels * width)
    seen = _cut((flat - scale.patch_mean) / scale.patch_deviation)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, size) for size in PATCHES), indexing="ij")
    place = np.stack([rows.ravel(), columns.ravel()], axis=-1)
    place = np.broadcast_to(place, (images, *place.shape))
    numbers = _cut((statistics - scale.statistics_mean) / scale.statistics_deviation)
    return np.concatenate([seen, place], axis=-1), numbers


def odds(logits: FloatArray, told: FloatArray) -> FloatArray:
    """Logarithm of the odds of all told ways together against the rest.

    Args:
        logits: float64 [..., 1 + K].
        told: float64 [K], 1 or 0; at least one is 1.

    Returns:
        float64 [...].
    """
    spoilt = np.append(0.0, told) > 0
    found: FloatArray = np.logaddexp.reduce(logits[..., spoilt], axis=-1)
    return found - np.logaddexp.reduce(logits[..., ~spoilt], axis=-1)


def _cut(values: FloatArray) -> FloatArray:
    return np.clip(values, -_LARGEST, _LARGEST)


def _linear(weights: FloatArray, values: FloatArray) -> FloatArray:
    return products(values, weights[:, :-1]) + weights[:, -1]


def _relu(weights: FloatArray, values: FloatArray) -> FloatArray:
    return np.maximum(_linear(weights, values), 0)
