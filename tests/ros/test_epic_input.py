"""Real EPIC-KITCHENS frames and narrations through the embedded model: the gate has to refuse."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from actiseg_ros.bundle import default_bundle_path
from actiseg_ros.errors import BundleError

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def results(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        default_bundle_path()
    except BundleError as error:
        pytest.skip(str(error))
    out = tmp_path_factory.mktemp("epic") / "demo-epic"
    command = [sys.executable, "-m", "training.demo", "--epic", str(shared / "epic")]
    # The command itself checks every output topic, the maps' sizes and each decision's reasons.
    finished = subprocess.run(
        [*command, "--out", str(out)], capture_output=True, text=True, timeout=580
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return out


def test_unknown_images_get_a_reasoned_no_go(results: Path) -> None:
    summary = json.loads((results / "summary.json").read_text())
    assert len(summary["clips"]) == 3
    for name, clip in summary["clips"].items():
        assert clip["frames_in"] > 0 and clip["judged_frames"] > 0, name
        assert clip["go"] == 0 and clip["no_go"] == clip["decisions"] > 0, name
        assert clip["reasons"].get("OUT_OF_DISTRIBUTION", 0) >= clip["judged_frames"] / 2, name
        for file in ("input_bag", "output_bag", "overlay.mp4", "timeline.png", "summary.json"):
            assert (results / name / file).exists(), (name, file)
