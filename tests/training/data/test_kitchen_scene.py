"""Movements, casting and drawing of the synthetic kitchen."""

from __future__ import annotations

from collections import Counter

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.kitchen.actions import TEMPLATES, cast_action, cast_among
from training.data.kitchen.hands import draw_person
from training.data.kitchen.motion import Pose, Track, draw_camera
from training.data.kitchen.scene import Hand, Scene, Stay, Thing, label_map
from training.data.kitchen.shapes import LOOKS, Sprite, draw
from training.data.kitchen.vocabulary import CLASS_OF_NAME, VERB_CLASSES, epic_noun
from training.data.kitchen.writer import box_of, visible_segments


def test_every_noun_can_be_drawn_in_varying_instances() -> None:
    assert set(LOOKS) == set(CLASS_OF_NAME)
    for name in CLASS_OF_NAME:
        first, second = (draw(name, np.random.default_rng(s)) for s in (1, 2))
        again = draw(name, np.random.default_rng(1))
        assert np.array_equal(first.rgb, again.rgb), name
        assert first.rgb.shape != second.rgb.shape or not np.array_equal(first.rgb, second.rgb), (
            name
        )
        assert 0.06 * 1920 <= 2 * first.radius <= 0.42 * 1920, name


def test_every_verb_has_a_class() -> None:
    for template in TEMPLATES:
        assert all(verb in VERB_CLASSES for _, verb in template.verbs)


def test_a_class_is_about_as_often_idle_as_used() -> None:
    rng = np.random.default_rng(3)
    used, idle = Counter[int](), Counter[int]()
    for _ in range(3000):
        cast = cast_action(rng)
        used.update(CLASS_OF_NAME[n] for n in cast.used)
        idle.update(CLASS_OF_NAME[n] for n in cast.bystanders)
        names = [*cast.used, *cast.bystanders]
        assert len(set(names)) == len(names)
        narrated = {CLASS_OF_NAME.get(n) for n in cast.narrated}
        assert not narrated & {CLASS_OF_NAME[n] for n in cast.bystanders}
    shares = [used[c] / (used[c] + idle[c]) for c in set(CLASS_OF_NAME.values())]
    assert min(shares) > 0.3
    assert max(shares) < 0.7


def test_casting_among_present_things_uses_only_those() -> None:
    present = {CLASS_OF_NAME[n]: n for n in ("mug", "carrot", "chef knife", "plate", "rag", "milk")}
    rng = np.random.default_rng(0)
    for _ in range(200):
        cast = cast_among(rng, present)
        assert sorted([*cast.used, *cast.bystanders]) == sorted(present.values())


def test_nouns_in_table_form() -> None:
    assert epic_noun("wooden chopping board") == "board:wooden:chopping"
    assert epic_noun("egg") == "egg"


@settings(deadline=None)
@given(st.lists(st.floats(0.1, 3), min_size=1, max_size=6), st.data())
def test_tracks_move_without_jumps(gaps: list[float], data: st.DataObject) -> None:
    track = Track([(0.0, Pose(0, 0))])
    clock = 0.0
    for gap in gaps:
        clock += gap
        track.move(clock, Pose(*(data.draw(st.floats(-500, 500)) for _ in range(4))))
    t = data.draw(st.floats(-1, clock + 1))
    a, b = track.at(t), track.at(t + 1e-4)
    assert abs(a.x - b.x) + abs(a.y - b.y) < 5
    with pytest.raises(ValueError, match="before the last"):
        track.move(clock - 1, Pose(0, 0))


PERSON = draw_person(np.random.default_rng(5))
HANDS: dict[tuple[bool, float], Sprite] = {}


def scene_with(name: str, x: float, y: float) -> Scene:
    rng = np.random.default_rng(5)
    thing = Thing(name, CLASS_OF_NAME[name], draw(name, rng), Track([(0.0, Pose(x, y))]))
    hands = (Hand(False, 400.0), Hand(True, 1500.0, [Stay(1.0, 2.0, 0)]))
    return Scene([thing], hands, draw_camera(rng), PERSON, HANDS)


def test_a_hand_touches_only_during_its_stay_and_moves_smoothly() -> None:
    scene = scene_with("mug", 900, 500)
    assert [bool(scene.at(t).touched) for t in (0.2, 0.99, 1.0, 1.5, 2.0, 2.01, 3.0)] == [
        False, False, True, True, True, False, False,
    ]  # fmt: skip
    tips = np.array([scene.at(t).placed[-1].matrix[:, 2] for t in np.arange(0, 3, 0.01)])
    assert np.hypot(*np.diff(tips, axis=0).T).max() < 60


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_polygons_restore_the_label_map(seed: int) -> None:
    rng = np.random.default_rng(seed)
    name = str(rng.choice(list(CLASS_OF_NAME)))
    scene = scene_with(name, float(rng.uniform(100, 1800)), float(rng.uniform(100, 1000)))
    labels = label_map(scene.at(1.5), 1.0)
    for label in (1, 2, 3):
        segments = visible_segments(labels, label)
        drawn = np.zeros_like(labels)
        if segments:
            cv2.fillPoly(drawn, [np.array(s, np.int32) for s in segments], 1)
            x, y, w, h = box_of(segments)
            rows, cols = np.nonzero(drawn)
            assert (x, y, x + w, y + h) == (cols.min(), rows.min(), cols.max() + 1, rows.max() + 1)
        true = labels == label
        if true.sum() > 2000:
            union = (true | (drawn > 0)).sum()
            assert (true & (drawn > 0)).sum() / union > 0.97
