"""What a run validates on, and what it takes over from what its folder holds."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from actiseg_ros.errors import ActisegError
from training.benchmark.answers import answers
from training.config.run import TrainConfig
from training.data.layout import IMAGES, LABELS, split_file
from training.data.palette import write_label_png
from training.engine.distributed import ProcessGroup
from training.engine.trainer import Trainer, train

pytestmark = pytest.mark.usefixtures("micro_tiny")

_ALONE = ProcessGroup(rank=0, size=1, device=torch.device("cpu"))


def _config(data: Path, out: Path, **options: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "epochs": 1,
        "batch_size": 4,
        "val_split": "val",
        "workers": 0,
        "device": "cpu",
    }
    return TrainConfig(data=data, out=out, **(defaults | options))


@pytest.mark.parametrize("kind", [IMAGES, LABELS])
def test_files_to_validate_on_are_looked_for_at_the_start(
    kind: str, drawn_data: Path, tmp_path: Path
) -> None:
    own = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    lost = sorted((own / kind / "val").glob("*/*.*"))[-1]
    lost.unlink()
    with pytest.raises(ActisegError, match=rf"{re.escape(str(lost))}: not found; .*val\.json"):
        train(_config(own, tmp_path / "run"))
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_label_image_of_another_size_is_named(drawn_data: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(drawn_data, tmp_path / "data"))
    assert train(_config(own, tmp_path / "run", val_split="")) == 0
    weights, split = tmp_path / "run" / "last.safetensors", split_file(own, "val")
    label = sorted((own / LABELS / "val").glob("*/*.png"))[0]
    write_label_png(label, np.zeros((5, 7), np.uint8))
    told = rf"{re.escape(str(label))}: has 7x5 pixels, its picture .*\.jpg \d+x\d+; prepare"
    with pytest.raises(ActisegError, match=told):
        train(_config(own, tmp_path / "validated"))
    with pytest.raises(ActisegError, match=told):
        for _ in answers(weights, own, split):
            pass


def test_scores_of_another_validation_are_not_compared(
    drawn_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "checkpoint.pt"
    assert train(_config(drawn_data, tmp_path, val_clips=1)) == 0
    state = torch.load(file, weights_only=True)

    def best_of(earlier: dict[str, Any], **options: Any) -> float:
        torch.save(earlier, file)
        return Trainer(_config(drawn_data, tmp_path, resume=True, **options), _ALONE).best

    assert best_of(state, val_clips=1) == state["best"]
    assert "chosen anew" not in capsys.readouterr().out
    assert best_of(state, val_clips=2) == -math.inf
    assert "differs from before (val_clips): best.safetensors is chosen" in capsys.readouterr().out
    assert best_of(state, val_clips=1, positive_threshold=0.9) == -math.inf
    assert best_of(state, val_clips=1, val_split="train") == -math.inf
    # Without a validation nothing is compared, and earlier checkpoints do not say.
    assert best_of(state, val_clips=1, val_split="") == state["best"]
    del state["best_measure"]
    assert best_of(state, val_clips=2) == state["best"]


def test_a_run_that_starts_anew_is_no_continuation(drawn_data: Path, tmp_path: Path) -> None:
    assert train(_config(drawn_data, tmp_path, epochs=2)) == 0
    file = tmp_path / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    record["started"] = "long ago"
    file.write_text(json.dumps(record), encoding="utf-8")
    (tmp_path / "last.peer.safetensors").touch()
    (tmp_path / "checkpoint.pt").unlink()
    assert train(_config(drawn_data, tmp_path, val_split="")) == 0
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["started"] != "long ago" and len(record["epochs"]) == 1
    names = {path.name for path in tmp_path.glob("*.safetensors")}
    assert names - {"last.safetensors"} == {
        "former.best.safetensors",
        "former.last.peer.safetensors",
    }
