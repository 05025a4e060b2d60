"""Results by clip give the numbers of the whole, and of any other choice of clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from training.benchmark.clip_scores import (
    CLIPS_FILE,
    clip_scores,
    metrics_of,
    read_clip_scores,
    write_clip_scores,
)
from training.evaluation.metrics import METRICS, Tally, merged


def tallies(seed: int, clips: int = 6) -> dict[str, Tally]:
    rng = np.random.default_rng(seed)
    found = {}
    for number in range(clips):
        tally = Tally(videos=1)
        for _ in range(3):
            truth, prediction = rng.integers(0, 4, (2, 6, 6)).astype(np.uint8)
            tally.add_frame(prediction, truth, {1: True, 2: False, 3: bool(number % 2)})
        found[f"clip {number}"] = tally
    return found


@given(st.integers(0, 50), st.lists(st.integers(0, 5), min_size=1, max_size=9))
def test_metrics_of_any_choice_are_those_of_an_evaluation(seed: int, chosen: list[int]) -> None:
    parts = tallies(seed)
    scores = clip_scores(parts)
    whole = merged(list(parts.values())[index] for index in chosen).metrics(strict=False)
    ours = metrics_of(scores.sums[chosen].sum(0))
    for name in METRICS:
        assert ours[name] == pytest.approx(100 * getattr(whole, name), nan_ok=True)


def test_files_keep_what_matters(tmp_path: Path) -> None:
    scores = clip_scores(tallies(1))
    write_clip_scores(tmp_path, scores)
    read = read_clip_scores(tmp_path)
    assert read is not None and read.clips == scores.clips
    np.testing.assert_allclose(read.sums, scores.sums, atol=1e-6)
    assert read_clip_scores(tmp_path / "elsewhere") is None
    (tmp_path / CLIPS_FILE).write_text('{"sums": ["p_iou"], "clips": {}}')
    with pytest.raises(ActisegError, match="run its cell again"):
        read_clip_scores(tmp_path)
