"""Real frames with true masks, in the form of an annotation tool, through the whole chain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.real_frames.run import GROUPS, main, make_data, score
from tests.training.model.micro import MICRO
from training import cli
from training.data.palette import read_label_png
from training.data.splits import load_clips, read_split
from training.model import PRESETS


@pytest.fixture(scope="module")
def data(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = shared / "real_frames"
    if not folder.is_dir():
        pytest.skip("needs ../shared/real_frames, real frames that may not be copied into here")
    nouns = shared / "epic" / "EPIC_100_noun_classes_v2.csv"
    return make_data(folder, nouns, tmp_path_factory.mktemp("real"))


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
        patch.setitem(PRESETS, "tiny", replace(MICRO, name="tiny"))
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


def test_the_truth_scores_everything(data: Path, tmp_path: Path) -> None:
    found = score(data, data / "Annotations_Sparse", tmp_path)
    assert [found[name] for name in GROUPS] == [100] * len(GROUPS)
    assert found["p_miou"] == 100 and found["acc"] < 100  # what is inactive is drawn as well


def test_networks_are_measured_on_them(
    shared: Path, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nouns = shared / "epic" / "EPIC_100_noun_classes_v2.csv"
    where = [str(shared / "real_frames"), "--nouns", str(nouns), "--work", str(tmp_path / "work")]
    assert main([*where, "--checkpoint", str(trained)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "p_miou" in line]
    assert len(lines) == 2
    assert all(f"{name} " in line for name in GROUPS for line in lines)
