"""Fits the novelty detector that the gate's distance needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.novelty import NoveltyDetector, patch_distances
from actiseg_ros.vision.compressed import decode_compressed, encode_jpeg

Rgb = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

PROTOTYPES = 3000
"""Most calibration patches that the detector remembers."""
SHRINKAGE = 0.3
"""Weight of the identity in the statistics' covariance (standardised)."""
_FOLDS = 4
_FLOOR = 1e-6


@dataclass(frozen=True)
class Descriptors:
    """What novelty detection sees of N images.

    Attributes:
        groups: Group (video) of each image; images of a group resemble each other.
        patches: float32 [N, P, D], features of each image's patches.
        statistics: float32 [N, S].
    """

    groups: Sequence[str]
    patches: npt.NDArray[np.float32]
    statistics: npt.NDArray[np.float32]


def altered(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """The image as another camera and another transport might give it.

    Light, slight blur, sensor noise and JPEG compression change; none of these makes an image
    unfamiliar, so the description must not hang on them.
    """
    x = rgb.astype(np.float32) * random.uniform(0.85, 1.15)
    sigma = random.uniform(0.0, 0.8)
    if sigma > 0.2:
        x = cv2.GaussianBlur(x, (0, 0), sigma)
    x += random.normal(0, random.uniform(0, 3), x.shape)
    encoded = encode_jpeg(np.clip(x, 0, 255).astype(np.uint8), int(random.integers(50, 96)))
    return decode_compressed(encoded)


def fit_novelty(
    inside: Descriptors, quantile: float = 0.99, *, seed: int = 0
) -> tuple[NoveltyDetector, Float64]:
    """Describes what the images look like.

    Args:
        inside: Calibration images and their altered versions.
        quantile: Held-out quantile that becomes distance 1.
        seed: Of the choice of prototypes.

    Returns:
        The detector fitted on all images, and the distance of each image from a detector fitted
        without its group, float64 [N].
    """
    random = np.random.default_rng(seed)
    groups = sorted(set(inside.groups))
    fold = np.array([groups.index(group) % min(_FOLDS, len(groups)) for group in inside.groups])
    parts, numbers = np.zeros((len(fold), 3)), np.zeros(len(fold))
    for held in range(int(fold.max()) + 1):
        test = fold == held
        # One group only leaves nothing to fit on; it then has to describe itself.
        train = ~test if not test.all() else test
        parts[test], numbers[test] = _views(_fit(inside, train, random), inside, test)
    typical, spread = parts.mean(axis=0), np.maximum(parts.std(axis=0), _FLOOR)
    foreign = ((parts - typical) / spread).mean(axis=1)
    usual = float(np.median(foreign))
    unit = max(float(np.quantile(foreign, quantile)) - usual, _FLOOR)
    scale = max(float(np.quantile(numbers, quantile)), _FLOOR)
    full = _fit(inside, np.ones(len(fold), np.bool_), random)
    detector = replace(
        full,
        typical=typical,
        spread=spread,
        usual=np.asarray(usual),
        unit=np.asarray(unit),
        whitening=full.whitening / scale,
    )
    return detector, np.maximum(np.maximum((foreign - usual) / unit, numbers / scale), 0.0)


def _views(
    detector: NoveltyDetector, images: Descriptors, chosen: npt.NDArray[np.bool_]
) -> tuple[Float64, Float64]:
    """Patch distances [n, 3] and distances of the statistics [n] of some images."""
    patches = images.patches[chosen].astype(np.float64)
    standard = (patches - detector.patch_mean) / detector.patch_deviation
    parts = np.stack([patch_distances(own, detector.prototypes) for own in standard])
    white = (images.statistics[chosen] - detector.statistics_mean) @ detector.whitening.T
    return parts, np.sqrt(np.mean(white**2, axis=1))


def _fit(
    images: Descriptors, chosen: npt.NDArray[np.bool_], random: np.random.Generator
) -> NoveltyDetector:
    """A detector of some images, without the scales of its views."""
    patches = images.patches[chosen].astype(np.float64)
    patches = patches.reshape(-1, patches.shape[-1])
    mean, deviation = patches.mean(axis=0), patches.std(axis=0) + _FLOOR
    kept = random.choice(len(patches), min(PROTOTYPES, len(patches)), replace=False)
    numbers = images.statistics[chosen].astype(np.float64)
    middle, width = numbers.mean(axis=0), numbers.std(axis=0) + _FLOOR
    standard = (numbers - middle) / width
    covariance = standard.T @ standard / max(1, len(standard) - 1)
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(middle))
    # |L^-1 x|^2 = x' C^-1 x for C = L L'.
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)) / width
    return NoveltyDetector(
        patch_mean=mean,
        patch_deviation=deviation,
        prototypes=(patches[kept] - mean) / deviation,
        typical=np.zeros(3),
        spread=np.ones(3),
        usual=np.asarray(0.0),
        unit=np.asarray(1.0),
        statistics_mean=middle,
        whitening=whitening,
    )
