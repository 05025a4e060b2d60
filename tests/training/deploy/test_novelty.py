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
from actiseg_ros.gate.novelty import NoveltyDetector, joined, load_novelty, overview, save_novelty
from actiseg_ros.vision.image_descriptor import (
    SIZE,
    ImageDescriptor,
    image_statistics,
    patch_features,
)
from training.deploy.corruptions import channels, mirrored, turned
from training.deploy.novelty import Descriptors, altered, fit_novelty
from training.deploy.spoilt import Seen, fit_spoilt, repainted


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
    """With the colours of cells in the place of a network's features at two levels."""
    levels = [
        cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        for size in ((40, 24), (20, 12))
    ]
    patches = np.stack([patch_features(level.transpose(2, 0, 1)) for level in levels])
    return ImageDescriptor(patches, image_statistics(image))


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


def test_spoilt_images_of_familiar_parts_are_told_and_what_cannot_be_told_does_no_harm() -> None:
    random = np.random.default_rng(0)
    images = [room(seed) for seed in range(120)]
    groups = [f"video{index % 24}" for index in range(120)]
    ways = [turned, channels, mirrored]
    wrong = [several([spoil(image, random) for image in images], groups) for spoil in ways]
    detector, held_out = fit_novelty(several(images, groups), spoilt=wrong)
    assert detector.spoilt is not None
    assert detector.spoilt.told.tolist() == [1, 1, 0]  # mirrored rooms are rooms
    limit = 1.1 * max(1, float(np.quantile(held_out, 0.99)))
    new = [room(seed) for seed in range(500, 540)]
    assert sum(distance(detector, image) > limit for image in new) <= 2
    for spoil in ways[:2]:
        assert sum(distance(detector, spoil(image, random)) > limit for image in new) >= 28
    plain, without = fit_novelty(several(images, groups))
    assert plain.spoilt is None
    # One view more hardly loosens the limit for what is foreign by the other.
    assert plain.unit[0] <= detector.unit[0] <= 1.4 * plain.unit[0]
    assert (np.quantile([held_out, without], 0.98, axis=1) <= 1.3).all()


def test_the_robots_numbers_are_those_that_calibration_learned_by() -> None:
    """The network is trained by PyTorch and run by NumPy."""
    random = np.random.default_rng(0)
    images = [room(seed) for seed in range(40)]
    wrong = [turned(image, random) for image in images]
    found = several([*images, *wrong], [])
    kinds = np.repeat([0, 1], len(images))
    folds = np.tile(np.arange(len(images)) % 4, 2)
    network, odds = fit_spoilt(Seen(found.patches, found.statistics, kinds, folds))
    assert network is not None and network.fits
    robot = [network(describe(image)) for image in (*images, *wrong)]
    # Held-out numbers come from four other networks, whose answers are alike.
    assert np.corrcoef(robot, odds)[0, 1] > 0.8
    alone = np.zeros_like(folds)  # all describe themselves: the network is the same one
    again, own = fit_spoilt(Seen(found.patches, found.statistics, kinds, alone))
    assert again is not None
    np.testing.assert_allclose([again(describe(image)) for image in images], own[:40], atol=1e-3)


def test_what_cannot_be_compared_is_infinitely_far(
    world: tuple[NoveltyDetector, np.ndarray],
) -> None:
    detector, _ = world
    statistics = np.zeros(SIZE, np.float32)

    def far(*views: np.ndarray) -> bool:
        return detector.distance(ImageDescriptor(*views)) == math.inf

    patches = np.zeros((2, 60, 3), np.float32)
    assert not far(patches, statistics)
    assert far(patches * np.nan, statistics)
    assert far(patches[..., :2], statistics)
    assert far(patches[:, :59], statistics)
    assert far(patches[0], statistics)
    assert far(patches[:1], statistics)
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


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 99))
def test_repainting_keeps_the_shape_and_follows_its_seed(h: int, w: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (h, w, 3), np.uint8)
    once, again = (repainted(image, np.random.default_rng(seed)) for _ in range(2))
    assert once.shape == image.shape and once.dtype == np.uint8
    np.testing.assert_array_equal(once, again)


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


def test_spoilt_images_of_one_recording_of_two_are_learned(tmp_path: Path) -> None:
    """As with one recording that was kept for calibration, and familiar images of another."""
    images = [scene(seed) for seed in range(24)]
    groups = ["kept" if index < 8 else "familiar" for index in range(24)]
    random = np.random.default_rng(0)
    wrong = [several([turned(image, random) for image in images[:8]], groups[:8])]
    detector, held_out = fit_novelty(several(images, groups), spoilt=wrong)
    assert np.isfinite(held_out).all()
    path = tmp_path / "novelty.npz"
    save_novelty(detector, path)
    read, image = load_novelty(path.read_bytes(), path), turned(scene(99), random)
    assert distance(read, image) == pytest.approx(distance(detector, image), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(1.01, 4))
def test_what_strays_further_in_the_same_direction_is_further(
    world: tuple[NoveltyDetector, np.ndarray], seed: int, factor: float
) -> None:
    detector, _ = world
    step = np.random.default_rng(seed).normal(0, 0.1, detector.mean.shape)
    near, far = (detector.strangeness(detector.mean + size * step) for size in (1, factor))
    assert far > near


@given(st.lists(st.floats(-9, 9), min_size=1, max_size=3))
def test_views_are_joined_so_that_none_excuses_another(views: list[float]) -> None:
    found = float(joined(np.array(views)))
    assert found >= max(0, *views) - 1e-9
    assert found == pytest.approx(float(joined(np.array([*views, -1.0]))))
    assert joined(np.array([*views, 0.9])) > found


def test_an_overview_is_of_the_coarse_levels_by_thirds() -> None:
    patches = np.zeros((3, 60, 1), np.float32)
    patches[0] = np.nan  # a fine level
    patches[1, :20], patches[1, 20:40], patches[1, 40:] = 1, 2, 6
    found = overview(patches, np.float32([7]))
    wanted = [1, 2, 6, np.log(patches[1].std() + 1e-3), 0, 0, 0, np.log(1e-3), 7]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
