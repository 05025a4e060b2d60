"""VISOR as people have it on their disks: other folders, zips, odd tables, absent parts."""

from __future__ import annotations

import csv
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from actiseg_ros.errors import ActisegError
from tests.training.data.visor_trees import SPARSE, polygons_file, write_json, write_tree
from training.cli import main
from training.data.prepare import Summary, prepare

VIDEOS = (("P01_02", "train"), ("P03_05", "train"), ("P02_101", "val"), ("P04_11", "val"))
TABLES = ("EPIC_100_train.csv", "EPIC_100_validation.csv")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree in the form that ActionVOS reads."""
    root = tmp_path_factory.mktemp("plain")
    write_tree(root, seed=3, videos=VIDEOS)
    return root


@pytest.fixture(scope="module")
def expected(plain: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What its preparation writes."""
    out = tmp_path_factory.mktemp("expected")
    assert not run(plain, out).problems
    return content(out)


@pytest.fixture
def tree(plain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain, tmp_path / "tree")
    return tmp_path / "tree"


def run(root: Path, out: Path, **options: Any) -> Summary:
    options = {"workers": 1, "progress": False} | options
    return prepare(root / "VISOR", root / "annotations", out, **options)


def content(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".prepare" not in path.parts
    }


def frame_folders(root: Path) -> list[Path]:
    return [path for path in (root / "VISOR" / SPARSE / "rgb_frames").glob("*/*") if path.is_dir()]


def in_participants_folders(root: Path) -> None:
    for folder in frame_folders(root):
        person = folder.parent / folder.name.split("_")[0]
        person.mkdir(exist_ok=True)
        shutil.move(folder, person / folder.name)


def zipped(root: Path) -> None:
    for folder in frame_folders(root):
        shutil.make_archive(str(folder), "zip", folder)
        shutil.rmtree(folder)


def zipped_as_downloaded(root: Path) -> None:
    """A zip a video in the participant's folder, the frames below a folder of the video."""
    for folder in frame_folders(root):
        person = folder.parent / folder.name.split("_")[0]
        person.mkdir(exist_ok=True)
        shutil.make_archive(str(person / folder.name), "zip", folder.parent, folder.name)
        shutil.rmtree(folder)


def unpacked_into_a_folder_too_many(root: Path) -> None:
    for folder in frame_folders(root):
        shutil.move(folder, folder.with_name("moved"))
        folder.mkdir()
        shutil.move(folder.with_name("moved"), folder / folder.name)


def without_split_folders(root: Path) -> None:
    for folder in frame_folders(root):
        shutil.move(folder, folder.parents[1] / folder.name)


def partly_zipped(root: Path) -> None:
    for folder in frame_folders(root):
        first, *_ = sorted(folder.iterdir())
        with zipfile.ZipFile(folder.with_name(f"{folder.name}.zip"), "w") as archive:
            archive.write(first, first.name)
        first.unlink()


def uncorrected_annotations(root: Path) -> None:
    folder = root / "VISOR" / SPARSE
    (folder / "annotations_corrected").rename(folder / "annotations")


def partly_corrected_annotations(root: Path) -> None:
    """VISOR-HOS's script was run on the training videos alone, and again on one of validation."""
    raw = root / "VISOR" / SPARSE / "annotations" / "val" / "P02"
    raw.mkdir(parents=True)
    shutil.move(polygons_file(root, "val", "P02_101"), raw)
    corrected = polygons_file(root, "val", "P04_11")
    write_json(raw.parent / "P04_11.json", {"video_annotations": []})
    (raw.parent / f"._{corrected.name}").write_bytes(b"left by another system")


def rewritten(root: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    for name in TABLES:
        file = root / "annotations" / name
        rows = list(csv.DictReader(file.open(newline="")))
        with file.open("w", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(map(change, rows))


def numbers_as_floats(root: Path) -> None:
    """As pandas saves whole numbers of a column that lacks one, in tables and in JSON."""
    whole = ("start_frame", "stop_frame", "verb_class", "noun_class")
    rewritten(root, lambda row: row | {name: f"{row[name]}.0" for name in whole})
    for video, split in VIDEOS:
        file = polygons_file(root, split, video)
        polygons = json.loads(file.read_text())
        for frame in polygons["video_annotations"]:
            for entry in frame["annotations"]:
                entry["class_id"] = float(entry["class_id"])
        write_json(file, polygons)
    mapping = root / "VISOR" / "frame_mapping.json"
    frames = json.loads(mapping.read_text())
    for names in frames.values():
        for name, frame in names.items():
            names[name] = float(frame[6:16])
    write_json(mapping, frames)


def marked_semicolons(root: Path) -> None:
    """As a spreadsheet saves it."""
    for name in TABLES:
        file = root / "annotations" / name
        rows = list(csv.reader(file.open(newline="")))
        with file.open("w", newline="", encoding="utf-8-sig") as out:
            csv.writer(out, delimiter=";").writerows([*row, "", ""] for row in rows)


@pytest.mark.parametrize(
    "change",
    [in_participants_folders, zipped, zipped_as_downloaded, unpacked_into_a_folder_too_many,
     without_split_folders, partly_zipped, uncorrected_annotations, partly_corrected_annotations,
     numbers_as_floats, marked_semicolons],
)  # fmt: skip
def test_every_form_of_the_same_tree_gives_the_same_data(
    change: Callable[[Path], None], tree: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    change(tree)
    summary = run(tree, tmp_path / "out")
    assert not summary.problems
    assert content(tmp_path / "out") == expected


def lines(summary: Summary, word: str) -> list[str]:
    return [line for line in summary.lines() if word in line and line.startswith("skipped")]


def test_absent_pictures_are_told_in_one_line_a_video(tree: Path, tmp_path: Path) -> None:
    shutil.rmtree(tree / "VISOR" / SPARSE / "rgb_frames" / "train" / "P01_02")
    some = tree / "VISOR" / SPARSE / "rgb_frames" / "val" / "P04_11"
    lost = sorted(some.iterdir())[:2]
    for path in lost:
        path.unlink()
    summary = run(tree, tmp_path / "out")
    (absent,) = lines(summary, "P01_02")
    assert (
        "all" in absent and "frames of P01_02 are missing, neither in a folder nor a zip" in absent
    )
    told = lines(summary, "P04_11")
    assert len(told) <= 1
    assert not told or f"looked in {some}" in told[0]
    assert summary.splits["train"].sequences


def test_a_zip_that_was_cut_short_is_told_once(tree: Path, tmp_path: Path) -> None:
    zipped(tree)
    archive = tree / "VISOR" / SPARSE / "rgb_frames" / "train" / "P01_02.zip"
    archive.write_bytes(archive.read_bytes()[:-200])
    summary = run(tree, tmp_path / "out")
    assert any("no readable zip" in line for line in lines(summary, archive.name))
    assert len(lines(summary, "P01_02")) == 2  # and that the frames are missing


def test_a_damaged_picture_in_a_zip_is_told(tree: Path, tmp_path: Path) -> None:
    zipped(tree)
    path = tree / "VISOR" / SPARSE / "rgb_frames" / "train" / "P03_05.zip"
    with zipfile.ZipFile(path) as archive:
        starts = [member.header_offset + 200 for member in archive.infolist()]
    packed = bytearray(path.read_bytes())
    for start in starts[1:]:
        packed[start : start + 50] = bytes(50)
    path.write_bytes(packed)
    told = lines(run(tree, tmp_path / "out"), "P03_05.zip/")
    assert told and all("not readable (damaged in its zip" in line for line in told)


def test_a_picture_that_was_cut_short_is_no_picture(tree: Path, tmp_path: Path) -> None:
    """Some versions of OpenCV read it, with grey where nothing came."""
    path = next((tree / "VISOR").rglob("rgb_frames/train/P03_05/*.jpg"))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    (told,) = lines(run(tree, tmp_path / "out"), path.name)
    assert "cut short" in told or "not a readable image" in told


def test_short_and_long_rows_are_told_by_line_and_left_out(tree: Path, tmp_path: Path) -> None:
    table = tree / "annotations" / TABLES[0]
    rows = table.read_text().splitlines()
    count = len(rows)
    rows += [rows[1].rpartition(",")[0].rpartition(",")[0], rows[1].replace("Pick", "Pick, and")]
    rows[-1] = rows[-1].replace('"', "")
    table.write_text("\n".join(rows) + "\n")
    told = lines(run(tree, tmp_path / "out"), "fields")
    assert [line for line in told if f"{table}: line {count + 1}: has " in line]
    assert [line for line in told if f"{table}: line {count + 2}: has " in line]


def test_a_split_without_sequences_is_an_error(tree: Path, tmp_path: Path, capsys: Any) -> None:
    shutil.rmtree(tree / "VISOR" / SPARSE / "rgb_frames" / "val")
    arguments = ["prepare", "--visor", str(tree / "VISOR"), "--annotations",
                 str(tree / "annotations"), "--out", str(tmp_path / "out")]  # fmt: skip
    assert main(arguments) == 2
    told = capsys.readouterr().err
    assert "the split 'val' has no sequence" in told and "P02_101 are missing" in told
    assert not (tmp_path / "out").exists(), "found out before anything was written"
    assert main([*arguments, "--splits", "train"]) == 0
    assert main([*arguments, "--splits", "train,test"]) == 2
    assert "no annotations of the split 'test'" in capsys.readouterr().err


def test_contacts_come_from_the_annotations_where_there_is_no_file(
    tree: Path, expected: dict[str, bytes], tmp_path: Path
) -> None:
    with_file = run(tree, tmp_path / "annotations", contacts="annotations")
    for split in ("train", "val"):
        (tree / "annotations" / f"visor_hos_{split}.json").unlink()
    without = run(tree, tmp_path / "found")
    assert without.splits["val"].contacts == with_file.splits["val"].contacts == "annotations"
    assert any("contacts from the annotations" in line for line in without.lines())
    assert content(tmp_path / "annotations") == content(tmp_path / "found") != expected
    with pytest.raises(ActisegError, match=r"visor_hos_train\.json"):
        run(tree, tmp_path / "official", contacts="official")
    with pytest.raises(ActisegError, match="made otherwise: files"):
        shutil.copytree(tmp_path / "found", tmp_path / "again")
        write_json(tree / "annotations" / "visor_hos_train.json", {"images": [], "annotations": []})
        run(tree, tmp_path / "again")


def test_annotations_that_say_nothing_of_contacts_do_not_do(tree: Path, tmp_path: Path) -> None:
    for video, split in VIDEOS:
        file = polygons_file(tree, split, video)
        polygons = json.loads(file.read_text())
        for frame in polygons["video_annotations"]:
            for entry in frame["annotations"]:
                entry.pop("in_contact_object", None)
        write_json(file, polygons)
    run(tree, tmp_path / "official")
    with pytest.raises(ActisegError, match=r"in_contact_object.*visor_hos_train\.json"):
        run(tree, tmp_path / "out", contacts="annotations")


def every_object(root: Path, split: str, video: str, change: Callable[[Any], object]) -> None:
    """Changes all objects of a video."""
    file = polygons_file(root, split, video)
    polygons = json.loads(file.read_text())
    for frame in polygons["video_annotations"]:
        for entry in frame["annotations"]:
            change(entry)
    write_json(file, polygons)


def test_contacts_with_objects_that_are_not_there_are_told(tree: Path, tmp_path: Path) -> None:
    def hold(entry: Any) -> None:
        entry["name"], entry["in_contact_object"] = "left hand", "gone"

    every_object(tree, "train", "P03_05", hold)
    (told,) = lines(run(tree, tmp_path / "out", contacts="annotations"), "P03_05")
    assert "in contact with an object that is not there" in told and "gone" in told
    count = re.search(r"(\d+) of (\d+) frames|all (\d+) frames", told)
    assert count is not None and (count[3] or int(count[1]) <= int(count[2])), told


@pytest.mark.parametrize(("field", "value"), [("in_contact_object", ["cup"]), ("on_which_hand", 2)])
def test_contacts_that_are_none_are_told(
    field: str, value: Any, tree: Path, tmp_path: Path
) -> None:
    every_object(tree, "train", "P03_05", lambda entry: entry.update({field: value}))
    (told,) = lines(run(tree, tmp_path / "out", contacts="annotations"), "P03_05")
    assert f"{field} is {value!r}" in told


def test_hand_object_file_of_another_split_is_told(tree: Path, tmp_path: Path) -> None:
    shutil.copy(
        tree / "annotations" / "visor_hos_train.json", tree / "annotations" / "visor_hos_val.json"
    )
    told = lines(run(tree, tmp_path / "out"), "visor_hos_val.json")
    assert len(told) == 2 and all("is it the file of this split?" in line for line in told)


@pytest.mark.parametrize("emptied", ["video", "frames"])
def test_a_video_that_gives_nothing_is_told(emptied: str, tree: Path, tmp_path: Path) -> None:
    file = polygons_file(tree, "val", "P04_11")
    frames = json.loads(file.read_text())["video_annotations"]
    frames = [{**frame, "annotations": []} for frame in frames] if emptied == "frames" else []
    write_json(file, {"video_annotations": frames})
    (told,) = lines(run(tree, tmp_path / "out"), "P04_11")
    assert "P04_11 gives no sequence: 4 frames in frame_mapping.json, 0 with objects here" in told


def test_no_split_is_no_preparation(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ActisegError, match="no split to prepare"):
        run(tree, tmp_path / "out", splits=())


def checked(out: Path, **changes: Any) -> list[dict[str, Any]]:
    """What somebody checked: half of the clips, counted otherwise, one object found inactive."""
    records = json.loads((out / "ImageSets" / "val.json").read_text())[::2]
    for record in records:
        record |= {"seq_id": record["seq_id"] + 100, "redundant": False} | changes
        next(iter(record["object_classes"].values()))["positive"] = 0
    return records


def test_a_checked_split_is_written_with_the_numbers_of_this_preparation(
    tree: Path, tmp_path: Path
) -> None:
    run(tree, tmp_path / "first")
    theirs = checked(tmp_path / "first")
    absent = {**theirs[0], "video": "P09_09"}
    other = {**theirs[1], "object_classes": {"1": {"name": "cup", "class_id": 13}}}
    theirs[0]["start"] = float(theirs[0]["start"])
    write_json(tree / "annotations" / "val_human.json", [*theirs[:1], other, absent, *theirs[2:]])
    summary = run(tree, tmp_path / "out")
    images = tmp_path / "out" / "ImageSets"
    written = json.loads((images / "val_human.json").read_text())
    own = {record["seq_id"]: record for record in json.loads((images / "val.json").read_text())}
    assert [r["seq_id"] + 100 for r in written] == [r["seq_id"] for r in [theirs[0], *theirs[2:]]]
    for record in written:
        assert record["redundant"] is False
        assert record["narration"] == own[record["seq_id"]]["narration"]
        assert next(iter(record["object_classes"].values()))["positive"] == 0
    assert summary.checked["val_human"] == (len(theirs) - 1, len(theirs) + 1)
    assert len(lines(summary, "P09_09 is not prepared")) == 1
    assert len(lines(summary, "of other objects")) == 1
    assert (images / "val_human_meta_expressions_promptaction.json").is_file()
    write_json(tree / "annotations" / "val_human.json", {"videos": {}})
    with pytest.raises(ActisegError, match=r"val_human\.json: not a list of clips"):
        run(tree, tmp_path / "other")
