"""Fits the novelty detector that the gate's distance needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.novelty import NoveltyDetector, joined, overview
from actiseg_ros.vision.compressed import decode_compressed, encode_jpeg
from training.deploy.spoilt import Seen, fit_spoilt

Rgb = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

SHRINKAGE = 0.3
"""Weight of the identity in the covariance (standardised)."""
_FOLDS, _NETWORK_FOLDS = 12, 4
"""Folds of the Gaussian and of the networks, which take longer to fit."""
_FLOOR = 1e-6


@dataclass(frozen=True)
class Descriptors:
    """What novelty detection sees of N images.

    Attributes:
        groups: Group (video) of each image; images of a group resemble each other.
        patches: float32 [N, L, P, D], features of each image's patches, levels from fine to coarse.
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
    quantile: float = 0.98,
    *,
    spoilt: Sequence[Descriptors] = (),
    seed: int = 0,
) -> tuple[NoveltyDetector, Float64]:
    """Describes what the images look like.

    Args:
        inside: Calibration images and their altered versions.
        quantile: Share of the held-out images that may lie below 1 in both views; each view
            gets an equal part of the rest (Bonferroni), whatever the length of its tail.
        spoilt: For each of some ways to spoil images, images that are spoilt so.
        seed: Of the networks' weights and the order in which they see images.

    Returns:
        The detector fitted on all images, and the distance of each image from a detector fitted
        without its group, float64 [N].
    """
    groups = sorted(set(inside.groups))
    fold = _folds(inside, groups, _FOLDS)
    whole = overview(inside.patches, inside.statistics)
    views = np.zeros((len(whole), 1))
    for held in range(int(fold.max()) + 1):
        test = fold == held
        # One group only leaves nothing to fit on; it then has to describe itself.
        others = _fit(whole[~test] if not test.all() else whole)
        views[test, 0] = [others.strangeness(image) for image in whole[test]]
    network = None
    if spoilt:
        network, odds = fit_spoilt(_seen(inside, spoilt, groups), seed)
    if network is not None:
        views = np.column_stack([views, odds[: len(whole)]])
    usual = np.median(views, axis=0)
    of_each = 1 - (1 - quantile) / views.shape[1]
    unit = np.maximum(np.quantile(views, of_each, axis=0) - usual, _FLOOR)
    detector = replace(_fit(whole), usual=usual, unit=unit, spoilt=network)
    return detector, joined((views - usual) / unit)


def _seen(inside: Descriptors, spoilt: Sequence[Descriptors], groups: Sequence[str]) -> Seen:
    """Familiar and spoilt images together."""
    sets = [inside, *spoilt]
    return Seen(
        np.concatenate([images.patches for images in sets]),
        np.concatenate([images.statistics for images in sets]),
        np.repeat(np.arange(len(sets)), [len(images.groups) for images in sets]),
        np.concatenate([_folds(images, groups, _NETWORK_FOLDS) for images in sets]),
    )


def _folds(images: Descriptors, groups: Sequence[str], count: int) -> npt.NDArray[np.int64]:
    """The fold of each image, fewer than `count`; images of one group share it."""
    return np.array([groups.index(group) % min(count, len(groups)) for group in images.groups])


def _fit(whole: Float64) -> NoveltyDetector:
    """A detector of images, float64 [N, M], without the scale of its distances."""
    mean, width = whole.mean(axis=0), whole.std(axis=0) + _FLOOR
    standard = (whole - mean) / width
    covariance = standard.T @ standard / max(1, len(standard))
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.eye(len(mean))
    # |L^-1 x|^2 = x' C^-1 x for C = L L'.
    whitening = np.linalg.inv(np.linalg.cholesky(covariance)) / width
    return NoveltyDetector(mean, whitening, usual=np.zeros(1), unit=np.ones(1))
