"""Fits the gate's novelty detector to the calibration images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.gate.novelty import NoveltyDetector
from actiseg_ros.vision.compressed import decode_compressed, encode_jpeg
from actiseg_ros.vision.image_descriptor import image_statistics

Rgb = npt.NDArray[np.uint8]
Float64 = npt.NDArray[np.float64]

ENERGY = 0.95
"""Share of the variance of the embeddings that the main directions hold."""
SHRINKAGE = 0.3
"""Weight of the identity in the discriminant's within-class covariance (standardised)."""
_FOLDS = 4


@dataclass(frozen=True)
class Descriptors:
    """Descriptors of N images, see `ImageDescriptor`.

    Attributes:
        groups: Group (video) of each image; images of a group resemble each other.
        embeddings: float32 [N, E].
        statistics: float32 [N, S].
    """

    groups: Sequence[str]
    embeddings: npt.NDArray[np.float32]
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


def collage(pool: Sequence[Rgb], random: np.random.Generator) -> Rgb:
    """An image that none of the pool resembles: pieces of them thrown over each other, relit.

    Args:
        pool: Images uint8 [h, w, 3] of one size.
        random: Source of the draws.

    Returns:
        uint8 [h, w, 3].
    """
    out = pool[int(random.integers(len(pool)))].copy()
    height, width = out.shape[:2]
    for _ in range(int(random.integers(10, 60))):
        piece = pool[int(random.integers(len(pool)))]
        shift = (int(random.integers(height)), int(random.integers(width)))
        size = random.uniform(0.06, 0.6, 2) * min(height, width)
        place = random.uniform(0, 1, 2) * (width, height)
        mask = np.zeros((height, width), np.uint8)
        if random.random() < 0.5:
            box = (tuple(place.tolist()), tuple(size.tolist()), float(random.uniform(0, 180)))
            cv2.ellipse(mask, box, 1, -1)
        else:
            corners = place + random.uniform(-0.5, 0.5, (4, 2)) * size
            cv2.fillPoly(mask, [corners.astype(np.int32)], 1)
        inside = mask > 0
        pixels = np.roll(piece, shift, (0, 1))[inside].astype(np.float32)
        lit = pixels * random.uniform(0.4, 1.5) + random.normal(0, 12, 3)
        out[inside] = np.clip(lit, 0, 255).astype(np.uint8)
    left, right = random.uniform(0.6, 1.4, 2)
    slope = np.linspace(left, right, width)[None, :, None]
    gamma = random.uniform(0.6, 1.5)
    return np.clip(255 * (out / 255.0) ** gamma * slope, 0, 255).astype(np.uint8)


def collage_statistics(
    pool: Sequence[Rgb], count: int, random: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Statistics of collages, float32 [count, S]."""
    return np.stack([image_statistics(collage(pool, random)) for _ in range(count)])


def fit_novelty(
    inside: Descriptors, outside: npt.NDArray[np.float32], quantile: float = 0.99
) -> tuple[NoveltyDetector, Float64]:
    """Fits a detector to images.

    Args:
        inside: Calibration images and their altered versions.
        outside: Statistics of collages, float32 [M, S].
        quantile: Held-out quantile that becomes distance 1.

    Returns:
        The detector fitted on all images, and the distance of each image by a detector fitted
        without its group, float64 [N].
    """
    groups = sorted(set(inside.groups))
    fold = np.array([groups.index(group) % min(_FOLDS, len(groups)) for group in inside.groups])
    spread, linear = np.zeros(len(fold)), np.zeros(len(fold))
    for held in range(int(fold.max()) + 1):
        test = fold == held
        # One group only leaves nothing to fit on; it then has to describe itself.
        train = ~test if not test.all() else test
        detector = _fit(inside.embeddings[train], inside.statistics[train], outside)
        spread[test] = [detector.spread(x) for x in inside.embeddings[test].astype(np.float64)]
        linear[test] = inside.statistics[test] @ detector.weights + detector.bias
    unit = max(float(np.quantile(spread, quantile)), 1e-6)
    middle = float(np.median(linear))
    step = max(float(np.quantile(linear, quantile)) - middle, 1e-6)
    full = _fit(inside.embeddings, inside.statistics, outside)
    scaled = replace(
        full,
        deviation=full.deviation * unit,
        residual=full.residual * unit,
        weights=full.weights / step,
        bias=(full.bias - middle) / step,
    )
    return scaled, np.maximum(np.maximum(spread / unit, (linear - middle) / step), 0.0)


def _fit(
    embeddings: npt.NDArray[np.float32],
    inside: npt.NDArray[np.float32],
    outside: npt.NDArray[np.float32],
) -> NoveltyDetector:
    weights, bias = _discriminant(inside.astype(np.float64), outside.astype(np.float64))
    return NoveltyDetector(
        *_main_directions(embeddings.astype(np.float64)), weights, np.asarray(bias)
    )


def _main_directions(x: Float64) -> tuple[Float64, Float64, Float64, Float64]:
    """Mean, basis, deviations and residual of embeddings [N, E]."""
    mean = x.mean(axis=0)
    _, singular, rows = np.linalg.svd(x - mean, full_matrices=False)
    variance = singular**2 / max(1, len(x) - 1)
    floor = np.finfo(np.float32).eps * max(1.0, float(np.abs(mean).max())) ** 2
    total = max(float(variance.sum()), floor)
    kept = min(1 + int(np.searchsorted(np.cumsum(variance) / total, ENERGY)), len(variance))
    # Images of a video resemble each other, so single directions are overconfident: shrink.
    shrunk = 0.9 * variance[:kept] + 0.1 * float(variance[:kept].mean())
    rest = max(float(variance[kept:].sum()), 0.01 * total, floor)
    return mean, rows[:kept], np.sqrt(np.maximum(shrunk, floor)), np.sqrt(np.asarray(rest))


def _discriminant(inside: Float64, outside: Float64) -> tuple[Float64, float]:
    """Fisher's linear discriminant, larger for outside; shrunk within-class covariance.

    By hand, because scikit-learn's discriminant weighs both covariances by the classes' sizes and
    shrinks towards their own scale, which is another discriminant; ours would need an estimator
    class longer than this, and a large dependency for it.
    """
    both = np.concatenate([inside, outside])
    mean, deviation = both.mean(axis=0), both.std(axis=0) + 1e-6
    a, b = (inside - mean) / deviation, (outside - mean) / deviation
    within = (np.cov(a.T) + np.cov(b.T)) / 2 + SHRINKAGE * np.eye(len(mean))
    weights = np.linalg.solve(within, b.mean(axis=0) - a.mean(axis=0)) / deviation
    return weights, -float(weights @ mean)
