"""The published network on a robot, by the commands of `docs/visor.md`, section 9.

The checkpoint is made here in the published form: random weights under the published names as
`torch.nn.parallel` wraps them, with the training's arguments and optimiser inside.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from actiseg_ros.bundle import load_bundle
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.segmenter import Segmenter
from training.checkpoints.published import published_state
from training.cli import main
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.palette import read_label_png
from training.data.prepare import prepare
from training.model import build_model, train_tokenizer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`weights/` and `data/` as the page has them, with a smaller network and few clips."""
    root = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    network = build_model("r50")
    state = {f"module.{name}": value for name, value in published_state(network).items()}
    some = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([some])
    some.grad = torch.ones(3)
    optimizer.step()
    (root / "weights" / "roberta").mkdir(parents=True)
    torch.save(
        {
            "model": state,
            "optimizer": optimizer.state_dict(),
            "lr_scheduler": {"milestones": [3, 5], "last_epoch": 6, "best": np.float64(0.5)},
            "epoch": 5,
            "args": argparse.Namespace(backbone="resnet50", lr_drop=[3, 5]),
        },
        root / "weights" / "actionvos_rf_r50.pth",
    )
    tokenizer = train_tokenizer(["spoon used in the action of wash spoon"], 300)
    tokenizer.model.save(str(root / "weights" / "roberta"))
    make_kitchen(root / "k", KitchenConfig(6, 3, 0.5, (160, 90)), workers=1)
    prepare(root / "k" / "VISOR", root / "k" / "annotations", root / "data", workers=1)
    split = root / "data" / "ImageSets" / "val.json"
    clips = sorted(json.loads(split.read_text()), key=lambda clip: len(clip["object_classes"]))
    split.write_text(json.dumps(clips[:1]))  # each object costs the whole network
    return root


def test_published_checkpoint_becomes_a_bundle_that_is_calibrated_and_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    weights = ["--checkpoint", "weights/actionvos_rf_r50.pth", "--tokenizer", "weights/roberta"]
    data = ["--data", "data", "--split", "data/ImageSets/val.json"]
    export = ["export", *weights, "--vocabulary", "data/ImageSets/train.json", "--out", "bundle"]
    assert main([*export, "--height", "64", "--width", "96"]) == 0
    assert main(["calibrate", "--bundle", "bundle", *data, "--risk", "0.1"]) in (0, 1)
    assert main(["predict", "--bundle", "bundle", *data, "--out", "by_bundle"]) == 0
    assert main(["predict", *weights, *data, "--out", "by_checkpoint"]) == 0
    for out in ("by_bundle", "by_checkpoint"):
        for record in json.loads(Path("data/ImageSets/val.json").read_text()):
            maps = sorted(Path(out).glob(f"*{record['video']}*/*.png"))
            assert maps and all(read_label_png(path).shape == (480, 854) for path in maps)
    bundle = load_bundle(Path("bundle"))
    assert bundle.thresholds.positive == 0.75
    segmenter = Segmenter(bundle)
    prompt = segmenter.encode(Prompt("cut tomato", ("tomato", "knife"), "tomato"))
    answer = segmenter.segment(np.full((90, 160, 3), 120, np.uint8), prompt)
    assert answer.labels.shape == (90, 160)
