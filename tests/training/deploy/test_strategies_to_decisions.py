"""From a strategy to a go: networks of PMHM and GCE, exported and calibrated, before the gate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from actiseg_ros.gate.events import Frame, ImageArrived, Source, Time
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.state import Decision, GateOptions
from actiseg_ros.pipeline import Pipeline, load_model
from training.cli import main
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.data.splits import load_clips
from training.deploy.trials import read_image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
RISK = 0.8
"""What so few clips can show."""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips to train on and some more to calibrate on, in the ActionVOS layout."""
    root = tmp_path_factory.mktemp("kitchen")
    config = KitchenConfig(16, seed=11, val_share=0.7, frame_size=(427, 240))
    make_kitchen(root / "raw", config, workers=1)
    prepare(root / "raw" / "VISOR", root / "raw" / "annotations", root / "data", workers=1)
    return root / "data"


@pytest.mark.parametrize("strategy", ["pmhm", "gce"])
def test_a_strategys_network_decides(strategy: str, data: Path, tmp_path: Path) -> None:
    run, bundle, split = tmp_path / "run", tmp_path / "bundle", data / "ImageSets" / "val.json"
    noisy = ["--text-noise", "0.2", "--mask-noise", "5"]
    assert main([
        "train", "--data", str(data), "--out", str(run), "--strategy", strategy, *noisy,
        "--pretrained", "embedded", "--epochs", "1", "--batch-size", "4", "--val-split", "",
        "--learning-rate", "1e-5", "--workers", "0", "--device", "cpu",
    ]) == 0  # fmt: skip
    weights = str(run / "last.safetensors")
    assert main(["export", "--checkpoint", weights, "--out", str(bundle)]) == 0
    record = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    assert record["provenance"]["run"]["strategy"] == strategy
    assert main([
        "calibrate", "--bundle", str(bundle), "--data", str(data), "--split", str(split),
        "--risk", str(RISK),
    ]) == 0  # fmt: skip
    robot = Robot(bundle)
    going = 0
    for clip in load_clips(split):
        names = [item.name for item in clip.objects]
        for name in clip.frames:
            rgb = read_image(data, clip.sequence, name)[0]
            decision = robot.see(rgb, clip.narration or "", names)
            assert decision.go == (not decision.reasons)
            going += decision.go
        assert not robot.see(np.zeros_like(rgb), clip.narration or "", names).go
    assert going > 0


class Robot:
    """Pipeline and gate of a bundle, asked about one picture at a time."""

    def __init__(self, bundle: Path) -> None:
        self.seconds = 1000.0
        self.gate = Gate(self.now, GateOptions(hold_frames=1, image_timeout=60.0, max_risk=RISK))
        self.pipeline = Pipeline(load_model(str(bundle), threads=1, nouns_csv=None), self.gate, 64)
        self.pipeline.activate()
        self.count = 0

    def now(self) -> Time:
        return Time(round(self.seconds * 1e9), self.seconds)

    def see(self, rgb: np.ndarray, narration: str, names: list[str]) -> Decision:
        self.pipeline.act(narration, names, "", 0.0)
        self.count += 1
        self.seconds += 0.1
        now = self.now()
        frame = Frame(now.ros_ns, now.ros_ns, self.count, Source("camera"), now)
        arrived = self.gate.handle(ImageArrived(frame)).frame
        assert arrived is not None
        self.pipeline.submit(self.pipeline.segment(rgb, arrived))
        return self.gate.decide()
