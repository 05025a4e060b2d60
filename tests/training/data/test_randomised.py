"""Randomised kitchens: the same actions, and nothing left that a network could know them by."""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.kitchen.clips import compose_clips, draw_kitchen
from training.data.kitchen.hands import draw_hand, draw_person
from training.data.kitchen.randomised import random_person, random_sprite, random_surface
from training.data.kitchen.render import lens_of
from training.data.kitchen.shapes import draw
from training.data.kitchen.style import Style
from training.data.kitchen.writer import shoot
from training.data.surfaces.compose import cover

PICTURES = "VISOR/GroundTruth-SparseAnnotations/rgb_frames"


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> dict[Style, Path]:
    root = tmp_path_factory.mktemp("kitchens")
    styles: tuple[Style, ...] = ("plain", "randomised")
    for style in styles:
        config = KitchenConfig(6, 5, 0.5, (320, 180), style=style)
        make_kitchen(root / style, config, workers=1, progress=False)
    return {style: root / style for style in styles}


def test_what_happens_is_what_happens_in_the_plain_kitchen(trees: dict[Style, Path]) -> None:
    for table in ("EPIC_100_train.csv", "EPIC_100_validation.csv"):
        plain, randomised = ((tree / "annotations" / table).read_text() for tree in trees.values())
        assert plain == randomised
    plain_pictures, pictures = (
        {path.relative_to(tree): path.read_bytes() for path in (tree / PICTURES).rglob("*.jpg")}
        for tree in trees.values()
    )
    assert plain_pictures.keys() == pictures.keys()
    assert all(pictures[name] != plain_pictures[name] for name in pictures)


def test_same_pictures_for_any_number_of_workers(trees: dict[Style, Path], tmp_path: Path) -> None:
    config = KitchenConfig(6, 5, 0.5, (320, 180), style="randomised")
    make_kitchen(tmp_path / "again", config, workers=2, progress=False)

    def digests(tree: Path) -> list[str]:
        files = sorted((tree / PICTURES).rglob("*.jpg"))
        return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]

    assert digests(tmp_path / "again") == digests(trees["randomised"])


@pytest.mark.parametrize("name", ["knife", "banana", "carrot"])
def test_a_thing_keeps_its_shape_and_loses_its_colours(name: str) -> None:
    colours: dict[str, list[NDArray[np.floating]]] = {"plain": [], "randomised": []}
    for seed in range(12):
        sprite = draw(name, np.random.default_rng(seed))
        other = random_sprite(sprite, np.random.default_rng((seed, 1)))
        np.testing.assert_array_equal(other.alpha, sprite.alpha)
        assert other.outline is sprite.outline and other.grip == sprite.grip
        for style, rgb in (("plain", sprite.rgb), ("randomised", other.rgb)):
            assert np.isfinite(rgb).all()
            lab = cv2.cvtColor(np.clip(rgb, 0, 255) / np.float32(255), cv2.COLOR_BGR2LAB)
            colours[style].append(lab[sprite.alpha > 0.5].mean(0))
    spread = {style: np.std(found, axis=0)[1:].mean() for style, found in colours.items()}
    assert spread["randomised"] > spread["plain"] + 3


@given(seed=st.integers(0, 1 << 30), share=st.floats(0, 1))
def test_a_cover_stays_within_its_mask_and_leaves_light_and_shade(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    light = np.tile(np.linspace(40, 220, 96, dtype=np.float32), (64, 1))
    image = np.repeat(light[..., None], 3, axis=2)
    mask = np.zeros((64, 96), np.float32)
    mask[8:56, 8:88] = 1
    covered = image.copy()
    cover(covered, mask, random_surface(rng), 0.6, share)
    np.testing.assert_array_equal(covered[mask == 0], image[mask == 0])
    assert np.isfinite(covered).all() and covered.min() > -1 and covered.max() < 256
    left, right = covered[8:56, 8:28].mean(), covered[8:56, 68:88].mean()
    assert right > left


def test_nothing_to_cover_is_left_alone() -> None:
    image = np.full((8, 8, 3), 99, np.float32)
    cover(image, np.zeros((8, 8), np.float32), random_surface(np.random.default_rng(0)), 0.6, 1)
    assert (image == 99).all()


def test_hands_differ_in_skin_size_and_cloth() -> None:
    seeds = [np.random.default_rng(seed) for seed in range(24)]
    people = [random_person(draw_person(rng), rng) for rng in seeds]
    assert 4 <= sum(p.sleeve is not None for p in people) < 24
    assert 1 <= sum(p.glove is not None for p in people) < 12
    sizes = [p.size for p in people]
    assert min(sizes) < 1.15 and max(sizes) > 1.4
    means = [
        np.average(hand.rgb.reshape(-1, 3), axis=0, weights=hand.alpha.ravel())
        for hand in (draw_hand(person, True, 1.0) for person in people[:12])
    ]
    assert np.std(means, axis=0).min() > 15


def test_cameras_differ_more_and_stay_usable() -> None:
    brightness: dict[Style, list[float]] = {"plain": [], "randomised": []}
    for style, found in brightness.items():
        for seed in range(5):
            kitchen = draw_kitchen((seed, 0), style)
            (clip,) = compose_clips((seed, 0), kitchen, 1)
            image = shoot(
                kitchen,
                lens_of(style, (seed, 0)),
                clip,
                clip.frames[0],
                np.random.default_rng(seed),
                hands=True,
            )
            found.append(float(image.mean()))
            assert image.std() > 8
    assert np.std(brightness["randomised"]) > np.std(brightness["plain"])
