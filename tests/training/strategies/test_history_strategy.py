"""Training with histories on a small kitchen: an interrupted run ends as if it had not been."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from training.config.run import TrainConfig
from training.engine.trainer import INTERRUPTED, train
from training.losses.context import StepContext
from training.losses.criterion import Terms
from training.strategies import STRATEGIES
from training.strategies.npn import NPNOptions
from training.strategies.support.history_files import read_index


@pytest.fixture(scope="module")
def data(drawn_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One training clip in the ActionVOS layout; every batch is one of its frames."""
    own = tmp_path_factory.mktemp("one") / "data"
    shutil.copytree(drawn_data, own)
    split = own / "ImageSets" / "train.json"
    split.write_text(json.dumps(json.loads(split.read_text())[-1:]), encoding="utf-8")
    return own


def _train(data: Path, out: Path, name: str, **options: Any) -> int:
    if name == "npn":
        options["strategy_options"] = NPNOptions(warmup_epochs=0)
    fixed: dict[str, Any] = {"epochs": 2, "batch_size": 1, "val_split": "", "workers": 0, "seed": 5}
    return train(TrainConfig(data=data, out=out, strategy=name, **(fixed | options)))


@pytest.mark.usefixtures("micro_tiny")
@pytest.mark.parametrize("name", ["elr", "npn"])
def test_interrupted_run_ends_in_the_same_weights_and_histories(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    class Stopping(STRATEGIES[name]):  # type: ignore[misc]
        """Is interrupted in the second epoch, after its first batch, once."""

        stopped = False

        def losses(self, context: StepContext) -> Terms:
            if context.position.epoch == 1 and not self.stopped:
                type(self).stopped = True
                signal.raise_signal(signal.SIGTERM)
            terms: Terms = super().losses(context)
            return terms

    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert _train(data, whole, name) == 0
    monkeypatch.setitem(STRATEGIES, name, Stopping)
    assert _train(data, cut, name) == INTERRUPTED
    assert _train(data, cut, name, resume=True) == 0
    first, second = (load_file(run / "last.safetensors") for run in (whole, cut))
    assert all(torch.equal(first[key], second[key]) for key in first)
    for part in ("base.values", "log-0.values"):
        one, other = ((run / "histories" / part).read_bytes() for run in (whole, cut))
        assert one == other, part
        assert one
    index = read_index(cut / "histories" / "base.jsonl", {})
    assert index.header["epoch"] == 0
    assert {entry.visits for entry in index.entries.values()} == {1}
