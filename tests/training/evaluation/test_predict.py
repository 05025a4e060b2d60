import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actiseg_ros.errors import ActisegError
from tests.actiseg_ros.dummy_bundle import paint, write_dummy_bundle
from training.checkpoints.weights import save_weights
from training.cli import main
from training.data.palette import read_label_png, voc_palette
from training.evaluation.metrics import evaluate
from training.evaluation.predict import predict, write_predictions
from training.evaluation.predictors import CheckpointPredictor, checkpoint_predictor
from training.model import build_model, train_tokenizer

SEQUENCE = "00000007_P01_01_put-into_bag:cereal"
NAMES = ("knife", "left hand", "plate", "tomato")
RECTANGLES = {"plate": (8, 8, 40, 24), "tomato": (52, 8, 24, 40)}


def expression_file(
    path: Path, *, frames: int = 3, sequences: tuple[str, ...] = (SEQUENCE,)
) -> Path:
    expressions = {
        str(index): {"exp": f"{name} used in the action of cut tomato"}
        for index, name in enumerate(NAMES)
    }
    names = [f"frame_{number:010d}" for number in range(frames)]
    videos = {sequence: {"expressions": expressions, "frames": names} for sequence in sequences}
    path.write_text(json.dumps({"videos": videos}))
    return path


def draw_frames(folder: Path, frames: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(frames):
        image = paint(RECTANGLES, 64, 96)
        Image.fromarray(image).save(folder / f"frame_{number:010d}.jpg", quality=95)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    torch.manual_seed(1)
    tokenizer = train_tokenizer([f"{name} used in the action of take" for name in NAMES], 300)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_weights(path, build_model("tiny"), {"tokenizer": tokenizer.to_str()})
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_dummy_bundle(tmp_path_factory.mktemp("bundle"))


def test_bundle_segments_the_active_objects(tmp_path, bundle):
    draw_frames(tmp_path / "data" / "JPEGImages_Sparse" / "val" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    arguments = ["--bundle", bundle, "--data", tmp_path / "data", "--split", split]
    assert main(["predict", *map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    files = sorted((tmp_path / "out" / SEQUENCE).iterdir())
    assert [file.name for file in files] == [f"frame_{n:010d}.png" for n in range(3)]
    with Image.open(files[0]) as image:
        assert image.mode == "P"
        assert image.size == (96, 64)
        assert bytes(image.getpalette() or []) == voc_palette()
    labels = read_label_png(files[0])
    # Only the tomato is named by the narration; the plate is there, but not active.
    assert set(np.unique(labels)) == {0, NAMES.index("tomato") + 1}
    assert labels[28, 64] == NAMES.index("tomato") + 1
    assert labels[28, 4] == 0


def test_without_the_positive_head_everything_is_drawn(tmp_path, bundle):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    out = tmp_path / "out"
    predict(tmp_path / "data", split, out, bundle=bundle, positive_head=False, clip_length=1)
    labels = read_label_png(next((out / SEQUENCE).iterdir()))
    assert {NAMES.index("plate") + 1, NAMES.index("tomato") + 1} <= set(np.unique(labels))


def test_split_list_gets_object_ids_as_labels(tmp_path, bundle):
    draw_frames(tmp_path / "data" / SEQUENCE)
    entry = {
        "seq_id": 7,
        "video": "P01_01",
        "verb": "put-into",
        "noun": "bag:cereal",
        "narration": "cut tomato",
        "sparse_frames": [f"frame_{number:010d}.jpg" for number in range(3)],
        "object_classes": {
            "4": {"name": "plate", "class_id": 1, "positive": 0},
            "9": {"name": "tomato", "class_id": 2, "positive": 1},
        },
    }
    split = tmp_path / "val.json"
    split.write_text(json.dumps([entry]))
    predict(tmp_path / "data", split, tmp_path / "out", bundle=bundle, clip_length=36)
    labels = read_label_png(next((tmp_path / "out" / SEQUENCE).iterdir()))
    assert set(np.unique(labels)) == {0, 9}


def test_interrupted_prediction_continues(tmp_path, checkpoint):
    sequences = SEQUENCE, "00000008_P01_01_take_cup"
    for sequence in sequences:
        draw_frames(tmp_path / "data" / sequence)
    split = expression_file(tmp_path / "val_meta.json", sequences=sequences)
    out = tmp_path / "out"

    def run() -> int:
        return predict(tmp_path / "data", split, out, checkpoint=checkpoint, clip_length=2)

    assert run() == 2
    kept, lost = (out / sequence / "frame_0000000001.png" for sequence in sequences)
    written = kept.stat().st_mtime_ns
    content = lost.read_bytes()
    lost.unlink()
    assert run() == 1
    assert lost.read_bytes() == content
    assert kept.stat().st_mtime_ns == written
    assert run() == 0
    assert not [path for path in out.rglob("*") if ".part" in path.name]


def test_labels_of_other_settings_are_not_mixed(tmp_path, checkpoint):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    predict(tmp_path / "data", split, tmp_path / "out", checkpoint=checkpoint, clip_length=36)
    with pytest.raises(ActisegError, match="made otherwise: positive_threshold"):
        predict(
            tmp_path / "data",
            split,
            tmp_path / "out",
            checkpoint=checkpoint,
            positive_threshold=0.5,
            clip_length=36,
        )


def test_labels_that_somebody_else_left_are_not_taken_for_predictions(tmp_path, checkpoint):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    foreign = tmp_path / "out" / SEQUENCE / "frame_0000000000.png"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"mine")
    with pytest.raises(ActisegError, match="does not hold predictions"):
        predict(tmp_path / "data", split, tmp_path / "out", checkpoint=checkpoint, clip_length=36)
    assert list(tmp_path.joinpath("out").rglob("*.*")) == [foreign]


def test_clips_are_cut_at_the_given_length(tmp_path):
    draw_frames(tmp_path / "data" / SEQUENCE, frames=5)
    split = expression_file(tmp_path / "val_meta.json", frames=5)
    lengths = []

    def predictor(frames, expressions):
        lengths.append(len(frames))
        assert len(expressions) == len(NAMES)
        return np.full((len(frames), *frames[0].shape[:2]), len(lengths), np.uint8)

    write_predictions(predictor, tmp_path / "data", split, tmp_path / "out", {}, clip_length=2)
    assert lengths == [2, 2, 1]
    last = read_label_png(tmp_path / "out" / SEQUENCE / "frame_0000000004.png")
    assert (last == 3).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "exactly one of --checkpoint and --bundle"),
        ({"checkpoint": Path("a"), "bundle": Path("b")}, "exactly one of"),
        ({"bundle": Path("b"), "clip_length": 0}, "--clip-length is 0"),
        ({"bundle": Path("b"), "positive_threshold": 1.5}, "--positive-threshold is 1.5"),
    ],
)
def test_contradicting_options_are_refused(tmp_path, options, message):
    split = expression_file(tmp_path / "val_meta.json")
    with pytest.raises(ActisegError, match=message):
        predict(tmp_path, split, tmp_path / "out", **{"clip_length": 36, **options})


@pytest.mark.parametrize("damage", ["missing", "truncated", "other size"])
def test_bad_frames_are_named(tmp_path, bundle, damage):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    frame = tmp_path / "data" / SEQUENCE / "frame_0000000001.jpg"
    if damage == "missing":
        frame.unlink()
    elif damage == "truncated":
        frame.write_bytes(frame.read_bytes()[:200])
    else:
        Image.new("RGB", (32, 32)).save(frame)
    with pytest.raises(ActisegError, match=frame.name):
        predict(tmp_path / "data", split, tmp_path / "out", bundle=bundle, clip_length=36)


def test_free_expressions_need_a_checkpoint(tmp_path, bundle):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = tmp_path / "free.json"
    content = {"expressions": {"0": {"exp": "the red thing"}}, "frames": ["frame_0000000000"]}
    split.write_text(json.dumps({"videos": {SEQUENCE: content}}))
    with pytest.raises(ActisegError, match="use --checkpoint for free expressions"):
        predict(tmp_path / "data", split, tmp_path / "out", bundle=bundle, clip_length=36)


def test_real_frames_and_expressions(shared, tmp_path, checkpoint):
    epic = shared / "epic"
    split = epic / "demo_expressions.json"
    arguments = ["--checkpoint", checkpoint, "--data", epic / "demo_frames", "--split", split]
    assert main(["predict", *map(str, arguments), "--out", str(tmp_path / "out")]) == 0
    videos = json.loads(split.read_text())["videos"]
    assert any(":" in name for name in videos)
    for sequence, content in videos.items():
        for frame in content["frames"]:
            labels = read_label_png(tmp_path / "out" / sequence / f"{frame}.png")
            with Image.open(epic / "demo_frames" / sequence / f"{frame}.jpg") as image:
                assert labels.shape == (image.height, image.width)
            assert labels.max() <= len(content["expressions"])


def test_real_split_goes_through_predict_and_evaluate(shared, tmp_path, bundle):
    # Its frames cannot be shipped, so small painted ones stand in their real folders.
    entries = json.loads((shared / "epic" / "val_human.json").read_text())
    chosen = [entry for entry in entries if ":" in entry["noun"]][:4]
    chosen += [entry for entry in entries if entry["redundant"]][:1]
    split = tmp_path / "val_human.json"
    split.write_text(json.dumps(chosen))
    images = tmp_path / "data" / "JPEGImages_Sparse" / "val"
    for entry in chosen:
        folder = images / "{seq_id:08d}_{video}_{verb}_{noun}".format(**entry)
        folder.mkdir(parents=True)
        for name in entry["sparse_frames"]:
            Image.fromarray(paint(RECTANGLES, 64, 96)).save(folder / name)
    out = tmp_path / "out"
    options = ["--bundle", bundle, "--data", tmp_path / "data", "--split", split, "--out", out]
    assert main(["predict", *map(str, options)]) == 0
    metrics = evaluate(out, out, split, flagged="leave-out", strict=False)
    assert metrics.videos == 4
    everything = evaluate(out, out, split, flagged="include", strict=False)
    assert everything.videos == 5
    frames = sum(len(e["sparse_frames"]) * len(e["object_classes"]) for e in chosen)
    assert everything.tp + everything.tn + everything.fp + everything.fn == frames


def test_checkpoint_predictor_uses_the_threshold(tmp_path, checkpoint):
    from training.checkpoints.weights import load_model
    from training.model import tokenize

    model, tokenizer, _ = load_model(checkpoint)
    expressions = [f"{name} used in the action of take" for name in NAMES]
    frame = paint(RECTANGLES, 64, 96)

    def labels(threshold: float | None) -> np.ndarray:
        predictor = CheckpointPredictor(
            model, lambda texts: tokenize(tokenizer, texts, 32), threshold
        )
        return predictor([frame], expressions)

    assert not labels(1.0).any()
    assert labels(None).shape == (1, 64, 96)


def test_falling_back_to_the_cpu_is_told(checkpoint, capsys):
    checkpoint_predictor(checkpoint)
    told = capsys.readouterr().err
    assert ("no CUDA device was found" in told) == (not torch.cuda.is_available())
    checkpoint_predictor(checkpoint, device="cpu")
    assert not capsys.readouterr().err


def test_a_peer_of_another_run_is_refused(tmp_path, checkpoint, capsys):
    draw_frames(tmp_path / "data" / "JPEGImages_Sparse" / "val" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    stranger = tmp_path / "stranger.safetensors"
    tokenizer = train_tokenizer(["pour water"], 280)
    save_weights(stranger, build_model("tiny"), {"tokenizer": tokenizer.to_str()})
    options = ["predict", *("--data", tmp_path / "data"), *("--split", split)]
    options += ["--checkpoint", checkpoint, "--out", tmp_path / "out", "--peer"]
    assert main(list(map(str, [*options, stranger]))) == 2
    assert "another configuration or tokenizer" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(list(map(str, [*options, checkpoint]))) == 0
    assert '"peer"' in (tmp_path / "out" / "predict.json").read_text()


def test_predictions_of_other_pictures_are_not_taken_for_these(tmp_path, bundle):
    split = expression_file(tmp_path / "val_meta.json")
    for name in ("one", "two"):
        draw_frames(tmp_path / name / SEQUENCE)
    Image.new("RGB", (96, 64)).save(tmp_path / "two" / SEQUENCE / "frame_0000000001.jpg")
    out = tmp_path / "out"

    def run(name: str) -> int:
        return predict(tmp_path / name, split, out, bundle=bundle, clip_length=36)

    assert run("one") == 1
    with pytest.raises(ActisegError, match="holds predictions made otherwise: pictures"):
        run("two")
    noted = json.loads((out / "predict.json").read_text())
    # As earlier versions left it: what it says agrees, so it goes on and says the rest.
    (out / "predict.json").write_text(json.dumps({k: noted[k] for k in noted if k != "pictures"}))
    assert run("one") == 0
    assert json.loads((out / "predict.json").read_text()) == noted


def test_a_missing_picture_is_named_before_the_folder_is_claimed(tmp_path, bundle):
    draw_frames(tmp_path / "data" / SEQUENCE)
    split = expression_file(tmp_path / "val_meta.json")
    lost = tmp_path / "data" / SEQUENCE / "frame_0000000001.jpg"
    picture = lost.read_bytes()
    lost.unlink()
    with pytest.raises(ActisegError, match=f"{lost.name}: not found"):
        predict(tmp_path / "data", split, tmp_path / "out", bundle=bundle, clip_length=36)
    assert not (tmp_path / "out").exists()
    lost.write_bytes(picture)
    assert predict(tmp_path / "data", split, tmp_path / "out", bundle=bundle, clip_length=36) == 1
