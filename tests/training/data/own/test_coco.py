"""Annotation tools' exports to the ActionVOS layout: what is drawn, named, matched and refused."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask as coco_mask

from tests.training.data.own.lab import HEIGHT, WIDTH, Lab, box, run_lengths
from training import cli
from training.data.own.coco import _decoded_length
from training.data.palette import read_label_png
from training.data.splits import load_clips, read_split

PEPPER, KNIFE, BOARD = box(10, 10, 40, 30), box(50, 10, 60, 50), box(4, 4, 90, 60)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path)
    lab.everywhere({"pepper": [PEPPER], "Knife": [KNIFE], "hand:left": [box(70, 0, 90, 20)]})
    return lab


def run(lab: Lab, *more: str, form: str = "coco") -> int:
    return cli.main(["import", form, *lab.write(), *more])


def record(lab: Lab, split: str = "train") -> dict[str, Any]:
    (only,) = read_split(lab.folder / "data" / "ImageSets" / f"{split}.json")
    return only


def labels(lab: Lab, frame: int = 10, kind: str = "Annotations_Sparse") -> np.ndarray:
    (path,) = (lab.folder / "data" / kind).glob(f"*/*/frame_{frame:010d}.png")
    return read_label_png(path)


def ids(lab: Lab) -> dict[str, int]:
    return {e["name"]: int(key) for key, e in record(lab)["object_classes"].items()}


def classes(lab: Lab, split: str) -> dict[str, int]:
    return {e["name"]: e["class_id"] for e in record(lab, split)["object_classes"].values()}


def test_pictures_of_a_narration_become_a_clip(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lab) == 3  # the picture of frame 40 is outside of the narration, and that is told
    told = capsys.readouterr()
    assert "train: 1 clips, 2 pictures" in told.out
    assert "1 annotated pictures outside of every narration: lab_01_frame_0000000040" in told.err
    clip = record(lab)
    assert clip["sparse_frames"] == ["frame_0000000010.jpg", "frame_0000000020.jpg"]
    assert (clip["narration"], clip["noun"], clip["start"], clip["end"]) == (
        "cut pepper", "pepper", 1, 30,
    )  # fmt: skip
    assert {e["name"]: (e["class_id"], e["positive"]) for e in clip["object_classes"].values()} == {
        "knife": (4, 0), "left hand": (300, 1), "pepper": (37, 1),
    }  # fmt: skip
    drawn = labels(lab)
    assert drawn.shape == (HEIGHT, WIDTH)
    expected = coco_mask.decode(coco_mask.frPyObjects([PEPPER], HEIGHT, WIDTH))[..., 0] > 0
    np.testing.assert_array_equal(drawn == ids(lab)["pepper"], expected)
    weights = labels(lab, kind="Weights_Sparse")
    assert weights[20, 20] == 2 and weights[30, 55] == 3 and weights[5, 80] == weights[62, 2] == 1
    stored = lab.folder / "data" / "JPEGImages_Sparse" / "train"
    assert (
        next(stored.glob("*/frame_0000000010.jpg")).read_bytes()
        == (lab.images / "lab_01_frame_0000000010.jpg").read_bytes()
    )
    (read,) = load_clips(
        lab.folder / "data" / "ImageSets" / "train_meta_expressions_promptaction.json"
    )
    assert [o.expression for o in read.objects][2] == "pepper used in the action of cut pepper"


@pytest.mark.parametrize("compressed", [True, False])
def test_holes_parts_and_crowds_are_drawn_as_they_are(tmp_path: Path, compressed: bool) -> None:
    lab = Lab(tmp_path, frames=[10])
    ring = np.zeros((HEIGHT, WIDTH), bool)
    ring[5:30, 5:30] = True
    ring[12:20, 12:20] = False
    crowd = np.zeros_like(ring)
    crowd[50:60, 40:70] = True
    lab.object(1, "lid", run_lengths(ring, compressed))
    lab.object(1, "egg", run_lengths(crowd, compressed), iscrowd=1)
    lab.object(1, "tomato", [box(40, 5, 50, 15), box(60, 5, 70, 15)])
    assert run(lab) == 0
    drawn, known = labels(lab), ids(lab)
    np.testing.assert_array_equal(drawn == known["lid"], ring)
    np.testing.assert_array_equal(drawn == known["egg"], crowd)
    assert drawn[10, 45] == drawn[10, 65] == known["tomato"] and drawn[10, 55] == 0


def test_what_lies_inside_is_on_top_and_other_overlaps_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=[10])
    lab.object(1, "pepper", [PEPPER])
    lab.object(1, "knife", [KNIFE])
    lab.object(1, "cutting board", [BOARD])  # drawn last, but larger than what lies on it
    lab.object(1, "cloth", [box(55, 40, 95, 63)])
    assert run(lab) == 0
    drawn, known = labels(lab), ids(lab)
    assert drawn[20, 20] == known["pepper"] and drawn[20, 55] == known["knife"]
    assert drawn[50, 80] == known["cloth"] and drawn[50, 20] == known["cutting board"]
    told = capsys.readouterr().out
    assert "1 pictures have objects that overlap" in told and "annotation tool" in told
    report = json.loads((lab.folder / "data" / "import_train.json").read_text())
    (found,) = report["overlaps"].values()
    assert {(o["below"], o["above"]) for o in found} == {
        ("cutting board", "cloth"), ("knife", "cloth"),
    }  # fmt: skip
    assert drawn[45, 57] == known["cloth"]


def test_attributes_say_what_is_in_use(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for entry, value in zip(lab.objects, ["true", True, 0] * 3, strict=True):
        entry["attributes"] = {"In use": value, "occluded": False}
    extra = lab.object(1, "pepper", [box(2, 40, 12, 50)], attributes={"in_use": False})
    assert run(lab) == 3
    positive = {e["name"]: e["positive"] for e in record(lab)["object_classes"].values()}
    assert positive == {"pepper": 1, "knife": 1, "left hand": 1}
    drawn, weights = labels(lab), labels(lab, kind="Weights_Sparse")
    assert drawn[20, 20] == ids(lab)["pepper"] and drawn[45, 6] == 0
    assert weights[20, 20] == 4 and weights[30, 55] == 2 and weights[45, 6] == 1
    assert "not all are in use" in capsys.readouterr().out
    # Where one is in use, another one that nobody has flagged is not.
    del extra["attributes"]
    shutil.rmtree(lab.folder / "data")
    assert run(lab) == 3
    assert labels(lab)[45, 6] == 0 and "not all are in use" in capsys.readouterr().out
    for said, told in (
        ({"in use": "perhaps"}, "attribute 'in use' is 'perhaps'"),
        ({"in use": True, "active": False}, "its attributes contradict each other"),
        (
            [{"name": "in use", "value": value} for value in (True, False)],
            "its attributes contradict each other",
        ),
    ):
        extra["attributes"] = said
        shutil.rmtree(lab.folder / "data", ignore_errors=True)
        assert run(lab) == 2
        assert f"annotation 10: {told}" in capsys.readouterr().err


def test_new_names_get_classes_after_epics_and_keep_them(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.everywhere({"blue gizmo, small": [box(2, 40, 12, 50)], "Schüssel": [box(20, 50, 30, 60)]})
    lab.narrate("a,lab_01,00:00:00.10,00:00:01.00,1,60,take blue gizmo small")
    assert run(lab) == 0
    assert "2 names with a new class id" in capsys.readouterr().out
    found = classes(lab, "train")
    assert found["blue gizmo, small"] == 307 and found["schüssel"] == 308
    assert {e["name"] for e in record(lab)["object_classes"].values() if e["narration"]} == {
        "blue gizmo, small"
    }
    assert run(lab, "--split", "val") == 0
    assert classes(lab, "val") == found
    table = lab.folder / "data" / "classes.csv"
    capsys.readouterr()
    assert cli.main(["narration", "take the Schüssel", "--nouns", str(table)]) == 0
    assert "target 'schüssel'" in capsys.readouterr().out


def test_hands_have_visors_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lab = Lab(tmp_path, frames=[10])
    for place, name in enumerate(["Left_Hand", "hand:right", "R hand"]):
        lab.object(1, name, [box(place * 20, 0, place * 20 + 10, 10)])
    lab.object(1, "hand", [box(60, 0, 70, 10)], attributes={"side": "left"})
    lab.object(1, "Hand", [box(80, 0, 90, 10)])
    assert run(lab) == 0
    found = record(lab)["object_classes"].values()
    assert {e["name"]: e["positive"] for e in found} == {
        "hand": 1, "left hand": 1, "right hand": 1,
    }  # fmt: skip
    assert "1 hands without a side" in capsys.readouterr().out


def test_categories_of_one_name_are_one_object(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.categories.append({"id": 77, "name": "pepper", "supercategory": "food"})
    lab.objects[0]["category_id"] = 77
    assert run(lab) == 3
    assert "several categories are called 'pepper'" in capsys.readouterr().out
    assert len(record(lab)["object_classes"]) == 3


def test_recordings_go_to_splits_and_large_pictures_shrink(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=[10])
    other = lab.picture("lab_02/frame_0000000005.png", (1280, 720))
    upload = lab.picture("0a1b2c3d-lab_02_frame_0000000006.jpg", (427, 240))
    lab.everywhere({"cup": [box(4, 4, 60, 60)]})
    lab.narrate(
        "a,lab_01,00:00:00.10,00:00:01.00,1,30,take cup",
        "b,lab_02,00:00:00.10,00:00:01.00,1,30,wash cup",
    )
    assert run(lab, "--val-videos", "lab_02") == 0
    assert "val: 1 clips, 2 pictures" in capsys.readouterr().out
    assert record(lab)["video"] == "lab_01" and record(lab, "val")["video"] == "lab_02"
    (path,) = (lab.folder / "data" / "JPEGImages_Sparse" / "val").glob("*/frame_0000000005.jpg")
    assert Image.open(path).size == (853, 480) and labels(lab, 5).shape == (480, 853)
    assert labels(lab, 6).shape == (240, 427)
    assert other and upload
    assert run(lab, "--split", "x", "--val-videos", "lab_09") == 2


def test_times_of_a_manifest_count_before_frame_numbers(lab: Lab) -> None:
    times = {10: 5.0, 20: 9.9, 40: 5.5}
    manifest = {
        "video_id": "lab_01",
        "frames": 60,
        "pictures": [
            {"file": f"images/lab_01_frame_{n:010d}.jpg", "frame": n, "time": t}
            for n, t in times.items()
        ],
    }
    (lab.folder / "manifest.json").write_text(json.dumps(manifest))
    lab.narrate("a,lab_01,00:00:05.00,00:00:06.00,,,cut pepper")
    assert run(lab) == 3
    assert record(lab)["sparse_frames"] == ["frame_0000000010.jpg", "frame_0000000040.jpg"]


def test_what_frames_writes_is_read_as_it_is(tmp_path: Path) -> None:
    """`actiseg frames`, annotation of its pictures, `actiseg import`."""
    recorded, said = tmp_path / "recorded", tmp_path / "said.csv"
    recorded.mkdir()
    for number in range(1, 31):
        picture = np.full((HEIGHT, WIDTH, 3), number * 8, np.uint8)
        cv2.imwrite(str(recorded / f"frame_{number:010d}.jpg"), picture)
    said.write_text(
        "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun\n"
        "a,lab_07,00:00:00.50,00:00:01.45,take blue gizmo,\n"
        "b,lab_07,00:00:02.00,00:00:02.40,wash plate,plate\n"
    )
    frames = tmp_path / "frames"
    status = cli.main(
        ["frames", "--video", str(recorded), "--fps", "10", "--narrations", str(said),
         "--video-id", "lab_07", "--every", "0.2", "--out", str(frames)]
    )  # fmt: skip
    assert status == 0
    lab = Lab(tmp_path / "lab", frames=[])
    lab.images, lab.narrations = frames / "images", frames / "narrations.csv"
    for key, path in enumerate(sorted(lab.images.iterdir()), start=1):
        entry = {"id": key, "file_name": path.name, "width": WIDTH, "height": HEIGHT}
        lab.pictures.append(entry)
    lab.everywhere({"blue gizmo": [PEPPER], "right hand": [KNIFE]})
    assert run(lab) == 3
    first, second = read_split(lab.folder / "data" / "ImageSets" / "train.json")
    assert first["video"] == "lab_07" and (first["noun"], second["noun"]) == ("gizmo:blue", "plate")
    assert (first["start"], first["end"]) == (6, 15)
    assert [int(name[6:16]) for name in first["sparse_frames"]] == [7, 9, 11, 13, 15]
    assert [e["positive"] for e in first["object_classes"].values()] == [1, 1]
    assert [e["positive"] for e in second["object_classes"].values()] == [0, 1]


@pytest.mark.parametrize("time", ["NaN", "1e400", "soon"])
def test_a_manifest_without_times_is_named(
    lab: Lab, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = f'{{"file": "lab_01_frame_0000000010.jpg", "frame": 10, "time": {time}}}'
    path = lab.folder / "manifest.json"
    path.write_text(f'{{"video_id": "lab_01", "frames": 60, "pictures": [{picture}]}}')
    assert run(lab) == 2
    assert "manifest.json: " in capsys.readouterr().err


def _no_picture(lab: Lab) -> None:
    (lab.images / "lab_01_frame_0000000010.jpg").unlink()


def _other_size(lab: Lab) -> None:
    lab.picture("lab_01_frame_0000000010.jpg", (48, 32), listed=False)


def _damaged(lab: Lab) -> None:
    path = lab.images / "lab_01_frame_0000000010.jpg"
    path.write_bytes(path.read_bytes()[:500])


def _webp(lab: Lab) -> None:
    path = lab.images / "lab_01_frame_0000000010.jpg"
    Image.open(path).save(path.with_suffix(".webp"))
    lab.pictures[0]["file_name"] = path.with_suffix(".webp").name


def _changed(**more: Any) -> Callable[[Lab], None]:
    return lambda lab: lab.objects[0].update(more)


def _row(row: str) -> Callable[[Lab], None]:
    return lambda lab: lab.narrate("a,lab_01,00:00:00.1,00:00:01,1,30,cut pepper", row)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_no_picture, "lab_01_frame_0000000010.jpg is not in"),
        (_other_size, "is 48x32, annotated as 96x64"),
        (_damaged, "lab_01_frame_0000000010.jpg cannot be decoded"),
        (_changed(image_id=99), "annotation 1: image_id 99 is none of the pictures"),
        (_changed(category_id=99), "annotation 1: category_id 99 is none of the categories"),
        (_changed(segmentation=[]), "has a box only"),
        (_changed(segmentation=[[1, 2, 3]]), "3 numbers"),
        (_changed(segmentation=[[1, 2, 3, 4, 5, float("nan")]]), "no finite number"),
        (_changed(segmentation=[[1, 2, 3, 4, 5, 1e9]]), "far outside"),
        (_changed(segmentation=[[1, 2, 3, 4, 5, 10**400]]), "no finite number"),
        (_changed(segmentation=[[-9, -9, -5, -9, -5, -5]]), "covers no pixel of the picture"),
        (_changed(segmentation={"size": [9, 9], "counts": "1"}), "have the size [9, 9]"),
        (_changed(segmentation={"size": [HEIGHT, WIDTH], "counts": "0n"}), "do not fill"),
        (_changed(segmentation={"size": [HEIGHT, WIDTH], "counts": [7, 9]}), "do not fill"),
        (_changed(id=2), "annotation 2: its id is that of another"),
        (lambda lab: lab.pictures[1].update(id=1), "image 1: its id is that of"),
        (lambda lab: lab.pictures[1].update(width="x"), "size is 'x'x64"),
        (lambda lab: lab.categories[0].update(name="!!"), "object name '!!' has no word"),
        (_row("b,lab_01,00:00:02,00:00:01,1,30,cut"), "line 3: stop_timestamp"),
        (_row("b,lab_01,soon,00:00:01,1,30,cut"), "line 3: start_timestamp"),
        (_row("b,lab_01,00:00:00,00:00:01,1,30,..."), "line 3: narration"),
        (_row("b,lab/01,00:00:00,00:00:01,1,30,cut"), "contains a slash"),
        (_row("b,lab_01,00:00:00,00:00:01,1,30"), "line 3: has 6 fields"),
        (_row(f"b,{'v' * 300},00:00:00,00:00:01,1,30,cut"), "at most 64 bytes"),
        (_webp, "lab_01_frame_0000000010.webp is no picture that is read here"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_used_refuses_all_or_is_left_out(
    lab: Lab, spoil: Callable[[Lab], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(lab)
    assert run(lab) == 2
    error = capsys.readouterr().err
    assert told in error and "nothing was written" in error and "--on-error skip" in error
    assert not (lab.folder / "data").exists()
    assert run(lab, "--on-error", "skip") == 3
    assert told in capsys.readouterr().err
    assert record(lab)["sparse_frames"]


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lab: lab.narrate("a,other,00:00:00,00:00:01,1,30,cut"), "does not have the recor"),
        (lambda lab: lab.narrate("a,lab_01,00:00:09,00:00:10,300,400,cut"), "outside of every"),
        (lambda lab: lab.narrate("a,lab_01,00:00:00,00:00:01,,,cut"), "no start_frame and stop_f"),
        (lambda lab: lab.objects.clear(), "no picture has an object"),
        (lambda lab: lab.categories.append({"id": 1, "name": "other"}), "the same id 1"),
        (lambda lab: lab.narrations.unlink(), "narrations.csv"),
        (lambda lab: lab.narrations.write_text("video_id,narration\n"), "lacks the columns"),
        (lambda lab: shutil.rmtree(lab.images), "no JPEG or PNG picture"),
    ],
)
def test_nothing_left_says_why_and_writes_nothing(
    lab: Lab, spoil: Callable[[Lab], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(lab)
    assert run(lab) == 2
    assert told in capsys.readouterr().err
    assert not (lab.folder / "data").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"images": 3}', "\x00"])
def test_no_coco_file_is_named(lab: Lab, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = lab.write()
    lab.file.write_text(content)
    assert cli.main(["import", "coco", *options]) == 2
    assert "instances.json" in capsys.readouterr().err


def test_unmatched_is_listed(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    lab.picture("nameless.jpg")
    lab.object(4, "cup", [PEPPER])
    lab.picture("lab_01_frame_0000000050.jpg")
    lab.picture("lab_01_frame_0000000060.jpg", listed=False)
    lab.narrate(
        "a,lab_01,00:00:00.10,00:00:01.00,1,30,cut pepper",
        "b,lab_01,00:00:05.10,00:00:06.00,200,250,take cup",
    )
    assert run(lab) == 3
    report = json.loads((lab.folder / "data" / "import_train.json").read_text())
    assert report["pictures_without_recording"] == ["nameless.jpg"]
    assert report["pictures_outside_narrations"] == ["lab_01_frame_0000000040.jpg"]
    assert report["pictures_without_object"] == ["lab_01_frame_0000000050.jpg"]
    assert report["pictures_without_annotation"] == ["lab_01_frame_0000000060.jpg"]
    assert report["narrations_without_picture"] == ["lab_01, line 3 'take cup'"]
    assert "nameless.jpg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "said", "kept"),
    [("カップ", "カップを取る", "カップ"), ("нож", "взять нож", "нож"),
     ("Schüssel", "Schüssel nehmen", "schüssel"), ("سكين", "خذ سكين", "سكين"),
     ("pepper, red", '"cut pepper, red"', "pepper, red"),
     ('knife "big"', "take knife", 'knife "big"'), ("a/b", "take a", "a/b")],
)  # fmt: skip
def test_names_of_all_languages_and_with_signs_come_through(
    tmp_path: Path, name: str, said: str, kept: str
) -> None:
    lab = Lab(tmp_path, frames=(10,))
    lab.object(1, name, [PEPPER])
    lab.narrate(f"a,lab_01,00:00:00.1,00:00:01,1,30,{said}")
    assert run(lab) == 0
    assert classes(lab, "train") == {kept: 307}
    assert (labels(lab) == ids(lab)[kept]).any()
    assert f'"{kept}"'.replace('"big"', '""big""') in (
        (lab.folder / "data" / "classes.csv").read_text().replace(f",{kept},", f',"{kept}",')
    )


def test_names_that_are_too_long_for_a_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=(10,))
    name = "\U00020000" * 64  # four bytes each
    lab.object(1, name, [PEPPER])
    lab.narrate(f"a,{'v' * 64},00:00:00.1,00:00:01,1,30,take {name}")
    lab.picture(f"{'v' * 64}_frame_0000000010.jpg")
    lab.object(2, name, [PEPPER])
    assert run(lab) == 3
    assert classes(lab, "train") == {name: 307}
    assert name.startswith(record(lab)["noun"]) and (labels(lab) == 1).any()
    shutil.rmtree(lab.folder / "data")
    lines = lab.narrations.read_text().splitlines()
    lab.narrations.write_text(f"{lines[0]},verb\n{lines[1]},{'v' * 300}\n")
    capsys.readouterr()
    assert run(lab) == 2
    assert "line 2: verb is 'v" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_told_first(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.pictures[0]["file_name"] = "gone.jpg"
    for out in ("/proc/actiseg", str(lab.narrations)):
        assert run(lab, "--out", out) == 2
        told = capsys.readouterr().err
        assert f"{out}: cannot be written" in told and "gone.jpg" not in told


def test_recordings_with_tables_of_their_own_are_imported_together(tmp_path: Path) -> None:
    lab = Lab(tmp_path, frames=())
    # As `actiseg frames` writes several recordings: a folder each.
    for number, video in enumerate(("kitchen", "day.2"), start=1):
        lab.picture(f"{video}/images/{video}_frame_0000000010.jpg")
        lab.object(number, "pepper", [PEPPER])
    lab.narrate("a,kitchen,00:00:00.1,00:00:01,1,30,cut pepper")
    other = lab.folder / "other.csv"
    other.write_text(lab.narrations.read_text().replace("kitchen", "day.2"))
    tables = [str(lab.narrations), str(other)]
    assert run(lab, "--narrations", *tables, "--val-videos", "day.2") == 0
    for split, video in (("train", "kitchen"), ("val", "day.2")):
        (clip,) = load_clips(lab.folder / "data" / "ImageSets" / f"{split}.json")
        assert clip.video == video


def test_an_annotation_of_one_recording_takes_no_picture_of_another(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=())
    lab.picture("P02/frame_0000000012.jpg", listed=False)
    size = {"width": WIDTH, "height": HEIGHT}
    lab.pictures = [{"id": 1, "file_name": "P01/frame_0000000012.jpg", **size}]
    lab.object(1, "pepper", [PEPPER])
    lab.narrate("a,P01,00:00:00.1,00:00:01,1,30,cut pepper")
    assert run(lab) == 2
    assert "P01/frame_0000000012.jpg is not in" in capsys.readouterr().err
    # Nor if the folders right above both have the same name.
    lab.picture("P02/images/frame_0000000013.jpg", listed=False)
    lab.pictures = [{"id": 1, "file_name": "P01/images/frame_0000000013.jpg", **size}]
    lab.narrate("a,P02,00:00:00.1,00:00:01,1,30,cut pepper")
    assert run(lab) == 2
    told = capsys.readouterr().err
    assert "is not in" in told and "there is P02/images/frame_0000000013.jpg, in another" in told
    for name in ("images/P02/frame_0000000012.jpg", "task 3\\P02\\frame_0000000012.jpg"):
        lab.pictures = [{"id": 1, "file_name": name, **size}]
        lab.narrate("a,P02,00:00:00.1,00:00:01,1,30,cut pepper")
        assert run(lab) == 0
        assert record(lab)["video"] == "P02"
        shutil.rmtree(lab.folder / "data")


def test_a_folder_of_another_name_is_not_credited_to_the_only_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=())
    lab.picture("P01/frame_0000000001.jpg")
    lab.picture("P02/frame_0000000020.jpg")
    lab.everywhere({"pepper": [PEPPER]})
    lab.narrate("a,P01,00:00:00.1,00:00:01,1,30,cut pepper")
    assert run(lab) == 3
    assert record(lab)["sparse_frames"] == ["frame_0000000001.jpg"]
    assert "P02/frame_0000000020.jpg" in capsys.readouterr().err


def test_recordings_of_one_name_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path, frames=())
    for day in ("day_1", "day_2"):
        number = {"day_1": 10, "day_2": 20}[day]
        name = f"{day}/images/cam_frame_{number:010d}.jpg"
        lab.picture(name)
        pictures = [{"file": f"images/{Path(name).name}", "frame": number, "time": number / 30}]
        manifest = {"video_id": "cam", "frames": 60, "source": {"bag": day}, "pictures": pictures}
        (lab.images / day / "manifest.json").write_text(json.dumps(manifest))
    lab.everywhere({"pepper": [PEPPER]})
    lab.narrate("a,cam,00:00:00.1,00:00:01,1,30,cut pepper")
    assert run(lab) == 2
    told = capsys.readouterr().err
    assert "day_2/manifest.json: is of another recording than" in told and "--video-id" in told


def test_a_narration_that_is_given_twice_counts_once(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = lab.folder / "copy.csv"
    shutil.copy(lab.narrations, copy)
    assert run(lab, "--narrations", str(lab.narrations), str(copy)) == 3
    told = capsys.readouterr().out
    assert "train: 1 clips" in told
    assert "1 narrations repeat another one" in told and "copy.csv, line 2 'cut pepper'" in told
    report = json.loads((lab.folder / "data" / "import_train.json").read_text())
    (repeated,) = report["narrations_repeated"]
    assert repeated == f"{copy}, line 2 'cut pepper' of {lab.narrations}, line 2"


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,lab_01,00:00:00.1,00:00:01,30,1,cut pepper", "stop_frame is '1', not at or after"),
        ("a,lab_01,00:00:00.1,00:00:01,30,,cut pepper", "stop_frame is ''"),
    ],
)
def test_rows_that_no_picture_could_fit_are_told(
    lab: Lab, row: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.narrate(row)
    assert run(lab) == 2
    assert f"line 2: {told}" in capsys.readouterr().err


def test_what_could_mislead_is_noted(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    key = lab.picture("lab_01_frame_0000000011.jpg", (WIDTH // 2, HEIGHT))
    lab.object(key, "pepper", [box(4, 4, 20, 20)])
    assert run(lab) == 3
    assert "1 actions have pictures of several sizes" in capsys.readouterr().out
    report = json.loads((lab.folder / "data" / "import_train.json").read_text())
    assert report["narrations_of_several_sizes"] == [
        "lab_01_frame_0000000010.jpg 96x64, lab_01_frame_0000000011.jpg 48x64"
    ]
    assert run(lab, "--split", "val") == 3
    assert "train.json has 1 of these recordings too (lab_01)" in capsys.readouterr().out


def test_a_class_that_was_given_out_is_not_given_another_id(
    lab: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    lab.everywhere({"zester": [box(2, 40, 12, 50)]})
    assert run(lab) == 3
    nouns = lab.folder / "nouns.csv"
    nouns.write_text("id,key,instances\n123,zester,\"['zester']\"\n")
    assert run(lab, "--split", "val", "--nouns", str(nouns)) == 2
    told = capsys.readouterr().err
    assert "classes.csv: 'zester' has the class 307" in told and "it has 123" in told


def test_a_split_that_is_there_is_not_touched(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(lab) == 3
    before = {p: p.read_bytes() for p in (lab.folder / "data").rglob("*") if p.is_file()}
    assert run(lab) == 2
    assert "is there already" in capsys.readouterr().err
    assert before == {p: p.read_bytes() for p in (lab.folder / "data").rglob("*") if p.is_file()}


def test_a_turned_photograph_is_the_picture_that_people_saw(lab: Lab) -> None:
    name = "lab_01_frame_0000000011.jpg"
    exif = Image.Exif()
    exif[274] = 6
    tall = np.zeros((WIDTH, HEIGHT, 3), np.uint8)
    tall[: WIDTH // 2] = 255
    Image.fromarray(np.rot90(tall)).save(lab.images / name, exif=exif)
    lab.pictures.append({"id": 9, "file_name": name, "width": HEIGHT, "height": WIDTH})
    lab.object(9, "pepper", [box(5, 5, 30, 30)])
    assert run(lab) == 3
    (path,) = (lab.folder / "data" / "JPEGImages_Sparse" / "train").glob(f"*/{name[7:]}")
    shown = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    assert shown.shape == (WIDTH, HEIGHT, 3)
    assert shown[5].mean() > 250 and shown[-5].mean() < 5


def test_labelme_files_give_the_same(lab: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    for entry in lab.pictures:
        small = np.zeros((20, 10), np.uint8)
        small[5:] = 255
        _, png = cv2.imencode(".png", small)
        shapes = [
            {"label": "pepper", "points": [[10, 10], [40, 10], [40, 30], [10, 30]],
             "shape_type": "polygon", "group_id": None, "flags": {"in use": True}},
            {"label": "knife", "points": [[50, 10], [60, 50]], "shape_type": "rectangle"},
            {"label": "left hand", "points": [[70, 0], [79, 19]], "shape_type": "mask",
             "mask": base64.b64encode(png.tobytes()).decode(), "group_id": 1},
            {"label": "left hand", "points": [[85, 50], [88, 50]], "shape_type": "circle",
             "group_id": 1},
        ]  # fmt: skip
        content = {
            "imagePath": "C:\\pictures\\" + entry["file_name"],
            "imageWidth": WIDTH,
            "imageHeight": HEIGHT,
            "shapes": shapes,
        }
        (lab.images / f"{entry['id']}.json").write_text(json.dumps(content))
    options = ["--annotations", str(lab.images), "--narrations", str(lab.narrations)]
    out = ["--out", str(lab.folder / "data")]
    assert cli.main(["import", "labelme", *options, *out]) == 3
    drawn, known = labels(lab), ids(lab)
    assert drawn[20, 20] == known["pepper"] and drawn[30, 55] == known["knife"]
    assert drawn[2, 75] == 0 and drawn[10, 75] == drawn[50, 85] == known["left hand"]
    assert record(lab)["object_classes"][str(known["knife"])]["positive"] == 0
    path = lab.images / "1.json"
    content = json.loads(path.read_text())
    content["shapes"][0]["shape_type"] = "line"
    path.write_text(json.dumps(content))
    capsys.readouterr()
    assert cli.main(["import", "labelme", *options, "--out", str(lab.folder / "other")]) == 2
    assert "1.json: shape 1: 'pepper': a line has no area" in capsys.readouterr().err


def test_labelme_files_belong_to_the_pictures_beside_them(tmp_path: Path) -> None:
    lab = Lab(tmp_path, frames=())
    for video, label in (("P01", "pepper"), ("P02", "knife")):
        lab.picture(f"{video}/frame_0000000001.jpg", listed=False)
        corners = [[10, 10], [40, 10], [40, 30], [10, 30]]
        content = {
            "imagePath": "frame_0000000001.jpg",
            "imageWidth": WIDTH,
            "imageHeight": HEIGHT,
            "shapes": [{"label": label, "points": corners, "shape_type": "polygon"}],
        }
        (lab.images / video / "frame_0000000001.json").write_text(json.dumps(content))
    lab.narrate(
        "a,P01,00:00:00.1,00:00:01,1,30,cut pepper", "b,P02,00:00:00.1,00:00:01,1,30,take knife"
    )
    options = ["--annotations", str(lab.images), "--narrations", str(lab.narrations)]
    assert cli.main(["import", "labelme", *options, "--out", str(tmp_path / "data")]) == 0
    records = read_split(tmp_path / "data" / "ImageSets" / "train.json")
    named = {r["video"]: [e["name"] for e in r["object_classes"].values()] for r in records}
    assert named == {"P01": ["pepper"], "P02": ["knife"]}


def test_labelme_files_in_folders_of_their_own_keep_their_recording(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lab = Lab(tmp_path / "lab", frames=())
    shape = {"label": "pepper", "points": [[1e400, float("nan")], [9, 9]], "shape_type": "mask"}
    corners = [[10, 10], [40, 10], [40, 30], [10, 30]]
    given = {
        "P01": "frame_0000000001.jpg",
        "P02": "C:\\pictures\\frame_0000000001.jpg",
        "anna": "..\\P03\\frame_0000000001.jpg",
        "ben": "P04_frame_0000000001.jpg",
        "eve": "frame_0000000009.jpg",
    }
    for name in ("P01/frame_1", "P02/frame_1", "P03/frame_1", "P04_frame_1", "frame_9"):
        start, _, number = name.rpartition("_")
        lab.picture(f"{start}_{int(number):010d}.jpg", listed=False)
    for folder, file in given.items():
        path = tmp_path / "labels" / folder / "a.json"
        path.parent.mkdir(parents=True)
        shapes = [{"label": "pepper", "points": corners, "shape_type": "polygon"}]
        size = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
        path.write_text(json.dumps({"imagePath": file, "shapes": shapes, **size}))
    videos = ("P01", "P02", "P03", "P04")
    lab.narrate(*(f"a,{v},00:00:00.1,00:00:01,1,30,cut pepper" for v in videos))
    options = [
        *("--annotations", str(tmp_path / "labels"), "--images", str(lab.images)),
        *("--narrations", str(lab.narrations), "--out", str(tmp_path / "lab" / "data")),
    ]
    assert cli.main(["import", "labelme", *options]) == 3
    assert "(VIDEO_frame_NUMBER): frame_0000000009.jpg" in capsys.readouterr().err
    clips = read_split(tmp_path / "lab" / "data" / "ImageSets" / "train.json")
    assert [clip["video"] for clip in clips] == list(videos)
    # The picture of another recording is not taken for one that is gone.
    shutil.rmtree(tmp_path / "lab" / "data")
    (lab.images / "P01" / "frame_0000000001.jpg").unlink()
    for folder in ("P02", "anna", "ben", "eve"):
        shutil.rmtree(tmp_path / "labels" / folder)
    for path in lab.images.glob("P0[34]*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    lab.narrate("a,P02,00:00:00.1,00:00:01,1,30,cut pepper")
    assert cli.main(["import", "labelme", *options]) == 2
    assert "P01/frame_0000000001.jpg is not in" in capsys.readouterr().err
    path = tmp_path / "labels" / "P01" / "a.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"imagePath": "f" * 300 + ".jpg"}))
    assert cli.main(["import", "labelme", *options]) == 2
    assert "a.json: [Errno 36] File name too long" in capsys.readouterr().err
    path.write_text(json.dumps(content | {"shapes": [shape]}))
    assert cli.main(["import", "labelme", *options]) == 2
    assert "shape 1: 'pepper': its points are no list" in capsys.readouterr().err


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.data())
def test_run_lengths_are_counted_and_damage_is_seen(
    pixels: list[bool], data: st.DataObject
) -> None:
    counts = coco_mask.encode(np.asfortranarray(np.array(pixels, np.uint8)[:, None]))["counts"]
    text = counts.decode()
    assert _decoded_length(text) == len(pixels)
    place = data.draw(st.integers(0, len(text)))
    if _decoded_length(text[:place]) == len(pixels):
        assert place == len(text)
    assert isinstance(_decoded_length(data.draw(st.text(max_size=20))), int)
