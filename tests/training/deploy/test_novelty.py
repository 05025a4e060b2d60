"""The distance tells a familiar image from an unfamiliar one, whatever the transport did."""

import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actiseg_ros.errors import BundleError
from actiseg_ros.gate.appearance import SIZE, appearance
from actiseg_ros.gate.familiarity import Domain, load_domain, save_domain
from training.deploy.novelty import Views, altered, collage, collage_appearances, fit_novelty


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
def world() -> tuple[Domain, np.ndarray]:
    random = np.random.default_rng(0)
    images = [scene(seed) for seed in range(60)]
    changed = [altered(image, random) for image in images]
    both = [*images, *changed]
    inside = Views(
        [f"video{index % 12}" for index in range(60)] * 2,
        np.stack([image.mean((0, 1)) / 255 for image in both]).astype(np.float32),
        np.stack([appearance(image) for image in both]),
    )
    return fit_novelty(inside, collage_appearances(images, 60, random))


def distance(domain: Domain, image: np.ndarray) -> float:
    return domain.distance(np.float32(image.mean((0, 1)) / 255), appearance(image))


def test_held_out_images_lie_around_one_at_most(world: tuple[Domain, np.ndarray]) -> None:
    domain, held_out = world
    assert np.quantile(held_out, 0.9) < 1.2
    new = [distance(domain, scene(seed)) for seed in range(1000, 1030)]
    assert np.median(new) < 1


def test_unfamiliar_images_lie_beyond(world: tuple[Domain, np.ndarray]) -> None:
    domain, held_out = world
    random = np.random.default_rng(5)
    limit = np.quantile(held_out, 0.99)
    for image in (
        random.integers(0, 256, (90, 160, 3), np.uint8),
        np.zeros((90, 160, 3), np.uint8),
        collage([scene(seed) for seed in range(2000, 2010)], random),
    ):
        assert distance(domain, image) > limit


def test_what_cannot_be_compared_is_infinitely_far(world: tuple[Domain, np.ndarray]) -> None:
    domain, _ = world
    look = np.zeros(SIZE, np.float32)
    assert domain.distance(np.full(3, np.nan, np.float32), look) == math.inf
    assert domain.distance(np.zeros(4, np.float32), look) == math.inf
    assert domain.distance(np.zeros(3, np.float32), look[:-1]) == math.inf
    assert domain.distance(np.zeros(3, np.float32), look + np.float32(np.inf)) == math.inf


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.sampled_from([0, 255, None]))
def test_appearance_is_finite_for_any_size_and_content(h: int, w: int, value: int | None) -> None:
    image = np.random.default_rng(h).integers(0, 256, (h, w, 3), np.uint8)
    if value is not None:
        image[:] = value
    look = appearance(image)
    assert look.shape == (SIZE,) and look.dtype == np.float32 and np.isfinite(look).all()


def test_one_group_and_equal_images_do_not_break_the_fit() -> None:
    image = scene(1)
    same = Views(["v"] * 4, np.ones((4, 3), np.float32), np.stack([appearance(image)] * 4))
    domain, held_out = fit_novelty(same, collage_appearances([image], 4, np.random.default_rng(0)))
    assert np.isfinite(held_out).all()
    assert domain.distance(np.float32([1, 1, 1.5]), appearance(image)) > 100


def test_file_round_trip_and_damage(tmp_path: Path, world: tuple[Domain, np.ndarray]) -> None:
    domain, path = world[0], tmp_path / "domain.npz"
    save_domain(domain, path)
    image = scene(7)
    assert distance(load_domain(path), image) == pytest.approx(distance(domain, image), abs=1e-3)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(BundleError, match="calibrat"):
        load_domain(path)
