"""`actiseg bag`: what it prints, and by which exit status it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.actiseg_ros.bags import videos
from training.cli import main

HEAD = "narration_id,video_id,start_timestamp,stop_timestamp,narration,noun\n"
INSIDE = "V_0,V,00:00:00.50,00:00:01.00,cut tomato,tomato\n"
BEHIND = "V_1,V,00:01:00.50,00:01:01.00,cut tomato,tomato\n"


@pytest.mark.parametrize(
    ("rows", "form", "options", "status", "told"),
    [
        (INSIDE, "whole", [], 0, "45 images in 1.5 s, 1 actions"),
        (INSIDE + BEHIND, "whole", [], 3, "warning: 1 of 2 actions (V_1) begin at second 60.50"),
        (INSIDE + BEHIND, "whole", ["--stop", "1.2"], 0, "note: 1 actions lie outside"),
        (INSIDE, "cut", [], 2, "error: "),
        (INSIDE, "cut", ["--on-error", "skip"], 3, "is cut short: its index promises 45 frames"),
        (INSIDE[:-8] + "\n", "whole", [], 2, "t.csv, line 2: has 5 fields"),
        (INSIDE, "whole", ["--storage", "sqlite3"], 0, "45 images"),
    ],
)  # fmt: skip
def test_what_is_lost_is_said_and_the_status_says_so(
    tmp_path: Path, capfd: pytest.CaptureFixture[str],
    rows: str, form: str, options: list[str], status: int, told: str,
) -> None:  # fmt: skip
    video = videos.index_in_front(tmp_path / "v.mp4")
    video = videos.cut(video) if form == "cut" else video
    (tmp_path / "t.csv").write_text(HEAD + rows)
    out = tmp_path / "bag"
    given = ["--video", video, "--narrations", tmp_path / "t.csv", "--video-id", "V", "--out", out]
    assert main(["bag", *map(str, given), *options]) == status
    output = capfd.readouterr()
    assert told in output.out + output.err
    assert out.exists() == (status != 2)
    assert not list(tmp_path.glob(".bag-*"))
