import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from actiseg_ros.errors import ActisegError
from training.cli import main
from training.data.palette import write_label_png
from training.evaluation.metrics import Tally, evaluate

EMPTY = np.zeros((4, 4), np.uint8)
TOP = np.repeat(np.array([1, 1, 0, 0], np.uint8), 4).reshape(4, 4)
MIDDLE = np.repeat(np.array([0, 1, 1, 0], np.uint8), 4).reshape(4, 4)
BOTTOM = np.repeat(np.array([0, 0, 1, 1], np.uint8), 4).reshape(4, 4)


@pytest.mark.parametrize(
    ("active", "truth", "prediction", "counted", "giou", "iou"),
    [
        (True, EMPTY, EMPTY, "tn", 1.0, math.nan),
        (True, EMPTY, TOP, "fp", 0.0, 0.0),
        (True, TOP, EMPTY, "fn", 0.0, 0.0),
        (True, TOP, MIDDLE, "tp", 1 / 3, 1 / 3),
        (True, TOP, BOTTOM, "tp", 0.0, 0.0),
        (False, EMPTY, EMPTY, "tn", 1.0, math.nan),
        (False, EMPTY, TOP, "fp", 0.0, 0.0),
        (False, TOP, EMPTY, "tn", 1.0, 0.0),
        (False, TOP, TOP, "fp", 0.0, 1.0),
    ],
)
def test_every_kind_of_sample(active, truth, prediction, counted, giou, iou):
    tally = Tally()
    tally.add_frame(prediction, truth, {1: active})
    metrics = tally.metrics(strict=False)
    counts = {name: getattr(metrics, name) for name in ("tp", "tn", "fp", "fn")}
    assert counts == {name: int(name == counted) for name in counts}
    assert metrics.giou == pytest.approx(giou)
    own = metrics.p_miou if active else metrics.n_miou
    assert own == pytest.approx(iou, nan_ok=True)
    assert metrics.acc == (counted in ("tp", "tn"))


def test_cumulative_iou_weighs_by_area_and_mean_iou_does_not():
    large = np.ones((8, 8), np.uint8)
    tally = Tally()
    tally.add_frame(large, large, {1: True})
    tally.add_frame(EMPTY, TOP, {1: True})
    metrics = tally.metrics(strict=False)
    assert metrics.p_miou == pytest.approx(0.5)
    assert metrics.p_ciou == pytest.approx(64 / 72)


def test_labels_that_the_split_does_not_list_are_ignored():
    tally = Tally()
    tally.add_frame(TOP * 7, TOP, {1: True, 2: False})
    metrics = tally.metrics(strict=False)
    assert (metrics.tp, metrics.fn, metrics.tn, metrics.fp) == (0, 1, 1, 0)


labelled = arrays(np.uint8, (3, 5), elements=st.integers(0, 4))


@given(st.lists(st.tuples(labelled, labelled), min_size=1, max_size=5), st.integers(0, 15))
def test_tally_agrees_with_counting_object_by_object(frames, flags):
    positive = {label: bool(flags >> (label - 1) & 1) for label in range(1, 5)}
    tally, gious, ious = Tally(), [], {True: [], False: []}
    for prediction, truth in frames:
        tally.add_frame(prediction, truth, positive)
        for label, active in positive.items():
            p, t = prediction == label, truth == label
            iou = (p & t).sum() / (p | t).sum() if (p | t).any() else None
            if iou is not None:
                ious[active].append(iou)
            drawn = bool(p.any())
            gious.append(iou if active and t.any() else float(not drawn))
    metrics = tally.metrics(strict=False)
    assert metrics.giou == pytest.approx(np.mean(gious), abs=1e-12)
    for active, value in ((True, metrics.p_miou), (False, metrics.n_miou)):
        expected = np.mean(ious[active]) if ious[active] else math.nan
        assert value == pytest.approx(expected, abs=1e-12, nan_ok=True)
    assert metrics.tp + metrics.tn + metrics.fp + metrics.fn == 4 * len(frames)


def make_split(
    root: Path, sequences: int = 3, frames: int = 2, size: tuple[int, int] = (12, 16)
) -> tuple[Path, Path, Path]:
    """Predictions, annotations and split list with a colon in every name and one flagged entry."""
    rng = np.random.default_rng(0)
    entries = []
    for index in range(sequences):
        entry = {
            "seq_id": index,
            "video": "P01_01",
            "verb": "put-into",
            "noun": "bag:cereal",
            "sparse_frames": [f"frame_{number:010d}.jpg" for number in range(frames)],
            "object_classes": {"1": {"positive": 1}, "2": {"positive": 0}},
            "redundant": False,
            "missing": index == 1,
            "other": False,
        }
        entries.append(entry)
        for name in entry["sparse_frames"]:
            for kind in ("pred", "gt"):
                folder = root / kind / f"{index:08d}_P01_01_put-into_bag:cereal"
                folder.mkdir(parents=True, exist_ok=True)
                labels = rng.integers(0, 3, size).astype(np.uint8)
                write_label_png(folder / f"{Path(name).stem}.png", labels)
    split = root / "split.json"
    split.write_text(json.dumps(entries))
    return root / "pred", root / "gt", split


def test_flagged_sequences_are_left_out(tmp_path):
    folders = make_split(tmp_path)
    assert evaluate(*folders).videos == 2
    assert evaluate(*folders, flagged="leave-out").videos == 2
    assert evaluate(*folders, flagged="include").videos == 3


def test_a_file_without_flags_is_refused_only_if_they_are_asked_for(tmp_path):
    *folders, split = make_split(tmp_path)
    entries = json.loads(split.read_text())
    for entry in entries:
        del entry["redundant"], entry["missing"], entry["other"]
    split.write_text(json.dumps(entries))
    assert evaluate(*folders, split).videos == 3
    with pytest.raises(ActisegError, match=r"0_\S+ has no field 'redundant'.*--flagged include"):
        evaluate(*folders, split, flagged="leave-out")


def test_processes_give_the_numbers_of_one_process(tmp_path):
    folders = make_split(tmp_path, sequences=8, frames=10)
    assert evaluate(*folders, workers=2) == evaluate(*folders, workers=1)


def test_parent_folder_of_the_sequences_is_understood(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    (tmp_path / "data").mkdir()
    annotations.rename(tmp_path / "data" / "val")
    direct = evaluate(predictions, tmp_path / "data" / "val", split)
    assert evaluate(predictions, tmp_path / "data", split) == direct


def test_missing_prediction_is_named(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    lost = next(predictions.glob("00000002*/*.png"))
    lost.unlink()
    with pytest.raises(ActisegError, match=f"{lost.name}: not found"):
        evaluate(predictions, annotations, split)


def test_prediction_of_another_size_is_refused(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    write_label_png(next(predictions.glob("00000000*/*.png")), EMPTY)
    with pytest.raises(ActisegError, match=r"is 4x4 pixels, its annotation .* 16x12"):
        evaluate(predictions, annotations, split)


def test_truncated_png_is_refused(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    broken = next(predictions.glob("00000000*/*.png"))
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(ActisegError, match=broken.name):
        evaluate(predictions, annotations, split)


CLIP = {"video": "v", "verb": "a", "noun": "b", "sparse_frames": [], "object_classes": {}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "split.json"),
        ('{"videos": {}}', "is not a list of clips"),
        ("[]", "no sequence is left"),
        ('[{"seq_id": 1}]', "clip 1: video is missing"),
        (
            '[{"seq_id": 1, "video": "v", "verb": "a", "noun": "b", "sparse_frames": [], '
            '"object_classes": {"x": {"positive": 1}}}]',
            "clip 1: object id 'x' is no label",
        ),
        (
            '[{"seq_id": 1, "video": "v", "verb": "a", "noun": "b", '
            '"object_classes": {"1": {"positive": 1}}}]',
            "sparse_frames",
        ),
        (
            json.dumps([{**CLIP, "seq_id": number} for number in (1, 2, "1")]),
            "split.json: clips 1 and 3 are both 00000001_v_a_b; remove one of them",
        ),
    ],
)
def test_malformed_splits_are_refused(tmp_path, content, message):
    predictions, annotations, split = make_split(tmp_path)
    split.write_text(content)
    with pytest.raises(ActisegError, match=message):
        evaluate(predictions, annotations, split)


def test_undefined_means_are_refused_or_nan(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    entries = json.loads(split.read_text())
    for entry in entries:
        del entry["object_classes"]["2"]
    split.write_text(json.dumps(entries))
    with pytest.raises(ActisegError, match="negative object"):
        evaluate(predictions, annotations, split)
    metrics = evaluate(predictions, annotations, split, strict=False)
    assert math.isnan(metrics.n_miou)
    assert 0 < metrics.p_miou < 1


def test_command_prints_and_writes_percentages(tmp_path, capsys):
    predictions, annotations, split = make_split(tmp_path)
    out = tmp_path / "out" / "numbers.json"
    arguments = ["--predictions", predictions, "--annotations", annotations, "--split", split]
    assert main(["evaluate", *map(str, arguments), "--json", str(out)]) == 0
    numbers = json.loads(out.read_text())
    expected = evaluate(predictions, annotations, split)
    assert numbers["p_miou"] == pytest.approx(100 * expected.p_miou, abs=1e-9)
    assert numbers["videos"] == 2
    assert set(numbers) == {
        *("p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc"),
        *("tp", "tn", "fp", "fn", "videos"),
    }
    assert f"p_miou {numbers['p_miou']:8.2f}" in capsys.readouterr().out


def test_command_tells_a_bad_folder_in_one_line(tmp_path, capsys):
    _, annotations, split = make_split(tmp_path)
    arguments = ["--predictions", "nowhere", "--annotations", annotations, "--split", split]
    assert main(["evaluate", *map(str, arguments)]) == 2
    assert capsys.readouterr().err == "error: no folder nowhere\n"


def test_human_checked_split_counts_294_of_353(shared, tmp_path):
    split = shared / "epic" / "val_human.json"
    entries = json.loads(split.read_text())
    labels = np.array([[0, 1, 2], [1, 2, 0]], np.uint8)
    for entry in entries:
        name = "{seq_id:08d}_{video}_{verb}_{noun}".format(**entry)
        folder = tmp_path / "labels" / name
        folder.mkdir(parents=True)
        for frame in entry["sparse_frames"]:
            write_label_png(folder / f"{Path(frame).stem}.png", labels)
    assert any(":" in folder.name for folder in (tmp_path / "labels").iterdir())
    folders = tmp_path / "labels", tmp_path / "labels", split
    assert evaluate(*folders).videos == 294
    assert evaluate(*folders, flagged="include").videos == 353


def test_split_with_flagged_sequences_only_has_no_numbers(tmp_path):
    predictions, annotations, split = make_split(tmp_path)
    split.write_text(json.dumps(json.loads(split.read_text())[1:2]))
    with pytest.raises(ActisegError, match="no sequence is left"):
        evaluate(predictions, annotations, split)
    assert evaluate(predictions, annotations, split, strict=False).videos == 0
