import argparse
import collections
import datetime
import enum
import importlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from actiseg_ros.errors import ActisegError
from tests.training.model.micro import MICRO, make
from training.checkpoints.published import fill, load_published, published_state
from training.checkpoints.published_names import from_published, to_published
from training.checkpoints.reading import load_weights, read_state
from training.checkpoints.weights import load_model, save_weights
from training.model import ActionVOS, build_model, train_tokenizer

# Names and shapes need no storage: the published networks are built without any.
pytestmark = pytest.mark.filterwarnings("ignore:for .* to a meta parameter")

TOKENIZER = train_tokenizer(["spoon used in the action of wash spoon"], 300)


@pytest.fixture(scope="module")
def r50() -> ActionVOS:
    with torch.device("meta"):
        return build_model("r50")


def test_names_map_both_ways(r50: ActionVOS) -> None:
    own = r50.state_dict()
    published = {name: key for key in own for name in to_published(key)}
    assert len(published) == 812
    assert all(from_published(name) == key for name, key in published.items())
    aliases = [n for n in published if n.startswith("transformer.decoder.bbox_embed.")]
    assert len(aliases) == 24


def test_foreign_names_have_no_counterpart() -> None:
    assert from_published("backbone.1.weight") is None
    with pytest.raises(KeyError):
        to_published("shared_encoder.layers.0.norm1.weight")


def test_weights_round_trip(tmp_path: Path) -> None:
    model = make()
    path = tmp_path / "best.safetensors"
    save_weights(path, model, {"tokenizer": TOKENIZER.to_str(), "note": "x"})
    loaded, tokenizer, metadata = load_model(path)
    assert loaded.config == MICRO and not loaded.training
    assert metadata["note"] == "x" and tokenizer.get_vocab_size() == TOKENIZER.get_vocab_size()
    for key, tensor in model.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[key])
    assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"]


def test_full_disk_keeps_the_former_weights(tmp_path: Path) -> None:
    path = tmp_path / "best.safetensors"
    for kept in ("there was no former file", "the former file is intact"):
        (tmp_path / "best.safetensors.partial").symlink_to("/dev/full")
        with pytest.raises(ActisegError, match=rf"{path}: disk full .*\({kept}\); free space"):
            save_weights(path, make())
        assert [p.name for p in tmp_path.iterdir()] == ["best.safetensors"] * path.exists()
        save_weights(path, make(), {"tokenizer": TOKENIZER.to_str()})
    load_model(path)


def test_unusable_safetensors_are_named(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    with pytest.raises(ActisegError, match="no such"):
        load_weights(path)
    save_weights(path, make())
    with pytest.raises(ActisegError, match="no tokenizer"):
        load_model(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ActisegError, match="not a readable safetensors"):
        load_weights(path)


def test_weights_that_do_not_fit_their_configuration(tmp_path: Path) -> None:
    state = make().state_dict()
    config = {"config": MICRO.to_json(), "tokenizer": TOKENIZER.to_str()}
    path = tmp_path / "w.safetensors"
    short = dict(state)
    del short["level_embedding"]
    save_file(short, path, config)
    with pytest.raises(ActisegError, match="level_embedding"):
        load_model(path)
    save_file(state | {"level_embedding": torch.zeros(4, 3)}, path, config)
    with pytest.raises(ActisegError, match=r"level_embedding is \[4, 3\]"):
        load_model(path)
    save_file(state, path, {"config": json.dumps({"depth": 1})})
    with pytest.raises(ActisegError, match="unknown model option"):
        load_model(path)


class Call:
    """Pickled as a call of a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


NAME, OWN_NAME = "query_embed.weight", "decoder.query_positions"


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", ["mkdir", "exec", "open", "import"])
def test_code_in_a_checkpoint_is_not_run(tmp_path: Path, zipped: bool, kind: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pth"
    evil = {
        "mkdir": Call(os.mkdir, str(marker)),
        "exec": Call(exec, f"open({str(marker)!r}, 'w')"),
        "open": Call(open, str(marker), "w"),
        "import": Call(importlib.import_module, "antigravity"),
    }[kind]
    torch.save(
        {"model": {NAME: torch.zeros(1)}, "extra": evil},
        path,
        _use_new_zipfile_serialization=zipped,
    )
    with pytest.raises(ActisegError, match=r"refused.*could run code; save the weights alone"):
        read_state(path)
    assert not marker.exists()


class Options:
    """A class of the training program that wrote a file."""

    def __init__(self, **values: object) -> None:
        self.__dict__.update(values)


class Choice(enum.Enum):
    FIRST = 1


def test_what_no_reader_knows_becomes_a_placeholder_and_is_not_called(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "c.pth"
    torch.save({"model": {NAME: torch.ones(2)}, "x": Call(np.savetxt, str(marker), [1.0])}, path)
    assert read_state(path)[NAME].tolist() == [1.0, 1.0]
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=1e-4, masks=True, names=["a"]),
        Options(lr=1, deep=[Options(a=2)]),
        np.float64(0.5),
        np.arange(3),
        Path("a/b"),
        datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
        Choice.FIRST,
        collections.OrderedDict(a=1),
        {1, 2},
        slice(1, 2),
        torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))], lr=1.0).state_dict(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_training_programs_save_beside_weights(
    tmp_path: Path, zipped: bool, beside: object
) -> None:
    path = tmp_path / "c.pth"
    content = {"model": {NAME: torch.ones(5, 256)}, "epoch": 3, "args": beside}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert list(read_state(path)) == [NAME]


@pytest.mark.parametrize("entry", ["", "model", "state_dict", "model_state_dict", "net", "a/b"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model.net."])
@pytest.mark.parametrize("name", [NAME, OWN_NAME])
def test_wrapped_weights_are_found(tmp_path: Path, entry: str, prefix: str, name: str) -> None:
    names = [name, "input_proj.0.0.bias" if name == NAME else "level_embedding.x"]
    state: object = {f"{prefix}{n}": torch.ones(1) for n in names}
    for part in reversed(entry.split("/") if entry else []):
        state = {part: state, "optimizer": {"state": {0: {"exp_avg": torch.zeros(1)}}}, "step": 3}
    torch.save(state, tmp_path / "c.pth")
    assert list(read_state(tmp_path / "c.pth")) == names


def test_weights_of_an_averaged_compiled_network(tmp_path: Path) -> None:
    network = torch.nn.ModuleDict({"query_embed": torch.compile(torch.nn.Linear(2, 2))})
    average = torch.optim.swa_utils.AveragedModel(network)
    torch.save({"state_dict": average.state_dict()}, tmp_path / "c.pth")
    assert set(read_state(tmp_path / "c.pth")) == {"n_averaged", NAME, "query_embed.bias"}


def test_a_part_of_a_network_keeps_its_names(tmp_path: Path) -> None:
    state = {"backbone.0.body.conv1.weight": torch.ones(1)}
    torch.save(state, tmp_path / "c.pth")
    assert list(read_state(tmp_path / "c.pth")) == list(state)


def test_several_networks_in_a_file(tmp_path: Path) -> None:
    small, large = {NAME: torch.zeros(1)}, {NAME: torch.ones(1), "controller.x": torch.ones(1)}
    torch.save({"ema": large, "model": small}, tmp_path / "c.pth")
    assert read_state(tmp_path / "c.pth")[NAME] == 0, "the name says which one counts"
    torch.save({"teacher": small, "student": large}, tmp_path / "c.pth")
    assert len(read_state(tmp_path / "c.pth")) == 2


def test_a_whole_pickled_network_is_no_state(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "c.pth")
    with pytest.raises(ActisegError, match=r"c\.pth.*state_dict\(\)"):
        read_state(tmp_path / "c.pth")


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04broken"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c.pth"
    path.write_bytes(content)
    with pytest.raises(ActisegError, match=r"c\.pth"):
        read_state(path)


def published_like(r50: ActionVOS) -> dict[str, torch.Tensor]:
    """Zero tensors of the published names without storage of their own."""
    return {k: torch.zeros(()).expand(v.shape) for k, v in published_state(r50).items()}


def test_report_of_an_incomplete_file(r50: ActionVOS) -> None:
    state = {"query_embed.weight": torch.ones(5, 256), "strange": torch.ones(1)}
    state["text_encoder.embeddings.position_ids"] = torch.arange(514)[None]
    state["transformer.total_ops"] = torch.zeros(1)
    report = fill(r50, state, "file")
    assert report.loaded == 1 and report.unexpected == ("strange",)
    assert set(report.ignored) == {
        "text_encoder.embeddings.position_ids",
        "transformer.total_ops",
    }
    assert "controller.layers.0.weight" in report.missing and not report.reinitialised
    assert "1 unexpected: strange" in str(report)


def test_pretraining_leaves_both_heads_fresh(r50: ActionVOS) -> None:
    state = published_like(r50)
    state = {k: v for k, v in state.items() if not k.startswith("positive_cls_embed.")}
    for index in range(4):
        state[f"class_embed.{index}.weight"] = torch.zeros(65, 256)
        state[f"class_embed.{index}.bias"] = torch.zeros(65)
    with pytest.raises(ActisegError, match=r"class_embed\.0\.weight is \[65, 256\]"):
        fill(r50, state, "file")
    report = fill(r50, state, "file", pretraining=True)
    assert len(report.reinitialised) == 16 and not report.missing
    with pytest.raises(ActisegError, match=r"class_embed\.0\.weight"):
        fill(r50, {"query_embed.weight": torch.ones(5, 256)}, "file", pretraining=True)


def test_a_file_of_another_network_is_refused(r50: ActionVOS) -> None:
    with pytest.raises(ActisegError, match="none of its 1 tensors"):
        fill(r50, {"fc.weight": torch.zeros(1)}, "file")


def test_reference_files(shared: Path, r50: ActionVOS) -> None:
    folder = shared / "parity" / "checkpoint"
    report = load_published(r50, folder / "sample_refytvos_like_legacy.pth", pretraining=True)
    assert report.loaded == 13 and "class_embed.0.weight" in report.reinitialised
    with pytest.raises(ActisegError, match="class_embed"):
        load_published(r50, folder / "sample_refytvos_like_legacy.pth")
