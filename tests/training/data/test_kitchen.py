"""The synthetic kitchen as a VISOR tree: layout, labels, reproducibility, and its ablation."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from actiseg_ros.errors import ActisegError
from training.data.kitchen import KitchenConfig, make_kitchen, parse_size
from training.data.kitchen.vocabulary import CLASS_OF_NAME, SCENERY
from training.data.prepare import prepare

CONFIG = KitchenConfig(clips=10, seed=11, val_share=0.5, frame_size=(854, 480))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kitchen") / "out"
    make_kitchen(out, CONFIG, workers=1, progress=False)
    return out


def digests(folder: Path, pattern: str = "*") -> dict[str, str]:
    files = [p for p in folder.rglob(pattern) if p.is_file()]
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def documents(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    folder = root / "VISOR/GroundTruth-SparseAnnotations/annotations_corrected"
    for path in sorted(folder.glob("*/*.json")):
        for frame in json.loads(path.read_text())["video_annotations"]:
            yield path.parent.name, frame


def rows(root: Path) -> list[dict[str, str]]:
    tables = ("EPIC_100_train.csv", "EPIC_100_validation.csv")
    return [r for t in tables for r in csv.DictReader((root / "annotations" / t).open())]


def fields(value: Any) -> Any:
    """Keys and types of a JSON value; a list stands for its first item."""
    if isinstance(value, dict):
        return {key: fields(item) for key, item in value.items()}
    if isinstance(value, list):
        return [fields(value[0])] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


def test_same_bytes_for_any_number_of_workers(tree: Path, tmp_path: Path) -> None:
    make_kitchen(tmp_path / "again", CONFIG, workers=2, progress=False)
    assert digests(tree) == digests(tmp_path / "again")


def test_seeds_draw_different_kitchens(tree: Path, tmp_path: Path) -> None:
    make_kitchen(tmp_path / "b", KitchenConfig(2, 12, 0.0, (320, 180)), workers=1, progress=False)
    assert not set(digests(tree, "*.jpg").values()) & set(digests(tmp_path / "b", "*.jpg").values())
    assert rows(tree)[0]["narration"] != rows(tmp_path / "b")[0]["narration"]


def test_has_the_fields_of_the_published_layout(tree: Path, shared: Path) -> None:
    real = shared / "parity/data_preparation/input"
    _, ours = next(documents(tree))
    _, theirs = next(documents(real))
    assert fields(ours) == fields(theirs)
    for name in ("visor_hos_train.json", "visor_hos_val.json"):
        a, b = (json.loads((root / "annotations" / name).read_text()) for root in (tree, real))
        assert fields(a) == fields(b)
        assert a["categories"] == b["categories"]
    assert list(rows(tree)[0]) == list(rows(real)[0])
    assert {p.name for p in tree.glob("*/") if p.is_dir()} == {"VISOR", "annotations"}


def test_frames_names_and_times_fit_together(tree: Path) -> None:
    mapping = json.loads((tree / "VISOR/frame_mapping.json").read_text())
    listed = [frame["image"]["name"] for _, frame in documents(tree)]
    assert sorted(listed) == sorted(name for video in mapping.values() for name in video)
    assert len(set(listed)) == len(listed)
    spans: dict[str, list[tuple[int, int]]] = {}
    for row in rows(tree):
        numbers = [int(name[6:16]) for name in mapping[row["video_id"]].values()]
        start, stop = int(row["start_frame"]), int(row["stop_frame"])
        assert 2 <= sum(start <= n <= stop for n in numbers) <= 4
        spans.setdefault(row["video_id"], []).append((start, stop))
    assert len(rows(tree)) == CONFIG.clips
    for ranges in spans.values():
        ordered = sorted(ranges)
        assert all(a[1] < b[0] for a, b in pairwise(ordered))


def test_narrated_nouns_have_their_class_ids(tree: Path) -> None:
    known = {**CLASS_OF_NAME, **SCENERY}
    for row in rows(tree):
        nouns = ast.literal_eval(row["all_nouns"])
        plain = [" ".join([*n.split(":")[1:], n.split(":")[0]]) for n in nouns]
        assert ast.literal_eval(row["all_noun_classes"]) == [known[n] for n in plain]
        assert all(n in row["narration"] for n in plain)
        assert row["noun"] == nouns[0]


def test_class_ids_are_those_of_epic_kitchens(shared: Path) -> None:
    table = csv.DictReader((shared / "epic/EPIC_100_noun_classes_v2.csv").open())
    heads: dict[int, set[str]] = {}
    for row in table:
        names = [row["key"], *ast.literal_eval(row["instances"])]
        heads[int(row["id"])] = {part for name in names for part in name.split(":")}
    assert len(set(CLASS_OF_NAME.values())) >= 30
    for name, class_id in CLASS_OF_NAME.items():
        assert heads[class_id] & set(name.split()), f"{name} is not of class {class_id}"


def test_polygons_follow_the_drawn_pixels(tree: Path, tmp_path: Path) -> None:
    """Painting the hands out changes pixels inside their polygons, and hardly any elsewhere."""
    config = KitchenConfig(CONFIG.clips, CONFIG.seed, 0.5, (854, 480), hands=False)
    make_kitchen(tmp_path / "bare", config, workers=1, progress=False)
    same = {k: v for k, v in digests(tree / "VISOR").items() if k.endswith(".json")}
    assert same.items() <= digests(tmp_path / "bare" / "VISOR").items()
    assert digests(tree / "annotations") == digests(tmp_path / "bare" / "annotations")
    inside, outside = [], []
    for split, frame in documents(tree):
        video, name = frame["image"]["video"], frame["image"]["name"]
        relative = f"VISOR/GroundTruth-SparseAnnotations/rgb_frames/{split}/{video}/{name}"
        a, b = (np.array(cv2.imread(str(r / relative)), int) for r in (tree, tmp_path / "bare"))
        hands = np.zeros((1080, 1920), np.uint8)
        for item in frame["annotations"]:
            if item["class_id"] >= 300:
                cv2.fillPoly(hands, [np.array(s, np.int32) for s in item["segments"]], 1)
        small = cv2.resize(hands, (854, 480), interpolation=cv2.INTER_AREA)
        changed = np.abs(a - b).max(axis=2) > 24
        eroded = cv2.erode(small, np.ones((9, 9), np.uint8))
        near = cv2.dilate(small, np.ones((61, 61), np.uint8))
        if eroded.sum() > 2000:
            inside.append(changed[eroded > 0].mean())
            outside.append(changed[near == 0].mean())
    assert np.median(inside) > 0.6
    assert max(outside) < 0.01


def test_labels_need_both_narration_and_hands(tree: Path, tmp_path: Path) -> None:
    prepare(tree / "VISOR", tree / "annotations", tmp_path, ["train", "val"], workers=1)
    kinds = {"both": 0, "narrated": 0, "touched": 0, "neither": 0}
    for split in ("train", "val"):
        for sequence in json.loads((tmp_path / f"ImageSets/{split}.json").read_text()):
            for item in sequence["object_classes"].values():
                if item["class_id"] >= 300:
                    continue
                key = ("neither", "touched", "narrated", "both")[
                    2 * item["narration"] + item["handbox"]
                ]
                kinds[key] += 1
    total = sum(kinds.values())
    assert total >= 4 * CONFIG.clips
    assert 0.35 <= kinds["neither"] / total <= 0.65
    assert kinds["narrated"] / total > 0.08
    assert kinds["touched"] / total > 0.1


def test_an_interrupted_run_continues(tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    make_kitchen(out, CONFIG, workers=1, progress=False)
    state = json.loads((out / "kitchen.json").read_text())
    make_kitchen(out, CONFIG, workers=1, progress=False)
    (out / "kitchen.json").write_text(json.dumps({**state, "complete": False}))
    next(out.rglob("*.jpg")).unlink()
    make_kitchen(out, CONFIG, workers=1, progress=False)
    assert digests(out) == digests(tree)


def test_refuses_foreign_folders_and_impossible_values(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ActisegError, match="does not hold a kitchen"):
        make_kitchen(tmp_path, CONFIG)
    with pytest.raises(ActisegError, match=r"holds a kitchen made otherwise: .*seed"):
        make_kitchen(tree, KitchenConfig(10, seed=99))
    with pytest.raises(ActisegError, match="val-share"):
        KitchenConfig(5, val_share=1.5)
    with pytest.raises(ActisegError, match="WIDTHxHEIGHT"):
        parse_size("854:480")
    with pytest.raises(ActisegError, match="frame-size: '²x64'; expected WIDTHxHEIGHT"):
        parse_size("²x64")
    assert parse_size("854x480") == (854, 480)
