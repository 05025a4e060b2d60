"""Labels that a model draws: what an annotation tool gets, and that it comes back by import."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.actiseg_ros.dummy_bundle import paint, write_dummy_bundle
from training import cli
from training.data.palette import read_label_png
from training.data.prelabel.drawn import DrawnObject, DrawnPicture, outlined, write_coco
from training.data.splits import read_split

HEADER = (
    "narration_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,narration,"
    "object_names\n"
)
PLACES = {"tomato": (40, 30, 60, 50), "plate": (120, 60, 50, 40), "left": (10, 90, 30, 30)}
NAMES = "['tomato', 'plate', 'left hand', 'knife']"


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """Pictures of the dummy network's world: two while a tomato is cut, one without narration."""
    (tmp_path / "images").mkdir()
    for number in (10, 20, 90):
        picture = paint(PLACES, 128, 192)
        path = tmp_path / "images" / f"lab_1_frame_{number:010d}.png"
        cv2.imwrite(str(path), picture[..., ::-1])
    (tmp_path / "narrations.csv").write_text(
        HEADER + f'a,lab_1,00:00:00.00,00:00:03.00,1,30,cut tomato,"{NAMES}"\n'
    )
    write_dummy_bundle(tmp_path / "bundle")
    return tmp_path


def run(lab: Path, *more: str, out: str = "labels.json") -> int:
    where = ["--images", lab / "images", "--narrations", lab / "narrations.csv"]
    own = ["--bundle", lab / "bundle", "--out", lab / out]
    return cli.main(["prelabel", *map(str, [*where, *own]), *more])


def test_masks_of_the_model_become_polygons_with_what_is_in_use(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(lab) == 0
    assert "1 pictures lie outside of every narration" in capsys.readouterr().out
    content = json.loads((lab / "labels.json").read_text())
    assert [entry["file_name"] for entry in content["images"]] == [
        "lab_1_frame_0000000010.png", "lab_1_frame_0000000020.png",
    ]  # fmt: skip
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    assert sorted(names.values()) == ["knife", "left hand", "plate", "tomato"]
    first = {names[a["category_id"]]: a for a in content["annotations"] if a["image_id"] == 1}
    assert set(first) == {"tomato", "plate", "left hand"}
    assert {name: a["attributes"]["in use"] for name, a in first.items()} == {
        "tomato": True, "plate": False, "left hand": True,
    }  # fmt: skip
    x, y, width, height = first["tomato"]["bbox"]
    left, top, w, h = PLACES["tomato"]
    assert np.allclose([x, y, x + width, y + height], [left, top, left + w, top + h], atol=6)


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_what_is_written_is_imported_again(lab: Path, form: str) -> None:
    out = "labels.json" if form == "coco" else "images"
    assert run(lab, "--form", form, out=out) == 0
    status = cli.main(
        ["import", form, "--annotations", str(lab / out), "--images", str(lab / "images"),
         "--narrations", str(lab / "narrations.csv"), "--out", str(lab / "data")]
    )  # fmt: skip
    assert status == 0
    (clip,) = read_split(lab / "data" / "ImageSets" / "train.json")
    found = {entry["name"]: (int(key), entry) for key, entry in clip["object_classes"].items()}
    assert {name: entry["positive"] for name, (_, entry) in found.items()} == {
        "tomato": 1, "plate": 0, "left hand": 1,
    }  # fmt: skip
    (path, _) = sorted((lab / "data" / "Annotations_Sparse").rglob("*.png"))
    drawn = read_label_png(path) == found["tomato"][0]
    left, top, width, height = PLACES["tomato"]
    true = np.zeros_like(drawn)
    true[top : top + height, left : left + width] = True
    assert (drawn & true).sum() / (drawn | true).sum() > 0.8


def test_names_can_be_given(lab: Path) -> None:
    assert run(lab, "--names", "tomato, lettuce") == 0
    content = json.loads((lab / "labels.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == ["lettuce", "tomato"]
    assert run(lab, "--names", '"tomato, red", plate', out="more.json") == 0
    content = json.loads((lab / "more.json").read_text())
    assert [entry["name"] for entry in content["categories"]] == ["plate", "tomato, red"]
    assert run(lab, "--names", " , ", out="none.json") == 2
    assert not (lab / "none.json").exists()


def test_people_s_labels_are_not_replaced(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = lab / "images" / "lab_1_frame_0000000020.json"
    mine.write_text("mine")
    assert run(lab, "--form", "labelme", out="images") == 2
    assert "is there already" in capsys.readouterr().err
    assert mine.read_text() == "mine"
    assert not (lab / "images" / "lab_1_frame_0000000010.json").exists()
    assert run(lab, out="images/lab_1_frame_0000000020.json") == 2
    assert mine.read_text() == "mine"
    mine.unlink()
    twin = lab / "images" / "lab_1_frame_0000000010.jpg"
    cv2.imwrite(str(twin), cv2.imread(str(twin.with_suffix(".png"))))
    assert run(lab, "--form", "labelme", out="images") == 2
    assert "would share it; rename one" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["coco", "labelme"])
def test_where_nothing_can_be_written_nothing_is_drawn(
    lab: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (lab / "images").iterdir():
        picture.write_bytes(b"")
    assert run(lab, "--form", form, out="/proc/actiseg/labels.json") == 2
    assert "cannot be written" in capsys.readouterr().err


def test_a_turned_picture_is_labelled_as_people_see_it(lab: Path) -> None:
    assert run(lab) == 0
    path = lab / "images" / "lab_1_frame_0000000010.png"
    upright = Image.open(path)
    exif = Image.Exif()
    exif[274] = 3  # stored upside down
    upright.rotate(180).save(path, exif=exif)
    assert run(lab, out="turned.json") == 0
    straight, turned = (
        json.loads((lab / name).read_text())["annotations"]
        for name in ("labels.json", "turned.json")
    )
    assert turned == straight


def test_pictures_that_belong_to_nothing_are_refused(
    lab: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lab / "narrations.csv").write_text(HEADER + "a,other,00:00:00,00:00:03,1,30,cut tomato,\n")
    for path in (lab / "images").iterdir():
        path.rename(path.with_name(f"strange_{path.name}"))
    assert run(lab) == 2
    assert "no picture belongs to a narration" in capsys.readouterr().err
    assert not (lab / "labels.json").exists()


def test_specks_are_left_out_and_parts_stay_together(tmp_path: Path) -> None:
    pixels = np.zeros((60, 80), np.bool_)
    pixels[5:20, 5:20] = pixels[30:50, 40:70] = True
    pixels[55:57, 75:77] = True
    (shape,) = outlined([DrawnObject("cup", pixels, None, 0.5)])
    assert len(shape.polygons) == 2 and shape.active is None
    write_coco(tmp_path / "c.json", [DrawnPicture("ä, b.jpg", 80, 60, (shape,))], ["cup", "cup"])
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["images"][0]["file_name"] == "ä, b.jpg"
    assert content["annotations"][0]["attributes"] == {} and len(content["categories"]) == 1
    assert outlined([DrawnObject("cup", np.zeros((60, 80), np.bool_), None, 0.5)]) == ()
