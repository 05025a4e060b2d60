"""A robot must refuse any bundle that is not exactly what was exported."""

import json
from pathlib import Path

import pytest

from actiseg_ros.bundle import default_bundle_path, load_bundle, model_id
from actiseg_ros.errors import BundleError
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.vision.segmenter import Segmenter
from tests.actiseg_ros.dummy_bundle import rehash, write_dummy_bundle

LIMITS = {"active_score": 0.75, "p_uncertainty": 0.4, "n_uncertainty": 0.4, "distance": 3.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dummy_bundle(tmp_path / "dummy", limits=LIMITS)


def edit(folder: Path, **changes: object) -> None:
    path = folder / "bundle.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_valid_bundle_is_read_completely(folder: Path) -> None:
    bundle = load_bundle(folder)
    assert (bundle.input.height, bundle.input.width) == (64, 96)
    assert bundle.thresholds.positive == 0.75
    assert bundle.vocabulary[1].names == ("lettuce", "salad")
    assert set(bundle.graphs) == {"image_encoder", "text_encoder", "prompt_decoder"}
    assert all(path.is_file() for path in bundle.graphs.values())


@pytest.mark.parametrize(
    "name", ["image_encoder.onnx", "prompt_decoder.onnx", "tokenizer.json", "calibration.npz"]
)
def test_altered_short_or_missing_files_are_named(folder: Path, name: str) -> None:
    path = folder / name
    content = path.read_bytes()
    changed = bytes([content[0] ^ 1]) + content[1:]
    for wrong in (content[: len(content) // 2], changed, b""):
        path.write_bytes(wrong)
        with pytest.raises(BundleError, match=name):
            load_bundle(folder)
    path.unlink()
    with pytest.raises(BundleError, match=f"{name}.*missing"):
        load_bundle(folder)


def test_missing_folder_or_description(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such bundle folder"):
        load_bundle(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(tmp_path / "empty")


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"schema": true}', "\xff", "[" * 9999])
def test_damaged_description(folder: Path, content: str) -> None:
    (folder / "bundle.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(folder)


def test_newer_schema_asks_for_an_update(folder: Path) -> None:
    edit(folder, schema=99)
    with pytest.raises(BundleError, match=r"schema 99 is newer.*update"):
        load_bundle(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"input": None},
        {"input": {"height": -1, "width": 96, "mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"input": {"height": 64, "width": 96, "mean": [0, 0, 0], "std": [1, 0, 1]}},
        {"input": {"height": 64, "width": 96, "mean": [0, float("nan"), 0], "std": [1, 1, 1]}},
        {"input": {"height": 64, "width": 96, "mean": [0, 0, 0], "std": [1, 1, 1], "fit": "crop"}},
        {"thresholds": {"positive": 2, "mask": 0.5, "background": 0.1}},
        {"thresholds": {"positive": float("nan"), "mask": 0.5, "background": 0.1}},
        {"thresholds": {"positive": 0.5, "mask": 0.1, "background": 0.1}},
        {"thresholds": {"positive": 0.5, "mask": 1.0, "background": 0.1}},
        {"prompt": {"template": "no fields", "max_tokens": 32, "pad_id": 1}},
        {"graphs": {"image_encoder": "image_encoder.onnx"}},
        {"vocabulary": [{"class_id": "x"}]},
        {"files": {}},
        {"files": {"../../secret": "0" * 64}},
        {"files": {"image_encoder.onnx": "123"}},
    ],
)
def test_impossible_fields(folder: Path, changes: dict[str, object]) -> None:
    edit(folder, **changes)
    with pytest.raises(BundleError, match=r"bundle\.json"):
        load_bundle(folder)


def test_a_graph_without_hash_is_refused(folder: Path) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    del record["files"]["prompt_decoder.onnx"]
    (folder / "bundle.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match="no hash"):
        load_bundle(folder)


def test_calibration_belongs_to_one_model(folder: Path) -> None:
    calibration = load_calibration(load_bundle(folder))
    assert calibration is not None
    limits = calibration.limits("narration")
    assert limits is not None and limits.p_uncertainty == 0.4
    other = write_dummy_bundle(folder.parent / "other", poison=True)
    (folder / "prompt_decoder.onnx").write_bytes((other / "prompt_decoder.onnx").read_bytes())
    rehash(folder)
    with pytest.raises(BundleError, match="another model"):
        load_calibration(load_bundle(folder))


def with_limits(limits: dict[str, object]) -> dict[str, object]:
    return {"named": {"certified": True, "limits": limits}}


def test_uncalibrated_bundle_has_no_calibration(tmp_path: Path) -> None:
    assert load_calibration(load_bundle(write_dummy_bundle(tmp_path))) is None


@pytest.mark.parametrize(
    "change",
    [
        {"features": 0},
        {"policies": with_limits({})},
        {"policies": with_limits({**LIMITS, "distance": None})},
        {"policies": with_limits({**LIMITS, "distance": float("inf")})},
        {"policies": with_limits({**LIMITS, "distance": float("nan")})},
        {"domain": {"file": "elsewhere.npz"}},
        {"domain": {"file": "tokenizer.json"}},
    ],
)
def test_damaged_calibration_is_refused(folder: Path, change: dict[str, object]) -> None:
    gate = json.loads((folder / "bundle.json").read_text())["gate"]
    edit(folder, gate={**gate, **change})
    with pytest.raises(BundleError, match="calibrate"):
        load_calibration(load_bundle(folder))


@pytest.mark.parametrize("value", [-1.0, -1e-9, 1 + 1e-9, 1e9, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["active_score", "p_uncertainty", "n_uncertainty"])
def test_limits_outside_their_range_are_refused(folder: Path, name: str, value: float) -> None:
    gate = json.loads((folder / "bundle.json").read_text())["gate"]
    edit(folder, gate={**gate, "policies": with_limits({**LIMITS, name: value})})
    with pytest.raises(BundleError, match=rf"limit {name} is {value}, expected 0 to 1.*calibrate"):
        load_calibration(load_bundle(folder))


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_distance_limit_must_be_above_0(folder: Path, value: float) -> None:
    gate = json.loads((folder / "bundle.json").read_text())["gate"]
    edit(folder, gate={**gate, "policies": with_limits({**LIMITS, "distance": value})})
    with pytest.raises(BundleError, match=rf"limit distance is {value}, expected above 0"):
        load_calibration(load_bundle(folder))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_limits_may_lie_at_the_ends_of_their_range(folder: Path, value: float) -> None:
    gate = json.loads((folder / "bundle.json").read_text())["gate"]
    names = ("active_score", "p_uncertainty", "n_uncertainty")
    edit(folder, gate={**gate, "policies": with_limits({**LIMITS, **dict.fromkeys(names, value)})})
    assert load_calibration(load_bundle(folder)) is not None


def test_model_id_ignores_what_does_not_change_answers(folder: Path) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    same = {**record, "name": "renamed", "gate": None, "provenance": {}}
    assert model_id(same) == model_id(record)
    changed = {**record, "thresholds": {**record["thresholds"], "positive": 0.5}}
    assert model_id(changed) != model_id(record)


def test_default_bundle_is_found_in_the_share_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_dummy_bundle(tmp_path / "share" / "actiseg_ros" / "bundles" / "tiny")
    monkeypatch.setenv("AMENT_PREFIX_PATH", f"{tmp_path / 'none'}:{tmp_path}")
    # The source tree's own bundle, if it is there, comes first.
    assert load_bundle(default_bundle_path()).name in {"dummy", "tiny"}


def test_what_was_verified_is_what_runs_even_if_the_files_are_replaced(tmp_path: Path) -> None:
    folder = write_dummy_bundle(tmp_path / "bundle", limits=LIMITS)
    bundle = load_bundle(folder)
    for file in folder.iterdir():
        file.write_bytes(b"another network")
    segmenter = Segmenter(bundle, threads=1)
    segmenter.warm_up()
    assert load_calibration(bundle) is not None
    # Each file's bytes are handed out once; what lies there now is not taken.
    with pytest.raises(BundleError, match=r"image_encoder\.onnx: altered"):
        Segmenter(bundle, threads=1)
