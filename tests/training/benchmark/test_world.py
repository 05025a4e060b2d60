"""The worlds of the findings: parts without a common video, a start, cells under the protocol."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.benchmark import failures, protocol, world
from training.benchmark.cell_result import read_result
from training.benchmark.options import BenchmarkOptions
from training.benchmark.plan import plan
from training.benchmark.protocol import WorldSize, cell_options
from training.benchmark.runner import benchmark
from training.benchmark.suites import cells_of
from training.benchmark.threshold import THRESHOLDS, Threshold, best, measure
from training.benchmark.world import parts
from training.data.kitchen import KitchenConfig, make_kitchen
from training.engine.commands import parse_train
from training.model import PRESETS

SPARSE = "VISOR/GroundTruth-SparseAnnotations/annotations_corrected"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotations of two training and two validation videos, whose hands say what they hold."""
    root = tmp_path_factory.mktemp("sources")
    make_kitchen(root, KitchenConfig(16, 8, 0.5, (64, 64)), workers=1, progress=False)
    for path in (root / SPARSE).glob("*/*.json"):
        content = json.loads(path.read_text())
        for frame in content["video_annotations"]:
            held = [entry["id"] for entry in frame["annotations"] if entry["class_id"] < 300]
            for entry in frame["annotations"]:
                if entry["class_id"] >= 300:
                    entry["in_contact_object"] = held[0] if held else "none"
        path.write_text(json.dumps(content))
    return root


def names(file: Path) -> set[str]:
    return {record["video"] for record in json.loads(file.read_text())}


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=40), st.integers(0, 50), st.randoms()
)
def test_parts_share_no_video(videos: list[str], count: int, shuffle: random.Random) -> None:
    records = [{"video": video, "number": number} for number, video in enumerate(videos)]
    first, rest = parts(records, count)
    one, other = ({record["video"] for record in part} for part in (first, rest))
    assert not one & other
    assert sorted([*first, *rest], key=lambda record: record["number"]) == records
    assert len(first) >= min(count, len(records))
    smallest = max((sum(r["video"] == video for r in first) for video in one), default=0)
    assert len(first) < count + max(smallest, 1)
    shuffle.shuffle(records)
    assert {record["video"] for record in parts(records, count)[0]} == one


@pytest.mark.parametrize("epochs", [3, 6, 9, 12])
def test_the_recipe_scales_with_the_budget(epochs: int) -> None:
    arguments = ["--data", "d", "--out", "o", "--epochs", str(epochs), "--pretrained", "embedded"]
    config = parse_train([*arguments, *cell_options(epochs), "--strategy", "co-teaching"])
    config.check()
    recipe = config.recipe()
    assert not recipe.negative_masks and not recipe.ema and recipe.schedule == "multistep"
    assert config.lr_drop == tuple(round(epochs * share / 6) for share in (3, 5))
    assert config.strategy_options.gradual_epochs == epochs
    assert protocol.longer(6) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_painted_world_from_annotations_to_a_cell(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = WorldSize(cells=1, choose=1)
    monkeypatch.setattr(world, "SIZES", {"painted": small})
    monkeypatch.setattr(protocol, "START_EPOCHS", 1)
    monkeypatch.setitem(PRESETS, "tiny", replace(PRESETS["tiny"], input_height=60, input_width=107))
    options = BenchmarkOptions(
        suite="pilot",
        levels=("clean",),
        seeds=(100,),
        world="painted",
        visor=sources / "VISOR",
        annotations=sources / "annotations",
        out=tmp_path / "pilot",
        epochs=1,
        learning_rate=1e-3,
        jobs=1,
        workers=0,
        device="cpu",
        train=("--batch-size", "4"),
    )
    assert benchmark(options) == 0
    folder = tmp_path / "pilot" / "world"
    lists, start = folder / "data/ImageSets", folder / "start_data/ImageSets"
    cells, begun = names(lists / "train_cells.json"), names(start / "train_start.json")
    assert cells and begun and not cells & begun
    choose, test = names(lists / "val_choose.json"), names(lists / "val_test.json")
    assert choose and test and not choose & test
    one = next((folder / "tree").rglob("*.jpg"))
    other = folder / "start_tree" / one.relative_to(folder / "tree")
    assert not other.exists() or one.read_bytes() != other.read_bytes()
    task = json.loads((folder / "start/run.json").read_text())["config"]["task"]
    assert task == "referring"

    cell = tmp_path / "pilot/clean/baseline/seed100"
    result = read_result(cell / "result.json")
    assert (result.budget.epochs, result.budget.pretrained) == (1, "last.safetensors")
    assert result.budget.pretrained_sha256 == file_sha256(folder / "start/last.safetensors")
    config = json.loads((cell / "run/run.json").read_text())["config"]
    assert (config["fresh_heads"], config["split"], config["negative_masks"]) == (
        True, "train_cells", False,
    )  # fmt: skip

    measured = measure(
        Threshold(cell / "run/last.safetensors", folder / "data", lists / "val_choose.json")
    )
    assert tuple(measured) == THRESHOLDS
    drawn = [metrics.tp + metrics.fp for metrics in measured.values()]
    assert drawn == sorted(drawn, reverse=True), "a higher threshold draws no more objects"
    own = config["positive_threshold"]
    if own in measured:
        assert measured[own].giou * 100 == pytest.approx(result.metrics.giou)
    chosen = best(measured)
    assert measured[chosen].giou == max(metrics.giou for metrics in measured.values())

    samples = failures.measure(
        cell / "run/last.safetensors", folder / "data", lists / "val_choose.json"
    )
    assert ((samples.iou >= 0) & (samples.iou <= 1)).all()
    nothing = (samples.p_uncertainty == 1) & (samples.n_uncertainty == 1)
    assert samples.failed[nothing].all()
    failures.write_samples(cell, samples)
    read = failures.read_samples(cell)
    assert read is not None
    np.testing.assert_allclose(read.p_uncertainty, samples.p_uncertainty, atol=1e-4)

    grid = replace(
        options, suite="findings-long", levels=(), out=tmp_path / "grid", world_folder=folder,
        positive_threshold=chosen, epochs=3,
        # Needs no GPU where it is submitted: the start is there.
        cluster="slurm", device="auto",
    )  # fmt: skip
    before = (folder / "start/last.safetensors").stat().st_mtime_ns
    jobs = plan(grid, cells_of("findings-long", "tiny", (0,)))
    assert (folder / "start/last.safetensors").stat().st_mtime_ns == before
    for job in jobs:
        command = job.train_command()
        longer = parse_train(command[command.index("train") + 1 :])
        assert longer.recipe().epochs == 5 and longer.strategy == "co-teaching"
        assert longer.recipe().positive_threshold == chosen
        assert job.val_split == "val_test"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"world": "painted"}, "--world painted needs --visor and --annotations"),
        ({"world": "kitchen", "data": Path("d")}, "--data is what --world sets"),
        ({"world": "kitchen", "split": "other"}, "--split is what --world sets"),
        ({"world": "kitchen", "train": ("--learning-rate", "1")}, "is set by the benchmark"),
    ],
)
def test_contradicting_options_are_refused(
    tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    with pytest.raises(ActisegError, match=told):
        replace(BenchmarkOptions(suite="findings", out=tmp_path), **changes).check()


def test_what_the_pilot_settles_must_be_given_until_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(protocol.LEARNING_RATE, "kitchen", None)
    options = BenchmarkOptions(suite="findings", out=tmp_path / "grid", world="kitchen")
    with pytest.raises(ActisegError, match="the pilot has not settled --learning-rate"):
        plan(options, [])
    assert not (tmp_path / "grid").exists()
