"""The distance tells a familiar image from an unfamiliar one, whatever the transport did."""

import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiseg_ros.errors import BundleError
from actiseg_ros.gate.novelty import NoveltyDetector, load_novelty, save_novelty
from actiseg_ros.vision.image_descriptor import (
    SIZE,
    ImageDescriptor,
    image_statistics,
    patch_features,
)
from training.deploy.corruptions import channels, mirrored, turned
from training.deploy.novelty import Descriptors, altered, fit_novelty


def scene(seed: int) -> np.ndarray:
    """A plain table with a few discs; light and colours differ."""
    random = np.random.default_rng(seed)
    image = np.full((90, 160, 3), random.integers(90, 180, 3), np.uint8)
    for _ in range(4):
        centre = (int(random.integers(160)), int(random.integers(90)))
        cv2.circle(
            image, centre, int(random.integers(8, 20)), random.integers(0, 255, 3).tolist(), -1
        )
    noise = np.random.default_rng(seed).normal(0, 4, image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8)


def describe(image: np.ndarray) -> ImageDescriptor:
    """With the colours of 8x8 cells in the place of a network's features."""
    cells = cv2.resize(image, (20, 12), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    return ImageDescriptor(patch_features(cells.transpose(2, 0, 1)), image_statistics(image))


def several(images: list[np.ndarray], groups: list[str]) -> Descriptors:
    found = [describe(image) for image in images]
    return Descriptors(
        groups,
        np.stack([one.patches for one in found]),
        np.stack([one.statistics for one in found]),
    )


@pytest.fixture(scope="module")
def world() -> tuple[NoveltyDetector, np.ndarray]:
    random = np.random.default_rng(0)
    images = [scene(seed) for seed in range(60)]
    changed = [altered(image, random) for image in images]
    groups = [f"video{index % 12}" for index in range(60)] * 2
    return fit_novelty(several([*images, *changed], groups))


def distance(detector: NoveltyDetector, image: np.ndarray) -> float:
    return detector.distance(describe(image))


def test_held_out_images_lie_around_one_at_most(world: tuple[NoveltyDetector, np.ndarray]) -> None:
    detector, held_out = world
    assert np.quantile(held_out, 0.9) < 1.2
    new = [distance(detector, scene(seed)) for seed in range(1000, 1030)]
    assert np.median(new) < 1


def covered(image: np.ndarray) -> np.ndarray:
    """A thumb on the lens: large, dark and out of focus."""
    mask = np.zeros(image.shape[:2], np.float32)
    cv2.ellipse(mask, (70, 45), (50, 35), 20, 0, 360, 1, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 5)[..., None]
    return (image * (1 - mask) + 30 * mask).astype(np.uint8)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: np.random.default_rng(5).integers(0, 256, image.shape, np.uint8),
        np.zeros_like,
        covered,
        lambda image: image // 4,
        lambda image: cv2.GaussianBlur(image, (0, 0), 4),
        lambda image: image // 64 * 64 + 32,
    ],
    ids=["noise", "black", "covered", "dark", "blurred", "posterised"],
)
def test_spoilt_and_foreign_images_lie_beyond(
    world: tuple[NoveltyDetector, np.ndarray], spoil: Callable[[np.ndarray], np.ndarray]
) -> None:
    detector, held_out = world
    limit = np.quantile(held_out, 0.99)
    found = [distance(detector, spoil(scene(seed))) for seed in range(2000, 2010)]
    assert sum(value > limit for value in found) >= 9, np.round(found, 2)


def room(seed: int) -> np.ndarray:
    """A scene whose lower part is skin-coloured, as where the wearer's arms come in."""
    image = scene(seed)
    image[60:, 40:120] = (image[60:, 40:120] // 4 + np.array([160, 110, 80])).astype(np.uint8)
    return image


def test_lies_of_familiar_parts_are_told_and_what_cannot_be_told_does_no_harm() -> None:
    random = np.random.default_rng(0)
    images = [room(seed) for seed in range(120)]
    groups = [f"video{index % 24}" for index in range(120)]
    lies = [turned, channels, mirrored]
    wrong = [several([lie(image, random) for image in images], groups) for lie in lies]
    detector, held_out = fit_novelty(several(images, groups), lies=wrong)
    assert len(detector.lies) == 2  # mirrored rooms are rooms
    limit = 1.1 * max(1, float(np.quantile(held_out, 0.99)))
    new = [room(seed) for seed in range(500, 540)]
    assert sum(distance(detector, image) > limit for image in new) <= 2
    for lie in lies[:2]:
        assert sum(distance(detector, lie(image, random)) > limit for image in new) >= 28
    plain, without = fit_novelty(several(images, groups))
    # The lies' tails do not loosen the limit for what is foreign by other views.
    edges = [float(np.quantile(distances, 0.99)) for distances in (held_out, without)]
    assert edges[0] <= 1.15 * max(1, edges[1])
    assert all(distance(plain, image) <= distance(detector, image) + 1e-9 for image in new)


def test_what_cannot_be_compared_is_infinitely_far(
    world: tuple[NoveltyDetector, np.ndarray],
) -> None:
    detector, _ = world
    statistics = np.zeros(SIZE, np.float32)

    def far(*views: np.ndarray) -> bool:
        return detector.distance(ImageDescriptor(*views)) == math.inf

    patches = np.zeros((60, 3), np.float32)
    assert far(patches * np.nan, statistics)
    assert far(patches[:, :2], statistics)
    assert far(patches[0], statistics)
    assert far(patches, statistics[:-1])
    assert far(patches, statistics + np.float32(np.inf))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_patches_hold_the_mean_of_a_map_of_any_size(h: int, w: int) -> None:
    features = np.random.default_rng(h * w).normal(size=(5, h, w)).astype(np.float32)
    patches = patch_features(features)
    assert patches.shape == (60, 5)
    np.testing.assert_allclose(patches.mean(0), features.mean((1, 2)), atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([0, 255, None]))
def test_statistics_are_finite_for_any_size_and_content(h: int, w: int, value: int | None) -> None:
    image = np.random.default_rng(h).integers(0, 256, (h, w, 3), np.uint8)
    if value is not None:
        image[:] = value
    statistics = image_statistics(image)
    assert (
        statistics.shape == (SIZE,)
        and statistics.dtype == np.float32
        and np.isfinite(statistics).all()
    )


def test_one_group_and_equal_images_do_not_break_the_fit() -> None:
    image = scene(1)
    detector, held_out = fit_novelty(several([image] * 4, ["v"] * 4))
    assert np.isfinite(held_out).all()
    assert distance(detector, 255 - image) > 100


def test_file_round_trip_and_damage(
    tmp_path: Path, world: tuple[NoveltyDetector, np.ndarray]
) -> None:
    detector, path = world[0], tmp_path / "detector.npz"
    save_novelty(detector, path)
    image = scene(7)
    assert distance(load_novelty(path.read_bytes(), path), image) == pytest.approx(
        distance(detector, image), abs=1e-3
    )
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="calibrat"):
        load_novelty(path.read_bytes(), path)


def test_lies_of_one_recording_of_two_are_learned(tmp_path: Path) -> None:
    """As with one recording that was kept for calibration, and familiar images of another."""
    images = [scene(seed) for seed in range(24)]
    groups = ["kept" if index < 8 else "familiar" for index in range(24)]
    random = np.random.default_rng(0)
    wrong = [several([turned(image, random) for image in images[:8]], groups[:8])]
    detector, held_out = fit_novelty(several(images, groups), lies=wrong)
    assert np.isfinite(held_out).all()
    save_novelty(detector, tmp_path / "novelty.npz")
    load_novelty((tmp_path / "novelty.npz").read_bytes(), tmp_path / "novelty.npz")


@pytest.mark.parametrize(
    ("patches", "statistics", "familiar"),
    [(2.5, 0.0, True), (0.0, 2.5, True), (2.5, 2.5, False), (3.5, -2.0, False), (-2.0, 3.5, False)],
)
def test_strange_in_both_parts_adds_up_and_neither_excuses_the_other(
    patches: float, statistics: float, familiar: bool
) -> None:
    """Drawings in another style stray a little in both."""
    detector = NoveltyDetector(
        patch_mean=np.zeros(1),
        patch_deviation=np.ones(1),
        prototypes=np.zeros((4, 1)),
        typical=np.array([0.0, 0.0, 0.0, 5.0]),
        spread=np.ones(4),
        usual=np.zeros(3),
        unit=np.array([3.0, 3.0, 4.0]),
        statistics_mean=np.zeros(1),
        whitening=np.eye(1),
    )
    image = ImageDescriptor(
        np.full((60, 1), math.exp(patches), np.float32), np.array([statistics + 5], np.float32)
    )
    assert (detector.distance(image) <= 1) == familiar
