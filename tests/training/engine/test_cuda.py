"""Training on a real GPU, where there is one: every strategy takes steps, saves and goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.engine.trainer import train
from training.files.disk import read_json
from training.model.device import choose_device
from training.strategies import STRATEGIES, run_config

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize("name", ["auto", "cuda", "cuda:0"])
def test_a_device_has_a_number(name: str) -> None:
    assert choose_device(name) == torch.device("cuda", 0)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_trains(drawn_data: Path, tmp_path: Path, strategy: str) -> None:
    config = run_config(
        strategy,
        data=drawn_data,
        out=tmp_path,
        input_size=(72, 128),
        batch_size=2,
        epochs=2,
        text_noise=0.6,
        mask_noise=9,
        workers=0,
        device="cuda",
    )
    assert train(config) == 0
    assert train(replace(config, resume=True)) == 0  # restores all that was saved
    assert read_json(tmp_path / "run.json")["status"] == "done"
