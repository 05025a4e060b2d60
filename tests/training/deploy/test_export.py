import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from actiseg_ros.bundle import load_bundle
from actiseg_ros.errors import ActisegError
from tests.training.model.micro import MICRO, make
from training.checkpoints.starts import WEIGHTS
from training.checkpoints.weights import save_weights
from training.deploy.export import compare_with_pytorch, export, export_model, verify
from training.deploy.onnx_graphs import (
    LEVEL_NAMES,
    Graphs,
    ImageEncoderGraph,
    example_inputs,
    quantise,
    set_sampler,
)
from training.model import train_tokenizer

# Tracing takes half a minute on an idle machine; the usual limit is too tight on a loaded one.
pytestmark = pytest.mark.timeout(1200)

# One decoder layer: tracing takes most of the time of these tests.
EXPORTED = dataclasses.replace(MICRO, decoder_layers=1)
SIZE = (64, 96)
VOCABULARY = [{"class_id": 1, "names": ["spoon", "teaspoon"]}]
FILES = {role: f"{role}.onnx" for role in ("image_encoder", "text_encoder", "prompt_decoder")}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    tokenizer = train_tokenizer(["spoon used in the action of wash spoon"], 300)
    metadata = {
        "tokenizer": tokenizer.to_str(),
        "vocabulary": json.dumps(VOCABULARY),
        "provenance": json.dumps({"seed": 7, "run": {"positive_threshold": 0.4}}),
    }
    save_weights(folder / "best.safetensors", make(EXPORTED), metadata)
    (folder / "bundle").mkdir()
    link = folder / "current"
    link.symlink_to("bundle")
    export(folder / "best.safetensors", link)
    assert link.is_symlink()
    return folder / "bundle"


def test_bundle_describes_the_model_that_was_trained(bundle: Path) -> None:
    loaded = load_bundle(bundle)
    assert (loaded.input.height, loaded.input.width) == SIZE
    assert loaded.vocabulary[0].names == ("spoon", "teaspoon")
    assert loaded.prompt.max_tokens == MICRO.max_tokens and loaded.prompt.lowercase
    assert loaded.gate is None and loaded.provenance["seed"] == 7
    assert loaded.thresholds.positive == 0.4
    assert set(loaded.files) == {*FILES.values(), "tokenizer.json"}
    assert [p.name for p in bundle.parent.iterdir() if p.name.startswith(".")] == []


@pytest.mark.parametrize("counts", [(1, 1, 4), (2, 8, 5), (5, 1, 30), (3, 2, 9)])
def test_graphs_agree_with_pytorch_for_any_counts(
    bundle: Path, counts: tuple[int, int, int]
) -> None:
    differences = compare_with_pytorch(make(EXPORTED), Graphs(bundle, FILES, 1), SIZE, counts)
    assert max(differences.values()) < 1e-4, differences


def test_graphs_use_standard_operators_and_hold_no_paths(bundle: Path) -> None:
    for name in FILES.values():
        model = onnx.load(bundle / name)
        onnx.checker.check_model(model)
        assert {node.domain for node in model.graph.node} == {""}
        assert not model.functions
        assert b"/training/" not in (bundle / name).read_bytes()


def test_free_and_fixed_dimensions(bundle: Path) -> None:
    graphs = Graphs(bundle, FILES, 1)
    inputs = {
        role: {i.name: i.shape for i in session.get_inputs()}
        for role, session in graphs.sessions.items()
    }
    assert inputs["image_encoder"]["frames"][1:] == [3, *SIZE]
    assert isinstance(inputs["image_encoder"]["frames"][0], str)
    assert all(isinstance(n, str) for n in inputs["text_encoder"]["input_ids"])
    assert set(inputs["prompt_decoder"]) == {*LEVEL_NAMES, "words", "sentence", "attention_mask"}
    outputs = [o.name for o in graphs.sessions["prompt_decoder"].get_outputs()]
    assert outputs == ["logits", "boxes", "masks", "positive"]


def test_embedding_is_per_frame(bundle: Path) -> None:
    graphs = Graphs(bundle, FILES, 1)
    frames, _, _ = example_inputs(make(EXPORTED), 3, 1, 4, SIZE)
    together = graphs.run("image_encoder", {"frames": frames.numpy()})["embedding"]
    alone = graphs.run("image_encoder", {"frames": frames[1:2].numpy()})["embedding"]
    assert together.shape == (3, 2 * sum(MICRO.small_widths[1:]))
    np.testing.assert_allclose(together[1:2], alone, atol=1e-5)


def test_a_graph_of_other_weights_is_found(bundle: Path) -> None:
    with pytest.raises(ActisegError, match="differ from PyTorch"):
        verify(make(EXPORTED, seed=1), Graphs(bundle, FILES, 1), SIZE, [(1, 1, 4)])


def test_a_network_that_answers_nothing_is_not_exported(bundle: Path) -> None:
    model = make(EXPORTED)
    for parameter in model.parameters():
        parameter.data.fill_(float("nan"))
    with pytest.raises(ActisegError, match="differ from PyTorch by nan"):
        verify(model, Graphs(bundle, FILES, 1), SIZE, [(1, 1, 4)])


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    tokenizer = train_tokenizer(["spoon"], 300)
    with pytest.raises(ActisegError, match="not a bundle"):
        export_model(make(EXPORTED), tokenizer, tmp_path, vocabulary=VOCABULARY, provenance={})
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_failed_export_keeps_the_old_bundle(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> dict[str, str]:
        raise ActisegError("no space")

    before = (bundle / "bundle.json").read_bytes()
    monkeypatch.setattr("training.deploy.export.write_graphs", stop)
    tokenizer = train_tokenizer(["spoon"], 300)
    with pytest.raises(ActisegError, match="no space"):
        export_model(make(EXPORTED), tokenizer, bundle, vocabulary=VOCABULARY, provenance={})
    assert (bundle / "bundle.json").read_bytes() == before
    assert [p.name for p in bundle.parent.iterdir() if p.name.startswith(".")] == []


@pytest.fixture
def untraced(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports take the graphs of `bundle` in the place of new ones."""

    def copied(_: object, folder: Path, __: object) -> dict[str, str]:
        for name in FILES.values():
            shutil.copy(bundle / name, folder)
        return FILES

    monkeypatch.setattr("training.deploy.export.write_graphs", copied)
    monkeypatch.setattr("training.deploy.export.verify", lambda *_: {})


@pytest.mark.usefixtures("untraced")
def test_an_interrupt_between_the_renames_keeps_the_old_bundle(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    before = (out / "bundle.json").read_bytes()
    former, stopped = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if target == out and not stopped:
            stopped.append(self)
            raise KeyboardInterrupt
        return former(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        export(bundle.parent / "best.safetensors", out)
    assert stopped and (out / "bundle.json").read_bytes() == before
    assert load_bundle(out).provenance == load_bundle(bundle).provenance
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.usefixtures("untraced")
def test_weights_of_a_bundle_know_its_names(bundle: Path, tmp_path: Path) -> None:
    export(bundle.parent / "best.safetensors", tmp_path / "first", weights=True)
    export(tmp_path / "first" / WEIGHTS, tmp_path / "second")
    assert load_bundle(tmp_path / "second").vocabulary == load_bundle(bundle).vocabulary


def test_eight_bits_change_little(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    decoder = folder / FILES["prompt_decoder"]
    quantise(decoder)
    assert {p.name for p in folder.iterdir()} == {p.name for p in bundle.iterdir()}
    operators = {node.op_type for node in onnx.load(decoder).graph.node}
    assert "MatMulInteger" in operators or "DynamicQuantizeMatMul" in operators
    differences = compare_with_pytorch(make(EXPORTED), Graphs(folder, FILES, 1), SIZE, (1, 3, 6))
    assert 1e-5 < differences["masks"] < 0.5 and differences["boxes"] < 0.05, differences


def test_gather_replaces_grid_sample_and_changes_nothing() -> None:
    model = make(EXPORTED)
    frames, _, _ = example_inputs(model, 1, 1, 4, SIZE)
    with torch.no_grad():
        expected = ImageEncoderGraph(model)(frames)
        set_sampler(model, "gather")
        got = ImageEncoderGraph(model)(frames)
    for a, b in zip(got, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
    with pytest.raises(ActisegError, match="grid_sample or gather"):
        set_sampler(model, "nearest")


@pytest.mark.parametrize("size", [(24, 40), (63, 96), (96, 63)])
def test_an_input_without_a_coarse_cell_is_refused(tmp_path: Path, size: tuple[int, int]) -> None:
    said = f"--height and --width are {size[0]} and {size[1]}; they must be at least 64 pixels"
    with pytest.raises(ActisegError, match=said):
        export_model(
            make(EXPORTED), train_tokenizer(["spoon"], 300), tmp_path / "bundle",
            vocabulary=VOCABULARY, provenance={}, size=size,
        )  # fmt: skip
    assert not list(tmp_path.iterdir())
