"""The study judges as the robot does, and counts clips as calibration does."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.actiseg_ros.dummy_bundle import write_dummy_bundle
from tests.training.deploy.labelled_clips import write_labelled_clips
from training.cli import main
from training.deploy.calibrate import calibrate
from training.deploy.corruptions import CORRUPTIONS, MOVES
from training.deploy.risk_control import Criteria


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = write_labelled_clips(tmp_path_factory.mktemp("calibration"))
    folder = write_dummy_bundle(tmp_path_factory.mktemp("bundle") / "dummy")
    split = data / "ImageSets" / "val.json"
    calibrate(folder, data, split, Criteria(risk=0.1), threads=1)
    return folder


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled_clips(tmp_path_factory.mktemp("unseen"), seed=2)


def study(bundle: Path, data: Path, out: Path, *options: str) -> dict:
    arguments = ["--bundle", bundle, "--data", data, "--split", data / "ImageSets/val.json"]
    assert main(["gate-study", *map(str, arguments), "--out", str(out), *options]) == 0
    return json.loads((out / "study.json").read_text())


@pytest.mark.parametrize("candidates", ["narration", "annotated", "target"])
def test_unseen_clips_keep_the_risk(
    calibrated: Path, unseen: Path, tmp_path: Path, candidates: str
) -> None:
    found = study(calibrated, unseen, tmp_path, "--candidates", candidates)
    assert found["clips"] == found["frames"] == 60
    assert 20 < found["accepted"] <= 48 and found["certified_risk"] == 0.1
    assert found["failing"] / found["accepted"] == found["share"] <= 0.1
    assert found["share"] < found["upper_bound"] < 0.2
    assert found["verbs"] == {"cut": [found["accepted"], found["failing"]]}
    assert 0 < found["accepted_alone_frames"] <= found["alone_frames"] < found["frames"]
    assert found["frames"] - found["accepted_frames"] <= sum(found["reasons"].values())
    assert (tmp_path / "risk_coverage.png").stat().st_size > 1000


def test_a_study_on_the_clips_of_the_calibration_says_so(
    calibrated: Path, unseen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert study(calibrated, unseen, tmp_path / "new")["held_out"] is True
    assert "trained or calibrated on" not in capsys.readouterr().out
    data = write_labelled_clips(tmp_path / "same")
    assert study(calibrated, data, tmp_path / "old")["held_out"] is False
    assert "trained or calibrated on" in capsys.readouterr().out


@pytest.mark.parametrize("corruption", ["occlusion", "noise"])
def test_a_bad_camera_makes_frames_foreign(
    calibrated: Path, unseen: Path, tmp_path: Path, corruption: str
) -> None:
    found = study(calibrated, unseen, tmp_path, "--corruption", corruption)
    assert found["corruption"] == corruption
    assert found["reasons"]["OUT_OF_DISTRIBUTION"] >= 0.9 * found["frames"]


def test_all_studies_at_once_are_those_of_one_by_one(
    calibrated: Path, unseen: Path, tmp_path: Path
) -> None:
    one = study(calibrated, unseen, tmp_path / "one", "--candidates", "annotated")
    common = ["--bundle", str(calibrated), "--data", str(unseen)]
    common += ["--split", str(unseen / "ImageSets/val.json"), "--out", str(tmp_path / "all")]
    assert main(["gate-study", *common, "--candidates", "all"]) == 0
    found = {path.parent.name for path in (tmp_path / "all").glob("*/study.json")}
    assert found == {"named", "narration", "target"}
    assert json.loads((tmp_path / "all" / "named" / "study.json").read_text()) == one
    told = (tmp_path / "all" / "studies.md").read_text()
    for table in told.split("\n\n"):
        assert len({line.count("|") for line in table.splitlines()}) == 1
    assert f"| named | as it is | 10% | 60 | {one['accepted']} | {one['failing']} |" in told


def test_clips_without_a_target_are_no_study(
    calibrated: Path, unseen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = json.loads((unseen / "ImageSets/val.json").read_text())
    split = tmp_path / "val.json"
    split.write_text(json.dumps([{**record, "narration": "walk"} for record in records[:2]]))
    common = ["--bundle", str(calibrated), "--data", str(unseen), "--split", str(split)]
    for candidates in ("narration", "all"):
        out = ["--out", str(tmp_path / "out"), "--candidates", candidates]
        assert main(["gate-study", *common, *out]) == 2
        assert "val.json: no frame of 2 clips has a target; give" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_other_risks_are_told_by_the_limits_that_calibration_would_have_chosen(
    calibrated: Path, unseen: Path, tmp_path: Path
) -> None:
    asked = study(calibrated, unseen, tmp_path, "--candidates", "annotated")["asked"]
    assert [row["risk"] for row in asked] == [0.02, 0.05, 0.1, 0.2]
    certified = [row for row in asked if row["certified"]]
    assert [row["risk"] for row in certified] == [0.1, 0.2]  # 48 good clips show no less
    assert all(row["share"] <= row["risk"] for row in certified)
    assert certified[0]["accepted"] <= certified[1]["accepted"]


def test_limits_without_a_certificate_accept_nothing_as_on_the_robot(
    unseen: Path, tmp_path: Path
) -> None:
    data = write_labelled_clips(tmp_path / "data")
    folder = write_dummy_bundle(tmp_path / "dummy")
    calibrate(folder, data, data / "ImageSets/val.json", Criteria(risk=0.01), threads=1)
    found = study(folder, unseen, tmp_path / "out", "--candidates", "annotated")
    assert found["accepted"] == found["accepted_frames"] == 0 and found["certified_risk"] is None
    assert found["reasons"]["NOT_CALIBRATED"] == found["frames"]
    assert found["uncertified"]["accepted"] > 20


def test_an_uncalibrated_bundle_and_an_unknown_corruption_are_refused(
    calibrated: Path, unseen: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = write_dummy_bundle(tmp_path / "plain")
    common = ["--data", str(unseen), "--split", str(unseen / "ImageSets/val.json")]
    common += ["--out", str(tmp_path / "out")]
    assert main(["gate-study", "--bundle", str(plain), *common]) == 2
    assert "not calibrated" in capsys.readouterr().err
    command = ["gate-study", "--bundle", str(calibrated), *common, "--corruption", "fog"]
    assert main(command) == 2
    assert "occlusion, darkness" in capsys.readouterr().err


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_corruptions_keep_the_shape_and_change_the_image(name: str) -> None:
    image = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    spoilt = CORRUPTIONS[name](image, np.random.default_rng(1))
    assert spoilt.shape == image.shape and spoilt.dtype == np.uint8
    assert (spoilt != image).any()


@pytest.mark.parametrize("name", MOVES)
def test_labels_move_with_their_pixels(name: str) -> None:
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = np.repeat(labels[..., None], 3, 2)
    moved = CORRUPTIONS[name](image, np.random.default_rng(0))
    np.testing.assert_array_equal(moved[..., 0], MOVES[name](labels))
