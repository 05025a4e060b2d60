"""Areas under risk and coverage, by hand and by their properties."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from training import cli
from training.benchmark import ablations, choices, failures, threshold
from training.benchmark.failures import (
    FAILURES_FILE,
    Samples,
    area,
    read_samples,
    write_samples,
)
from training.demo import curve

cases = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


def test_by_hand() -> None:
    found = area(np.array([0.1, 0.2, 0.3, 0.4]), np.array([False, True, False, True]))
    assert found.found == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert found.best == pytest.approx((0 + 0 + 1 / 3 + 2 / 4) / 4)
    assert found.random == 0.5
    assert found.relative == pytest.approx((found.found - found.best) / (found.random - found.best))


@given(cases)
def test_the_best_order_is_best_and_saying_nothing_is_the_failure_rate(
    samples: list[tuple[int, bool]],
) -> None:
    uncertainty = np.array([float(value) for value, _ in samples])
    failed = np.array([fails for _, fails in samples])
    found = area(uncertainty, failed)
    assert found.best <= found.found + 1e-12
    assert area(np.zeros(len(failed)), failed).found == pytest.approx(failed.mean())
    # Only the order counts, and the order of samples in the file does not.
    assert area(np.exp(uncertainty), failed).found == pytest.approx(found.found)
    assert area(uncertainty[::-1], failed[::-1]).found == pytest.approx(found.found)
    told = area(failed.astype(float), failed)
    assert told.found == pytest.approx(told.best)
    assert 0 < failed.sum() < len(failed) or np.isnan(told.relative)


def test_what_is_not_drawn_can_be_left_out() -> None:
    samples = Samples(np.array([1, 1, 0.2]), np.array([1, 0.3, 1]), np.array([0, 0.4, 0.9]))
    np.testing.assert_array_equal(samples.drawn.iou, [0.4, 0.9])
    np.testing.assert_array_equal(samples.drawn.worst, [1, 1])
    np.testing.assert_array_equal(samples.drawn.failed, [True, False])


def test_what_is_drawn_is_what_the_label_map_has(tmp_path: Path) -> None:
    """Not what is unsure: a sure mask may lose every pixel, and an unsure one have some."""
    p, n, iou = np.array([0.2, 1, 0.3]), np.array([0.1, 1, 0.4]), np.array([0, 0.4, 0.9])
    write_samples(tmp_path, Samples(p, n, iou, np.array([False, True, True])))
    read = read_samples(tmp_path)
    assert read is not None
    np.testing.assert_array_equal(read.drawn.iou, [0.4, 0.9])
    # Files of before do not say it.
    columns = json.loads((tmp_path / FAILURES_FILE).read_text())
    del columns["in_map"]
    (tmp_path / FAILURES_FILE).write_text(json.dumps(columns))
    old = read_samples(tmp_path)
    assert old is not None
    np.testing.assert_array_equal(old.drawn.iou, [0, 0.9])


def test_measured_samples_say_what_is_drawn() -> None:
    """Two sure objects of the same place: the label map has the surer one alone."""
    objects = [SimpleNamespace(object_id=label, positive=True) for label in (1, 2)]
    masks = torch.full((2, 1, 4, 4), -9.0)
    masks[:, :, :2] = torch.tensor([9.0, 8.0])[:, None, None, None]
    truth = np.zeros((16, 16), np.uint8)
    truth[:8, :8], truth[:8, 8:] = 1, 2
    answer = SimpleNamespace(positives=torch.full((2, 1), 9.0), masks=masks)
    found: Any = SimpleNamespace(
        clip=SimpleNamespace(objects=objects), answer=answer, truths=[truth], size=(16, 16)
    )
    assert [row[3] for row in failures._samples(found, 0.5)] == [True, False]


@pytest.mark.parametrize(
    ("module", "arguments"),
    [
        (failures, ["gone"]),
        (threshold, ["--checkpoint", "gone", "--data", "gone", "--split", "gone"]),
        (ablations, ["--bundle", "gone", "--work", "work", "--clips", "0"]),
        (choices, ["--data", "gone", "--out", "out", "--rows", "7"]),
        (curve, ["--clips", "0"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_mistake_is_told_in_one_line(
    module: Any,
    arguments: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["x", *arguments])
    assert cli.told(module.main) == 2
    assert re.fullmatch(r"error: [^\n]+\n", capsys.readouterr().err)
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.endswith('if __name__ == "__main__":\n    sys.exit(cli.told(main))\n')


def test_damaged_files_are_told(tmp_path: Path) -> None:
    assert read_samples(tmp_path) is None
    (tmp_path / FAILURES_FILE).write_text('{"p_uncertainty": [0.1], "iou": [1, 2]}')
    with pytest.raises(ActisegError, match="remove it and measure again"):
        read_samples(tmp_path)
