"""A strategy is one file: a copy of the package with one more module knows it everywhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import training
from training.config.run import TrainConfig
from training.data.clips import Batch
from training.engine.distributed import process_group
from training.engine.trainer import Trainer, train
from training.losses.context import StepPosition
from training.report.charts import _style
from training.report.conditions import strategy_name
from training.strategies import STRATEGIES

pytestmark = pytest.mark.usefixtures("micro_tiny")

FILE = Path(__file__).with_name("toy_strategy.py")


@pytest.fixture(scope="module")
def toy() -> Iterator[Any]:
    """The module, registered while its tests run."""
    from tests.training.strategies import toy_strategy

    STRATEGIES["toy"] = toy_strategy.Toy
    yield toy_strategy
    del STRATEGIES["toy"]


@pytest.fixture(scope="module")
def data(drawn_data: Path) -> Path:
    """Three training clips in the ActionVOS layout."""
    return drawn_data


def _config(data: Path, out: Path, **options: Any) -> TrainConfig:
    fixed: dict[str, Any] = {"epochs": 1, "batch_size": 1, "val_split": "", "workers": 0}
    return TrainConfig(data=data, out=out, strategy="toy", **(fixed | options))


def test_trains_and_leaves_what_a_run_leaves(data: Path, tmp_path: Path, toy: Any) -> None:
    assert train(_config(data, tmp_path)) == 0
    first, peer = (
        load_file(tmp_path / name) for name in ("last.safetensors", "last.peer.safetensors")
    )
    assert not torch.equal(first["level_embedding"], peer["level_embedding"])
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert state["teacher"]["updates"] == state["peers"][0]["teacher"]["updates"] == state["step"]
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["toy"]["samples"] == 0.5
    assert 0 <= record["epochs"][0]["unsure"] <= 1
    assert train(_config(data, tmp_path, resume=True)) == 0


def test_every_place_changes_the_loss(data: Path, tmp_path: Path, toy: Any) -> None:
    def total(name: str, **options: Any) -> float:
        (tmp_path / name).mkdir()
        config = _config(
            data, tmp_path / name, strategy_options=toy.ToyOptions(**options), precision="float32"
        )
        with process_group("cpu") as group:
            trainer = Trainer(config, group)
            batch: Batch = next(trainer._windows())[0]
            losses, log = trainer.training_step.losses(0, batch, StepPosition())
        assert set(log) == {"unsure"}
        return losses["total"].item()

    off: dict[str, Any] = {"prompts": False, "labels": False, "samples": 1, "pixels": 1}
    off["agreement"] = 0
    plain = total("plain", **off)
    for name in off:
        own = getattr(toy.ToyOptions(), name)
        if name == "agreement":  # before its first step the teacher is the network itself
            continue
        assert total(name, **(off | {name: own})) != pytest.approx(plain, rel=1e-6), name


def test_a_tenth_strategy_has_a_name_colour_and_marker_of_its_own(toy: Any) -> None:
    assert strategy_name("toy") == "Toy"
    styles = [_style(name) for name in STRATEGIES]
    assert len({str(style["color"]) for style in styles}) == len(styles) == 10
    assert len({str(style["marker"]) for style in styles}) == len(styles)


def test_one_file_in_the_package_is_enough(tmp_path: Path) -> None:
    """The command line, the suites and the list for the docs, each in a process of its own."""
    package = Path(training.__file__).parent
    shutil.copytree(package, tmp_path / "training", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(FILE, tmp_path / "training" / "strategies" / "toy.py")
    (tmp_path / "ImageSets").mkdir()

    def output(*arguments: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path), "COLUMNS": "100"}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout

    options = output("-m", "training.cli", "train", "--help")
    assert "--toy.samples" in options
    assert "pmhm,repair,sce,toy" in options
    listed = output("-m", "training.strategies")
    assert "| `toy` | Toy | Two networks with a teacher each" in listed
    assert "`--toy.samples 0.5`" in listed
    rows = output(
        "-c",
        "from training.benchmark.suites import cells_of\n"
        "for suite in ('table5', 'table3', 'smoke'):\n"
        "    print(*(cell.folder for cell in cells_of(suite, 'tiny', [0])))",
    )
    assert rows.count("name60-mask21/toy") == 2
    assert "name20/toy" in rows
