"""Fits the novelty detector that the gate's distance needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.novelty import NoveltyDetector, overview, strangeness
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
    inside: Descriptors,
    quantile: float = 0.99,
    *,
    lies: Sequence[Descriptors] = (),
    seed: int = 0,
) -> tuple[NoveltyDetector, Float64]:
    """Describes what the images look like.

    Args:
        inside: Calibration images and their altered versions.
        quantile: Held-out quantile that becomes distance 1.
        lies: For each of some lies, images that lie so. A lie that cannot be told from half of the
            familiar images is left out.
        seed: Of the choice of prototypes.

    Returns:
        The detector fitted on all images, and the distance of each image from a detector fitted
        without its group, float64 [N].
    """
    random = np.random.default_rng(seed)
    groups = sorted(set(inside.groups))
    fold = _folds(inside, groups)
    found = np.zeros((len(fold), 4))
    for held in range(int(fold.max()) + 1):
        test = fold == held
        # One group only leaves nothing to fit on; it then has to describe itself.
        train = ~test if not test.all() else test
        found[test] = _distances(_fit(inside, train, random), inside, test)
    typical, spread = found.mean(axis=0), np.maximum(found.std(axis=0), _FLOOR)
    strange = strangeness((found - typical) / spread)
    usual = np.median(strange, axis=0)
    unit = np.maximum(np.quantile(strange, quantile, axis=0) - usual, _FLOOR)
    full = _fit(inside, np.ones(len(fold), np.bool_), random)
    detector = replace(
        full,
        typical=typical,
        spread=spread,
        usual=usual,
        unit=unit,
    )
    views = [((strange - usual) / unit).max(axis=1)]
    fitted = [_fit_lie(inside, lie, groups, quantile) for lie in lies]
    told = [(row, held_out) for row, held_out in fitted if row is not None]
    if told:
        rows, distances = (np.stack(part) for part in zip(*told, strict=True))
        # All lies are one view: else their tails would loosen the limit for the other views.
        excess = float(np.quantile(distances.max(axis=0), quantile)) - 1
        rows[:, -1] -= excess
        detector = replace(detector, lies=rows)
        views.append(distances.max(axis=0) - excess)
    return detector, np.maximum(np.max(views, axis=0), 0.0)


def _folds(images: Descriptors, groups: Sequence[str]) -> npt.NDArray[np.int64]:
    """The fold of each image; images of one group share it."""
    return np.array([groups.index(group) % min(_FOLDS, len(groups)) for group in images.groups])


def _fit_lie(
    inside: Descriptors, lie: Descriptors, groups: Sequence[str], quantile: float
) -> tuple[Float64 | None, Float64]:
    """The row of one lie for `NoveltyDetector.lies`, and held-out distances of `inside`.

    The row is None if the median of the lies does not lie beyond the quantile of the rest.
    """
    familiar, wrong = (overview(images.patches, images.statistics) for images in (inside, lie))
    own, other = _folds(inside, groups), _folds(lie, groups)
    held_out, found = np.zeros(len(familiar)), np.zeros(len(wrong))
    for held in range(int(own.max()) + 1):
        # One group only leaves nothing to fit on; it then has to describe itself.
        alone = bool((own == held).all())
        others = other != held
        # So it is with lies of one group only.
        weights = _line(familiar[(own != held) | alone], wrong[others | (not others.any())])
        held_out[own == held] = familiar[own == held] @ weights[:-1] + weights[-1]
        found[other == held] = wrong[other == held] @ weights[:-1] + weights[-1]
    edge, typical = float(np.quantile(held_out, quantile)), float(np.median(found))
    if typical <= edge + _FLOOR:
        return None, np.zeros(len(familiar))
    row = _line(familiar, wrong) / (typical - edge)
    row[-1] += 1 - edge / (typical - edge)
    return row, 1 + (held_out - edge) / (typical - edge)


def _line(familiar: Float64, wrong: Float64) -> Float64:
    """Fisher's linear discriminant of two classes with a shrunk covariance that they share.

    Args:
        familiar: float64 [N, M].
        wrong: float64 [K, M].

    Returns:
        float64 [M + 1], weights and a constant: 0 halfway between the means, 1 at that of `wrong`.
    """
    mean, width = familiar.mean(axis=0), familiar.std(axis=0) + _FLOOR
    classes = [(images - mean) / width for images in (familiar, wrong)]
    middles = [images.mean(axis=0) for images in classes]
    covariance = sum(
        (images - middle).T @ (images - middle) / (2 * len(images))
        for images, middle in zip(classes, middles, strict=True)
    )
    average = float(np.trace(covariance)) / len(mean) + _FLOOR
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * average * np.eye(len(mean))
    weights = np.linalg.solve(covariance, middles[1] - middles[0])
    weights /= max(float(weights @ (middles[1] - middles[0])) / 2, _FLOOR)
    halfway = (middles[0] + middles[1]) / 2
    return np.append(weights / width, -float(weights @ (halfway + mean / width)))


def _distances(
    detector: NoveltyDetector, images: Descriptors, chosen: npt.NDArray[np.bool_]
) -> Float64:
    """`NoveltyDetector.distances` of some images, [n, 4]."""
    patches = images.patches[chosen].astype(np.float64)
    own = zip(patches, images.statistics[chosen], strict=True)
    return np.stack([detector.distances(*image) for image in own])


def _fit(
    images: Descriptors, chosen: npt.NDArray[np.bool_], random: np.random.Generator
) -> NoveltyDetector:
    """A detector of some images, without the scale of its distances."""
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
        typical=np.zeros(4),
        spread=np.ones(4),
        usual=np.zeros(3),
        unit=np.ones(3),
        statistics_mean=middle,
        whitening=whitening,
    )
