"""Preparation of the ActionVOS layout: agreement, bad input, resuming."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from actiseg_ros.errors import ActisegError
from tests.training.data.direct_preparation import prepare_directly
from tests.training.data.visor_trees import polygons_file, write_json, write_tree
from training.data import prepare as prepare_module
from training.data.labels import nearest_indices, polygon
from training.data.palette import read_label_png, voc_palette, write_label_png
from training.data.prepare import prepare
from training.data.tree import VisorTree
from training.data.visor import read_mapping, read_polygons

VIDEOS = (("P01_02", "train"), ("P03_05", "train"), ("P02_101", "val"), ("P04_11", "val"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random tree; tests that change it work on a copy."""
    root = tmp_path_factory.mktemp("tree")
    write_tree(root, seed=3, videos=VIDEOS)
    return root


@pytest.fixture
def copied(tree: Path, tmp_path: Path) -> Path:
    shutil.copytree(tree, tmp_path / "tree")
    return tmp_path / "tree"


def run(root: Path, out: Path, **options: Any) -> prepare_module.Summary:
    options = {"workers": 1, "progress": False} | options
    return prepare(root / "VISOR", root / "annotations", out, **options)


def records(out: Path, split: str) -> list[dict[str, Any]]:
    return json.loads((out / "ImageSets" / f"{split}.json").read_text())


def pictures(out: Path) -> dict[str, Path]:
    return {
        str(path.relative_to(out)): path
        for path in out.rglob("*")
        if path.suffix in (".png", ".jpg")
    }


@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_the_plain_algorithm_in_every_pixel(seed: int, tmp_path: Path) -> None:
    write_tree(tmp_path, seed)
    run(tmp_path, tmp_path / "out")
    count = 0
    for split in ("train", "val"):
        expected = prepare_directly(tmp_path, tmp_path / "direct", split)
        assert records(tmp_path / "out", split) == expected
        count += len(expected)
    made, wanted = pictures(tmp_path / "out"), pictures(tmp_path / "direct")
    assert made.keys() == wanted.keys()
    assert count == 0 or made
    for name, path in made.items():
        with Image.open(path) as own, Image.open(wanted[name]) as other:
            assert own.size == (854, 480)
            np.testing.assert_array_equal(np.asarray(own), np.asarray(other), err_msg=name)


def test_label_images_have_the_voc_palette(tmp_path: Path) -> None:
    labels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    write_label_png(tmp_path / "labels.png", labels)
    np.testing.assert_array_equal(read_label_png(tmp_path / "labels.png"), labels)
    with Image.open(tmp_path / "labels.png") as image:
        assert image.mode == "P"
        assert bytes(image.getpalette() or ()) == voc_palette()
    assert list(voc_palette()[:15]) == [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0, 0, 0, 128]
    with pytest.raises(ActisegError, match="mode RGB"):
        Image.new("RGB", (2, 2)).save(tmp_path / "colours.png")
        read_label_png(tmp_path / "colours.png")


def test_two_columns_are_sampled_as_pillow_rounds_them() -> None:
    rows, columns = nearest_indices()
    plain = ((np.arange(854) + 0.5) * 1920 / 854).astype(int)
    assert np.flatnonzero(columns != plain).tolist() == [213, 640]
    assert columns[[213, 640]].tolist() == [479, 1439]
    np.testing.assert_array_equal(rows, ((np.arange(480) + 0.5) * 1080 / 480).astype(int))


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.floats(-3000, 3000)] * 2), min_size=1, max_size=6))
def test_coordinates_are_truncated_toward_zero(points: list[tuple[float, float]]) -> None:
    corners = polygon([list(point) for point in points])
    assert corners.tolist() == [[int(x), int(y)] for x, y in points]


@pytest.mark.parametrize(
    "points",
    [[[1, 2], [3]], [[1, 2, 3]], [[1, float("nan")]], "abc", [[1e12, 0]], None, [["a", 1]]],
)
def test_a_broken_polygon_is_refused(points: Any) -> None:
    with pytest.raises(ValueError, match="polygon"):
        polygon(points)


def remove_image(root: Path) -> str:
    path = next((root / "VISOR").rglob("rgb_frames/train/*/*.jpg"))
    path.unlink()
    return path.name


def truncate_image(root: Path) -> str:
    path = next((root / "VISOR").rglob("rgb_frames/train/*/*.jpg"))
    path.write_bytes(b"\xff\xd8\xff")
    return path.name


def break_polygon(root: Path) -> str:
    path = polygons_file(root, "train", "P01_02")
    content = json.loads(path.read_text())
    for entry in content["video_annotations"]:
        entry["annotations"].append({"name": "pan", "class_id": 5, "segments": [[[1, None]]]})
    write_json(path, content)
    return "'pan'"


def break_json(root: Path) -> str:
    path = polygons_file(root, "train", "P01_02")
    path.write_text(path.read_text()[:-9])
    return path.name


def add_video_without_actions(root: Path) -> str:
    path = polygons_file(root, "train", "P09_09")
    shutil.copy(polygons_file(root, "train", "P01_02"), path)
    return path.name


def break_row(root: Path) -> str:
    path = root / "annotations" / "EPIC_100_train.csv"
    path.write_text(path.read_text() + "P01_02_99,P01,P01_02,0,0,0,x,9,a,b,1,c,2,[],__import__\n")
    return path.name


DAMAGE = [
    remove_image, truncate_image, break_polygon, break_json, add_video_without_actions, break_row,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_reported_with_its_file_and_skipped_or_refused(
    damage: Callable[[Path], str], copied: Path, tmp_path: Path
) -> None:
    whole = run(copied, tmp_path / "whole")
    assert not whole.problems
    named = damage(copied)
    summary = run(copied, tmp_path / "skipped", on_error="skip")
    assert any(named in str(problem) for problem in summary.problems)
    assert any(named in line for line in summary.lines())
    assert records(tmp_path / "skipped", "val") == records(tmp_path / "whole", "val")
    with pytest.raises(ActisegError, match="--on-error skip") as refusal:
        run(copied, tmp_path / "refused", on_error="refuse")
    assert named in str(refusal.value)


@pytest.mark.parametrize("damage", [remove_image, truncate_image])
def test_a_lost_frame_does_not_rename_other_sequences(
    damage: Callable[[Path], str], copied: Path, tmp_path: Path
) -> None:
    run(copied, tmp_path / "whole")
    damage(copied)
    run(copied, tmp_path / "damaged")
    whole = {r["seq_id"]: r for r in records(tmp_path / "whole", "train")}
    damaged = {r["seq_id"]: r for r in records(tmp_path / "damaged", "train")}
    assert damaged.keys() <= whole.keys()
    assert any(damaged.get(key) != record for key, record in whole.items())
    for key, record in damaged.items():
        assert record["narration"] == whole[key]["narration"]
        assert len(record["sparse_frames"]) >= 2
        assert set(record["sparse_frames"]) <= set(whole[key]["sparse_frames"])


def test_an_interrupted_preparation_continues_and_ends_the_same(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copied, tmp_path / "whole")
    monkeypatch.setattr(prepare_module, "_SEQUENCES_PER_TASK", 1)
    out = tmp_path / "out"
    run(copied, out)
    journal = out / ".prepare" / "train.jsonl"
    lines = journal.read_text().splitlines()
    assert len(lines) >= 2
    journal.write_text(lines[0] + "\n" + lines[1][:20])  # killed while it wrote the second line
    (out / "ImageSets" / "train.json").unlink()
    kept = out / "Annotations_Sparse" / "train" / json.loads(lines[0])["name"]
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    summary = run(copied, out)
    assert summary.splits["train"].resumed == 1
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert records(out, "train") == records(tmp_path / "whole", "train")
    assert pictures(out).keys() == pictures(tmp_path / "whole").keys()
    assert run(copied, out).splits["train"].resumed == len(lines)


def test_a_deleted_output_is_made_again(tree: Path, tmp_path: Path) -> None:
    run(tree, tmp_path)
    lost = next((tmp_path / "Weights_Sparse" / "train").rglob("*.png"))
    lost.unlink()
    run(tree, tmp_path)
    assert lost.is_file()


def test_another_input_is_refused_in_the_same_folder(
    tree: Path, copied: Path, tmp_path: Path
) -> None:
    run(tree, tmp_path / "out")
    table = copied / "annotations" / "EPIC_100_train.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(ActisegError, match="made otherwise: files"):
        run(copied, tmp_path / "out")


def test_a_split_that_was_not_prepared_here_is_not_overwritten(tree: Path, tmp_path: Path) -> None:
    write_json(tmp_path / "ImageSets" / "train.json", [])
    with pytest.raises(ActisegError, match="did not write"):
        run(tree, tmp_path)


@pytest.mark.parametrize(
    "lost", ["VISOR/frame_mapping.json", "annotations/EPIC_100_validation.csv",
             "annotations/EPIC_100_train.csv"]
)  # fmt: skip
def test_a_missing_input_file_is_named(lost: str, copied: Path, tmp_path: Path) -> None:
    (copied / lost).unlink()
    with pytest.raises(ActisegError, match=Path(lost).name):
        run(copied, tmp_path / "out")


def test_processes_write_what_one_process_writes(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tree, tmp_path / "one")
    monkeypatch.setattr(prepare_module, "_SEQUENCES_PER_TASK", 1)
    monkeypatch.setattr(prepare_module, "_INLINE_FRAMES", 0)
    run(tree, tmp_path / "two", workers=2)
    one, two = pictures(tmp_path / "one"), pictures(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(path.read_bytes() == two[name].read_bytes() for name, path in one.items())
    for split in ("train", "val"):
        assert records(tmp_path / "one", split) == records(tmp_path / "two", split)


def test_frames_of_any_resolution_become_854x480(copied: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((copied / "VISOR").rglob("*.jpg"))):
        shape = ((720, 1280, 3), (1080, 1920, 3), (30, 40, 3))[number % 3]
        cv2.imwrite(str(path), np.full(shape, 90, np.uint8))
    run(copied, tmp_path / "out")
    sizes = set()
    for path in (tmp_path / "out" / "JPEGImages_Sparse").rglob("*.jpg"):
        with Image.open(path) as image:
            sizes.add(image.size)
    assert sizes == {(854, 480)}


def test_other_polygons_of_the_same_size_are_refused(
    tree: Path, copied: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(tree, out, splits=("train",))
    path = polygons_file(copied, "train", "P01_02")
    path.write_text(path.read_text().replace('"knife"', '"spoon"').replace('"cup"', '"pot"'))
    assert path.stat().st_size == polygons_file(tree, "train", "P01_02").stat().st_size
    with pytest.raises(ActisegError, match=r"made otherwise: polygons_sha256\.P01_02"):
        run(copied, out, splits=("train",))


def test_sequences_of_other_pictures_are_made_again(copied: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(copied, out, splits=("train",))
    changed = next(iter(records(out, "train")))
    name = f"{changed['seq_id']:08d}_{changed['video']}_{changed['verb']}_{changed['noun']}"
    for path in (copied / "VISOR").rglob(f"{changed['video']}_frame_*.jpg"):
        cv2.imwrite(str(path), np.full((30, 40, 3), 90, np.uint8))
    run(copied, out, splits=("train",))
    picture = cv2.imread(str(out / "JPEGImages_Sparse/train" / name / changed["sparse_frames"][0]))
    assert abs(picture.astype(int) - 90).max() < 3
    assert run(copied, out, splits=("train",)).splits["train"].resumed


def as_of_the_first_format(out: Path) -> Path:
    """Makes a preparation look as an earlier version left it; the file that says what it is of."""
    file = out / ".prepare" / "train.json"
    said = json.loads(file.read_text())
    write_json(file, {"format": 1, "files": said["files"], "polygons": said["polygons"]})
    lines = [json.loads(line) for line in file.with_suffix(".jsonl").read_text().splitlines()]
    for line in lines:
        line.pop("pictures", None)
    file.with_suffix(".jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return file


def test_a_preparation_of_an_earlier_version_goes_on_and_is_completed(
    copied: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(copied, out, splits=("train",))
    file = out / ".prepare" / "train.json"
    now, journal = file.read_bytes(), file.with_suffix(".jsonl").read_bytes()
    as_of_the_first_format(out)
    before = {path: path.stat().st_mtime_ns for path in pictures(out).values()}
    run(copied, out, splits=("train",))
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(file.read_bytes()) == json.loads(now)
    assert file.with_suffix(".jsonl").read_bytes() == journal

    as_of_the_first_format(out)
    path = polygons_file(copied, "train", "P01_02")
    path.write_text(path.read_text() + " ")
    with pytest.raises(ActisegError, match=r"made otherwise: polygons\.P01_02"):
        run(copied, out, splits=("train",))


@pytest.mark.parametrize("name", ["../../x.jpg", "", "..", "a/b.jpg", "a\\b.jpg"])
def test_names_that_lead_out_of_their_folder_are_refused(name: str, tmp_path: Path) -> None:
    said = re.escape(repr(name))
    for mapping in ({name: {}}, {"P01_01": {name: 3}}, {"P01_01": {"a.jpg": name}}):
        write_json(tmp_path / "frame_mapping.json", mapping)
        with pytest.raises(ActisegError, match=f"frame_mapping.json: .*{said}"):
            read_mapping(VisorTree(tmp_path, tmp_path))
    frame = {"image": {"name": name}, "annotations": []}
    write_json(tmp_path / "P01_01.json", {"video_annotations": [frame]})
    with pytest.raises(ActisegError, match=f"P01_01.json: .*{said}"):
        read_polygons(tmp_path / "P01_01.json")
