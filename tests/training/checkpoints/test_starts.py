"""Starting a training from a model bundle: what is in it, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import save_file

from actiseg_ros.bundle import default_bundle_path, load_bundle
from actiseg_ros.errors import ActisegError, BundleError
from tests.training.model.micro import MICRO, MICRO_PUBLISHED, make
from training.checkpoints.published import published_state
from training.checkpoints.starts import WEIGHTS, start_file, start_preset
from training.checkpoints.weights import load_model, load_start, save_weights
from training.config.run import NAMED_STARTS, TrainConfig
from training.deploy.export import compare_with_pytorch
from training.deploy.onnx_graphs import Graphs
from training.engine.commands import parse_train
from training.engine.distributed import ProcessGroup
from training.engine.setup import build_setup
from training.engine.trainer import Trainer
from training.model import ActionVOS

_EMBEDDED = Path("embedded")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the embedded bundle."""
    return Path(shutil.copytree(default_bundle_path(), tmp_path / "bundle"))


def test_embedded_weights_are_those_of_the_embedded_graphs() -> None:
    bundle = load_bundle()
    model, tokenizer, _ = load_model(bundle.path / WEIGHTS)
    assert model.config.name == bundle.name
    assert tokenizer.get_vocab_size() == model.config.text.vocab_size
    graphs = Graphs(bundle.path, {role: path.name for role, path in bundle.graphs.items()}, 1)
    size = bundle.input.height, bundle.input.width
    differences = compare_with_pytorch(model, graphs, size, (1, 3, 8))
    # float16 keeps three digits.
    assert max(differences[name] for name in ("logits", "boxes", "positive")) < 0.02
    assert differences["masks"] < 1.0


def test_embedded_bundle_stays_small() -> None:
    assert sum(path.stat().st_size for path in default_bundle_path().iterdir()) <= 24e6


def test_a_run_starts_from_the_embedded_network(drawn_data: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(drawn_data), "--out", str(tmp_path / "run")]
    config = parse_train([*arguments, "--pretrained", "embedded", "--val-split", ""])
    assert config.preset == load_bundle().name
    setup = build_setup(config, config.recipe())
    model, tokenizer, _ = load_model(default_bundle_path() / WEIGHTS)
    assert setup.tokenizer.to_str() == tokenizer.to_str()
    started = setup.networks[0].state_dict()
    assert all(torch.equal(value, started[name]) for name, value in model.state_dict().items())


def test_a_preset_that_is_given_counts() -> None:
    arguments = ["--data", "data", "--out", "run", "--pretrained", "embedded", "--preset", "r50"]
    assert parse_train(arguments).preset == "r50"
    assert parse_train(["--data", "data", "--out", "run"]).preset == TrainConfig.preset


def test_what_is_no_bundle_is_left_alone() -> None:
    assert start_file(None, "tiny") is None and start_preset(None) is None
    assert start_file(Path("imagenet"), "small") == Path("imagenet")


def test_names_of_starts_win_over_folders_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in NAMED_STARTS:
        (tmp_path / name).mkdir()
    assert start_file(Path("imagenet"), "small") == Path("imagenet")
    assert start_preset(Path("imagenet")) is None
    assert start_file(_EMBEDDED, load_bundle().name) == default_bundle_path() / WEIGHTS


def test_small_has_a_start_of_its_own() -> None:
    path = start_file(_EMBEDDED, "small")
    assert path is not None
    model, tokenizer, _ = load_model(path)
    assert model.config.name == "small"
    assert tokenizer.get_vocab_size() == model.config.text.vocab_size


def test_another_preset_is_refused_with_the_right_one() -> None:
    name = load_bundle().name
    with pytest.raises(ActisegError, match=f"its network is {name}, not r50; give --preset {name}"):
        start_file(_EMBEDDED, "r50")


def test_a_bundle_without_weights_is_refused(copy: Path) -> None:
    record = json.loads((copy / "bundle.json").read_text())
    del record["files"][WEIGHTS]
    (copy / "bundle.json").write_text(json.dumps(record))
    (copy / WEIGHTS).unlink()
    with pytest.raises(ActisegError, match="holds graphs only; export it anew with --weights"):
        start_file(copy, load_bundle().name)


def test_altered_weights_are_refused(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS).write_bytes(content)
    with pytest.raises(BundleError, match="altered or cut short"):
        start_file(copy, load_bundle().name)


def test_halved_weights_are_close_and_what_would_overflow_stays(tmp_path: Path) -> None:
    model = make(MICRO)
    with torch.no_grad():
        first = next(p for p in model.parameters() if p.ndim >= 2)
        first[0] = 1e6
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    tokenizer = {"tokenizer": load_model(default_bundle_path() / WEIGHTS)[1].to_str()}
    save_weights(whole, model, tokenizer)
    save_weights(half, model, tokenizer, halved=True)
    assert half.stat().st_size < 0.7 * whole.stat().st_size
    loaded = load_model(half)[0].state_dict()
    for name, value in model.state_dict().items():
        assert loaded[name].dtype == value.dtype
        torch.testing.assert_close(loaded[name], value, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_start_is_found_below_the_names_of_wrappers(prefix: str, tmp_path: Path) -> None:
    given, model = make(MICRO), make(MICRO, seed=1)
    file = tmp_path / "start.safetensors"
    save_file({f"{prefix}{name}": value for name, value in given.state_dict().items()}, file)
    report = load_start(model, file, ("class_heads.",))
    assert report.missing == report.unexpected == ()
    fresh = {name for name in given.state_dict() if name.startswith("class_heads.")}
    assert set(report.reinitialised) == fresh and len(str(report)) < 500
    for name, value in model.state_dict().items():
        if name not in fresh:
            assert torch.equal(value, given.state_dict()[name]), name


@pytest.mark.parametrize("names", [["encoder.weight"], ["class_heads.0.weight"]])
def test_a_start_that_fits_nothing_is_refused(names: list[str], tmp_path: Path) -> None:
    file = tmp_path / "foreign.safetensors"
    save_file({name: torch.zeros(2) for name in names}, file)
    with pytest.raises(ActisegError, match=r"foreign\.safetensors: none of its 1 tensors belongs"):
        load_start(make(MICRO), file, ("class_heads.",))


def test_published_weights_are_known_in_either_format(tmp_path: Path) -> None:
    text = replace(MICRO.text, frozen=True)
    sizes = replace(MICRO_PUBLISHED, mask_evidence=False, text=text)
    given, model = make(sizes), make(sizes, seed=1)
    state = {name: value.clone() for name, value in published_state(given).items()}
    save_file(state, tmp_path / "published.safetensors")
    load_start(model, tmp_path / "published.safetensors")
    for name, value in model.state_dict().items():
        if not name.startswith(("class_heads.", "positive_heads.")):
            assert torch.equal(value, given.state_dict()[name]), name


@pytest.mark.usefixtures("micro_tiny")
def test_processes_that_are_not_the_main_one_say_nothing_of_the_start(
    drawn_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = tmp_path / "start.safetensors"
    config = TrainConfig(drawn_data, tmp_path / "run", val_split="", workers=0, device="cpu")
    setup = build_setup(config, config.recipe())
    model = cast("ActionVOS", setup.networks[0])
    save_weights(start, model, {"tokenizer": setup.tokenizer.to_str()})
    for rank, lines in enumerate((1, 0)):
        group = ProcessGroup(rank=rank, size=1, device=torch.device("cpu"))
        Trainer(replace(config, pretrained=start), group)
        assert capsys.readouterr().out.count("tensors loaded") == lines
