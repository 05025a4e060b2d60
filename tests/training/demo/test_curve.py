"""The learning curve: what it refuses, and (slow) that it trains, measures and goes on."""

from __future__ import annotations

from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.demo.curve import Curve, run, table


@pytest.mark.parametrize(
    ("options", "message"),
    [({"labels": ("dirty",)}, "'dirty' is none of clean, noisy"),
     ({"starts": ("moon",)}, "'moon' is none of embedded, scratch"),
     ({"clips": (0, 5)}, "expected numbers from 1 on"),
     ({"jobs": 0}, "--jobs is 0; expected at least 1"),
     ({"device": "tpu"}, "--device tpu")],
)  # fmt: skip
def test_impossible_options_are_named(
    options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ActisegError, match=message):
        run(Curve(out=tmp_path / "curve", **options))  # type: ignore[arg-type]
    assert not (tmp_path / "curve").exists()


def test_rows_become_a_table() -> None:
    row = {
        "clips": 5,
        "start": "embedded",
        "labels": "clean",
        "p_miou": 50.04,
        "n_miou": 1,
        "acc": 9,
    }
    assert table([row])[2] == "| 5 | embedded | clean | 50.0 | 1.0 | 9.0 |"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_small_curve(tmp_path: Path) -> None:
    options = Curve(out=tmp_path / "curve", clips=(2,), val_clips=5, steps=1, jobs=2)
    rows = run(options)
    assert [(row["start"], row["labels"]) for row in rows] == [
        ("embedded", "clean"), ("embedded", "noisy"), ("scratch", "clean"), ("scratch", "noisy"),
    ]  # fmt: skip
    weights = sorted((tmp_path / "curve" / "cells").glob("*/last.safetensors"))
    before = [path.stat().st_mtime_ns for path in weights]
    assert run(options) == rows and [path.stat().st_mtime_ns for path in weights] == before
