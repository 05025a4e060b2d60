"""An hour of video needs no more memory than a minute of it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.actiseg_ros.bags import videos

RATE = 10
MEASURED = """
import resource, sys
from training.cli import main
status = main(sys.argv[1:])
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
sys.exit(status)
"""


def peak_memory(folder: Path, seconds: int, *options: str) -> float:
    """Peak resident memory of `actiseg bag` on a video of this length, MB."""
    video = videos.write(folder / f"{seconds}.mp4", seconds * RATE, rate=RATE, codec="libx264")
    table = folder / f"{seconds}.csv"
    rows = [
        f"V_{i},V,{t // 3600:02d}:{t // 60 % 60:02d}:{t % 60:02d}.00,"
        f"{(t + 4) // 3600:02d}:{(t + 4) // 60 % 60:02d}:{(t + 4) % 60:02d}.00,cut tomato,tomato\n"
        for i, t in enumerate(range(0, seconds - 5, 5))
    ]
    head = "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun\n"
    table.write_text(head + "".join(rows))
    out = folder / f"bag-{seconds}"
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, "bag", "--video", video, "--narrations", table,
         "--video-id", "V", "--out", out, *options],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert f"{seconds * RATE} images" in done.stdout
    # Progress is told in seconds of the video.
    assert re.search(rf"writing: .* of {seconds} seconds in", done.stderr)
    return float(done.stdout.split()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_an_hour_needs_the_memory_of_a_minute(tmp_path: Path, storage: str) -> None:
    minute = peak_memory(tmp_path, 60, "--storage", storage)
    hour = peak_memory(tmp_path, 3600, "--storage", storage)
    print(f"{storage}: {minute:.0f} MB for a minute, {hour:.0f} MB for an hour")
    assert hour - minute < 40
