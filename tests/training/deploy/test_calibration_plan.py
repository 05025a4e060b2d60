"""What a calibration takes is told before: numbers of clips, and recordings to keep apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.gate.rule import Features
from actiseg_ros.narration.vocabulary import Vocabulary
from training import cli
from training.deploy.calibration_plan import (
    clips_needed,
    clips_needed_in_the_long_run,
    lesser_promise,
    plan,
)
from training.deploy.risk_control import Criteria, Trial, choose_limits, keeps_risk

VOCABULARY = Vocabulary({13: ["cup"], 4: ["knife"]})
PROMISE = Criteria(risk=0.1, confidence=0.9)


@pytest.mark.parametrize(
    ("failures", "risk", "confidence", "clips"),
    [(0, 0.05, 0.9, 45), (1, 0.05, 0.9, 77), (2, 0.05, 0.9, 105), (0, 0.05, 0.95, 59),
     (0, 0.01, 0.9, 230), (0, 0.1, 0.9, 22), (1, 0.1, 0.9, 38)],
)  # fmt: skip
def test_known_numbers_of_clips(failures: int, risk: float, confidence: float, clips: int) -> None:
    assert clips_needed_in_the_long_run(failures, risk, confidence) == clips


@given(st.integers(0, 8), st.floats(0.01, 0.5), st.floats(0.5, 0.99))
def test_one_clip_less_is_not_enough(failures: int, risk: float, confidence: float) -> None:
    criteria = Criteria(risk=risk, confidence=confidence)
    clips = clips_needed(failures, criteria)
    kept = keeps_risk(np.full(2, failures), np.array([clips, clips - 1]), criteria)
    assert kept.tolist() == [True, False]
    assert clips >= clips_needed_in_the_long_run(failures, risk, confidence)


def write_split(
    data: Path, name: str, clips: Mapping[str, int], narration: str = "take cup"
) -> Path:
    """A split with so many clips of each recording."""
    records = [
        {
            "seq_id": number, "video": video, "verb": "take", "noun": "cup",
            "narration": narration, "sparse_frames": [],
            "object_classes": {
                "1": {"name": "cup", "class_id": 13, "positive": 1},
                "2": {"name": "plate", "class_id": 2, "positive": 0},
            },
        }
        for video, count in clips.items()
        for number in range(count)
    ]  # fmt: skip
    path = data / "ImageSets" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(records))
    return path


def told(data: Path, criteria: Criteria = PROMISE) -> str:
    return "\n".join(plan(criteria, VOCABULARY, data))


def test_enough_clips_are_counted_by_recording(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"day_1": 10})
    write_split(tmp_path, "val", {"day_2": 20, "day_3": 20})
    text = told(tmp_path)
    assert "40 of 40 clips have a target, in 2 recordings (day_2 20, day_3 20)" in text
    assert "enough: it bears 1 failures if the gate lets 39 of them go; 13 more" in text
    assert "--val-videos" not in text


def test_missing_clips_are_told_with_recordings_that_would_fill_them(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"a": 9, "b": 12, "c": 30})
    write_split(tmp_path, "val", {"d": 15})
    text = told(tmp_path)
    assert "not enough: 7 clips are missing; at best these could promise 14.4%" in text
    assert "one recording only" in text
    assert "--val-videos c,d" in text


def test_too_few_for_both_is_said(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"a": 9})
    text = told(tmp_path)
    assert "val.json: missing" in text and "too few for both; record and annotate more" in text


def test_shared_recordings_are_named(tmp_path: Path) -> None:
    write_split(tmp_path, "train", {"day_1": 30, "day_2": 2})
    write_split(tmp_path, "val", {"day_1": 30, "day_3": 30})
    assert "1 recordings are in train.json too (day_1)" in told(tmp_path)


def test_clips_without_a_target_do_not_count(tmp_path: Path) -> None:
    write_split(tmp_path, "val", {"day_1": 30}, narration="open fridge")
    assert "0 of 30 clips have a target" in told(tmp_path)


def test_a_lesser_promise_is_told_where_it_would_be_kept() -> None:
    def trial(clip: int, failure: bool) -> Trial:
        return Trial(f"c{clip}", Features("cup", True, 0.9, 0.1, 0.0, 1.0), failure, False)

    trials = [trial(clip, clip < 6) for clip in range(50)]
    asked = Criteria(risk=0.05, confidence=0.9)
    outcome = choose_limits(trials, 0.5, 2.0, asked)
    assert not outcome.certified
    lesser = lesser_promise(outcome, asked)
    assert (
        lesser is not None
        and choose_limits(trials, 0.5, 2.0, replace(asked, risk=lesser)).certified
    )
    assert lesser_promise(choose_limits(trials, 0.5, 2.0, replace(asked, risk=0.5)), asked) is None


def test_command_tells_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_split(tmp_path, "val", {"day_2": 50})
    before = sorted(tmp_path.rglob("*"))
    assert cli.main(["calibrate", "--plan", "--data", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert "at most 5.0% go wrong, with 90% confidence" in shown
    assert [line.split() for line in shown.splitlines()[2:5]] == [
        ["0", "45", "48"], ["1", "77", "83"], ["2", "105", "115"],
    ]  # fmt: skip
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--plan", "--risk", "0"], "--risk is 0.0"),
     (["--plan", "--data", "nowhere"], "val.json: missing"),
     (["--data", "data"], "calibrate needs --bundle, --data and --split")],
)  # fmt: skip
def test_mistakes_are_one_line(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["calibrate", *options]) == 2
    assert message in capsys.readouterr().err
