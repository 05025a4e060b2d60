"""The embedded bundle: calibrated, and aware of what it has never seen."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.gate.calibration import load_calibration
from actiseg_ros.gate.features import target_features
from actiseg_ros.gate.rule import Reason
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.compressed import decode_compressed
from actiseg_ros.vision.segmenter import Segmenter

NAMES = ("spoon", "cereal", "cup", "knife", "left hand", "right hand")


@pytest.fixture(scope="module")
def bundle(repository: Path) -> Bundle:
    folder = repository / "actiseg_ros" / "bundles" / "tiny"
    if not (folder / "bundle.json").is_file():
        pytest.skip("the source tree has no embedded bundle (actiseg_ros/bundles/tiny)")
    return load_bundle(folder)


def test_it_is_small_calibrated_and_found_without_a_path(bundle: Bundle) -> None:
    # Two thirds is what the robot runs; the rest are the weights that a training may begin with.
    assert sum((bundle.path / name).stat().st_size for name in bundle.files) <= 16 * 2**20
    assert load_calibration(load_bundle()) is not None


def test_it_knows_hands_and_synonyms(bundle: Bundle) -> None:
    classes = {entry.class_id: entry.names for entry in bundle.vocabulary}
    assert "left hand" in classes[300] and "right hand" in classes[301]
    assert len(classes) >= 30


def test_no_photograph_is_of_its_world_whatever_is_narrated(bundle: Bundle, shared: Path) -> None:
    calibration = load_calibration(bundle)
    assert calibration is not None
    segmenter = Segmenter(bundle, threads=1)
    frames = sorted((shared / "epic" / "demo_frames").glob("*/*.jpg"))
    frames += sorted((shared / "real_frames").glob("**/*.jpg"))
    assert len(frames) >= 29
    prompts = [segmenter.encode(Prompt("pick up two spoons", NAMES, x)) for x in NAMES[:2]]
    foreign = 0
    for path in frames:
        image = decode_compressed(path.read_bytes())
        for prompt in prompts:
            result = segmenter.segment(image, prompt)
            distance = calibration.novelty.distance(result.descriptor)
            reasons = calibration.judge(target_features(result, bundle, distance))
            assert reasons, path
            foreign += Reason.OUT_OF_DISTRIBUTION in reasons
    assert foreign >= 0.98 * len(prompts) * len(frames)


def test_images_without_a_scene_are_out_of_its_world(bundle: Bundle) -> None:
    calibration = load_calibration(bundle)
    assert calibration is not None
    limits = calibration.limits("named")
    assert limits is not None
    segmenter = Segmenter(bundle, threads=1)
    random = np.random.default_rng(0)
    for image in (
        np.zeros((480, 854, 3), np.uint8),
        np.full((480, 854, 3), 255, np.uint8),
        random.integers(0, 256, (480, 854, 3), np.uint8),
    ):
        assert calibration.novelty.distance(segmenter.describe(image)) > limits.distance


@pytest.mark.parametrize("module", ["actiseg_ros.pipeline", "training.deploy.onnx_graphs"])
def test_nothing_is_kept_at_home_and_nobody_is_told(tmp_path: Path, module: str) -> None:
    """ONNX Runtime reports its use to its maker, by way of a database at home, unless forbidden."""
    code = (
        f"import {module}\n"
        "from actiseg_ros.pipeline import load_model\n"
        "load_model('', threads=1, nouns_csv=None)\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "MPLCONFIGDIR": str(tmp_path / "mpl")}
    environment.pop("XDG_CACHE_HOME", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.rglob("*onnxruntime*"))
