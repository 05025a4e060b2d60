from __future__ import annotations

import json
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.engine.narration_pairs import NarrationPairs
from training.engine.setup import build_setup
from training.noise.layer import LabelNoise
from training.noise.text import TextNoise
from training.strategies import run_config

NAMES = {1: ("spoon", "teaspoon"), 2: ("plate",), 4: ("knife",), 16: ("onion", "red onion")}


def record(narration: str, narrated: set[int]) -> dict:
    return {
        "narration": narration,
        "object_classes": {
            str(i): {"name": name, "class_id": class_id, "narration": int(class_id in narrated)}
            for i, (class_id, name) in enumerate(
                (class_id, name) for class_id, names in NAMES.items() for name in names
            )
        },
    }


RECORDS = [record("cut onion", {16}), record("put spoon on plate", {1, 2}), record("look", set())]


def test_labels_say_whether_the_narration_names_the_class() -> None:
    prompts, labels = NarrationPairs(RECORDS, seed=0).draw(400, 3)
    narrated = {"cut onion": {16}, "put spoon on plate": {1, 2}}
    class_of = {name: class_id for class_id, names in NAMES.items() for name in names}
    for prompt, label in zip(prompts, labels, strict=True):
        name, _, narration = prompt.partition(" used in the action of ")
        assert label == (class_of[name] in narrated[narration])
    assert 0.4 < sum(labels) / len(labels) < 0.6
    assert any(p.startswith("red onion used in the action of cut onion") for p in prompts)


def test_draws_repeat_for_a_key_and_differ_between_keys() -> None:
    pairs = NarrationPairs(RECORDS, seed=1)
    assert pairs.draw(20, 5, 0) == pairs.draw(20, 5, 0)
    assert pairs.draw(20, 5, 0) != pairs.draw(20, 5, 1)


def test_splits_without_narrated_objects_give_no_pairs() -> None:
    assert not NarrationPairs(RECORDS[2:], seed=0)
    assert NarrationPairs(RECORDS, seed=0)


def test_a_clip_that_narrates_every_class_is_left_out() -> None:
    every = record("put all away", {1, 2, 4, 16})
    assert not NarrationPairs([every], seed=0)
    prompts, _ = NarrationPairs([every, *RECORDS], seed=0).draw(200, 0)
    assert not any(prompt.endswith("put all away") for prompt in prompts)


def test_noisy_names_are_all_that_prompts_without_pictures_tell() -> None:
    records = [
        {
            "seq_id": 1,
            "video": "P01_01",
            "verb": "cut",
            "noun": "pepper",
            "narration": "cut pepper",
            "object_classes": {
                "1": {"name": "pepper", "class_id": 1, "narration": 1, "positive": 1},
                "2": {"name": "pan", "class_id": 2, "narration": 0, "positive": 0},
            },
        }
    ]
    names = {1: ("pepper",), 2: ("pan",)}
    noise = TextNoise(names, 1.0, 0)  # with two classes, each name becomes the other one
    pairs = NarrationPairs(records, 0, LabelNoise(noise.table(records)))
    prompts, labels = pairs.draw(50, 0)
    narrated = {prompt for prompt, label in zip(prompts, labels, strict=True) if label}
    assert narrated == {PROMPT_TEMPLATE.format(object="pan", narration="cut pepper")}


def test_a_split_that_does_not_say_what_is_narrated_is_told(tmp_path: Path) -> None:
    entry = {"name": "pepper", "class_id": 1, "positive": 1}
    clip = {"seq_id": 1, "video": "P01_01", "verb": "cut", "noun": "pepper"}
    clip |= {"narration": "cut pepper", "sparse_frames": [], "object_classes": {"1": entry}}
    split = tmp_path / "ImageSets" / "train.json"
    split.parent.mkdir()
    split.write_text(json.dumps([clip]))
    config = run_config(data=tmp_path, out=tmp_path / "run", preset="tiny")
    said = r"train.json, clip 1: object 1 is .*class_id, name, narration, positive of each"
    with pytest.raises(ActisegError, match=said):
        build_setup(config, config.recipe())
