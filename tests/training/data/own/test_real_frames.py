"""Real frames with true masks, in the form of an annotation tool, through the whole chain."""

from __future__ import annotations

import csv
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from training import cli
from training.data.palette import read_label_png
from training.data.splits import load_clips, read_split
from training.model import PRESETS


def _narrations(folder: Path, path: Path) -> None:
    """A table of the narrations near the frames; those of P03_101 last until the next one."""
    said = json.loads((folder / "P03_101" / "narrations_by_frame.json").read_text())
    said = [entry for entry in said if entry["frame"] < 700]
    rows = [("P01_107", 2400, 2600, "put cereal into bag")]
    for entry, after in itertools.pairwise(said):
        rows.append(("P03_101", entry["frame"], after["frame"], entry["narration"]))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["narration_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame",
             "stop_frame", "narration"]
        )  # fmt: skip
        for place, (video, first, last, narration) in enumerate(rows):
            times = [f"00:00:{frame / 60:05.2f}" for frame in (first, last)]
            writer.writerow([f"{video}_{place}", video, *times, first, last, narration])


def _coco(folder: Path, images: Path, path: Path) -> int:
    """Writes the masks as COCO's run lengths; returns how many."""
    labels = json.loads((folder / "labels.json").read_text())
    names = sorted({name for entry in labels.values() for name in entry["labels"].values()})
    categories = {name: key for key, name in enumerate(names, start=1)}
    pictures, objects = [], []
    images.mkdir()
    for key, (stem, entry) in enumerate(sorted(labels.items()), start=1):
        source = folder / stem.partition("_frame_")[0] / f"{stem}.png"
        shutil.copy(source.with_suffix(".jpg"), images)
        drawn = np.asarray(Image.open(source))
        pictures.append(
            {"id": key, "file_name": f"{stem}.jpg", "width": drawn.shape[1],
             "height": drawn.shape[0]}
        )  # fmt: skip
        for label, name in entry["labels"].items():
            rle = coco_mask.encode(np.asfortranarray(drawn == int(label), np.uint8))
            objects.append(
                {"id": len(objects) + 1, "image_id": key, "category_id": categories[name],
                 "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                 "area": int(coco_mask.area(rle)), "iscrowd": 1}
            )  # fmt: skip
    listed = [{"id": key, "name": name} for name, key in categories.items()]
    content = {"images": pictures, "annotations": objects, "categories": listed}
    path.write_text(json.dumps(content))
    return len(pictures)


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shared / "real_frames"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real_frames, real frames that may not be copied into here")
    root = tmp_path_factory.mktemp("real")
    assert _coco(folder, root / "images", root / "instances.json") == 12
    _narrations(folder, root / "narrations.csv")
    status = cli.main(
        ["import", "coco", "--annotations", str(root / "instances.json"), "--images",
         str(root / "images"), "--narrations", str(root / "narrations.csv"), "--out",
         str(root / "data"), "--val-videos", "P01_107", "--nouns",
         str(shared / "epic" / "EPIC_100_noun_classes_v2.csv")]
    )  # fmt: skip
    assert status == 0
    return root / "data"


def test_masks_come_through_unchanged(data: Path, shared: Path) -> None:
    folder = shared / "real_frames"
    known = json.loads((folder / "labels.json").read_text())
    seen = set()
    for split in ("train", "val"):
        for clip, record in zip(
            load_clips(data / "ImageSets" / f"{split}.json"),
            read_split(data / "ImageSets" / f"{split}.json"),
            strict=True,
        ):
            ids = {entry.name: entry.object_id for entry in clip.objects}
            for frame in clip.frames:
                stem = f"{record['video']}_{frame}"
                drawn = read_label_png(
                    data / "Annotations_Sparse" / split / clip.sequence / f"{frame}.png"
                )
                true = np.asarray(Image.open(folder / record["video"] / f"{stem}.png"))
                for label, name in known[stem]["labels"].items():
                    np.testing.assert_array_equal(drawn == ids[name], true == int(label))
                stored = data / "JPEGImages_Sparse" / split / clip.sequence / f"{frame}.jpg"
                assert (
                    stored.read_bytes() == (folder / record["video"] / f"{stem}.jpg").read_bytes()
                )
                seen.add(stem)
    assert len(seen) == 12


def test_names_have_epics_classes_and_what_is_narrated_is_active(data: Path) -> None:
    (clip,) = read_split(data / "ImageSets" / "val.json")
    objects = {e["name"]: e for e in clip["object_classes"].values()}
    assert objects["left hand"]["class_id"] == 300 and objects["cereal"]["positive"]
    assert not objects["bread"]["positive"] and objects["cup"]["class_id"] == 13
    assert clip["noun"] == "cereal" and all(e["class_id"] < 302 for e in objects.values())


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One step of a small network; no quality asked: twelve frames teach nothing."""
    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        tiny = replace(PRESETS["tiny"], input_height=60, input_width=107)
        patch.setitem(PRESETS, "tiny", tiny)
        options = ["--preset", "tiny", "--epochs", "1", "--batch-size", "16", "--workers", "0"]
        assert cli.main(["train", "--data", str(data), *options, "--out", str(run)]) == 0
        yield run / "best.safetensors"


def _predict(data: Path, out: Path, *network: str) -> None:
    split = data / "ImageSets" / "val.json"
    where = ["--data", str(data), "--split", str(split), "--out", str(out)]
    assert cli.main(["predict", *network, *where]) == 0
    assert len(list(out.rglob("*.png"))) == 2
    labels = ["--annotations", str(data / "Annotations_Sparse" / "val"), "--split", str(split)]
    assert cli.main(["evaluate", "--predictions", str(out), *labels]) == 0


def test_the_layout_is_trained_and_predicted(data: Path, trained: Path, tmp_path: Path) -> None:
    _predict(data, tmp_path / "predictions", "--checkpoint", str(trained))


@pytest.mark.slow
def test_the_trained_network_is_exported_and_predicts_on_the_robot(
    data: Path, trained: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    assert cli.main(["export", "--checkpoint", str(trained), "--out", str(bundle)]) == 0
    _predict(data, tmp_path / "predictions", "--bundle", str(bundle))
