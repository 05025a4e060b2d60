"""The distance tells a familiar image from an unfamiliar one, whatever the transport did."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiseg_ros.errors import BundleError
from actiseg_ros.gate.novelty import NoveltyDetector, load_novelty, save_novelty
from actiseg_ros.vision.image_descriptor import SIZE, ImageDescriptor, image_statistics
from training.deploy.novelty import Descriptors, altered, collage, collage_statistics, fit_novelty


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


@pytest.fixture(scope="module")
def world() -> tuple[NoveltyDetector, np.ndarray]:
    random = np.random.default_rng(0)
    images = [scene(seed) for seed in range(60)]
    changed = [altered(image, random) for image in images]
    both = [*images, *changed]
    inside = Descriptors(
        [f"video{index % 12}" for index in range(60)] * 2,
        np.stack([image.mean((0, 1)) / 255 for image in both]).astype(np.float32),
        np.stack([image_statistics(image) for image in both]),
    )
    return fit_novelty(inside, collage_statistics(images, 60, random))


def distance(detector: NoveltyDetector, image: np.ndarray) -> float:
    return detector.distance(
        ImageDescriptor(np.float32(image.mean((0, 1)) / 255), image_statistics(image))
    )


def test_held_out_images_lie_around_one_at_most(world: tuple[NoveltyDetector, np.ndarray]) -> None:
    detector, held_out = world
    assert np.quantile(held_out, 0.9) < 1.2
    new = [distance(detector, scene(seed)) for seed in range(1000, 1030)]
    assert np.median(new) < 1


def test_unfamiliar_images_lie_beyond(world: tuple[NoveltyDetector, np.ndarray]) -> None:
    detector, held_out = world
    random = np.random.default_rng(5)
    limit = np.quantile(held_out, 0.99)
    for image in (
        random.integers(0, 256, (90, 160, 3), np.uint8),
        np.zeros((90, 160, 3), np.uint8),
        collage([scene(seed) for seed in range(2000, 2010)], random),
    ):
        assert distance(detector, image) > limit


def test_what_cannot_be_compared_is_infinitely_far(
    world: tuple[NoveltyDetector, np.ndarray],
) -> None:
    detector, _ = world
    statistics = np.zeros(SIZE, np.float32)

    def far(*views: np.ndarray) -> bool:
        return detector.distance(ImageDescriptor(*views)) == math.inf

    assert far(np.full(3, np.nan, np.float32), statistics)
    assert far(np.zeros(4, np.float32), statistics)
    assert far(np.zeros(3, np.float32), statistics[:-1])
    assert far(np.zeros(3, np.float32), statistics + np.float32(np.inf))


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
    same = Descriptors(
        ["v"] * 4, np.ones((4, 3), np.float32), np.stack([image_statistics(image)] * 4)
    )
    detector, held_out = fit_novelty(same, collage_statistics([image], 4, np.random.default_rng(0)))
    assert np.isfinite(held_out).all()
    far = ImageDescriptor(np.float32([1, 1, 1.5]), image_statistics(image))
    assert detector.distance(far) > 100


def test_file_round_trip_and_damage(
    tmp_path: Path, world: tuple[NoveltyDetector, np.ndarray]
) -> None:
    detector, path = world[0], tmp_path / "detector.npz"
    save_novelty(detector, path)
    image = scene(7)
    assert distance(load_novelty(path), image) == pytest.approx(distance(detector, image), abs=1e-3)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="calibrat"):
        load_novelty(path)
