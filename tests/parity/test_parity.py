"""The runner on a committed case of our own, and on the reference material where it is present."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.parity.result import compare
from tests.parity.run import MODULES, main, run_cases

HERE = Path(__file__).parent
SMALL = HERE / "small"


def failures(folder: Path, modules: Sequence[str] = MODULES) -> list[str]:
    results = list(run_cases(folder, modules))
    assert results, f"no case found in {folder}"
    return [result.line() for result in results if not result.passed]


@pytest.mark.timeout(600)
def test_small_case():
    assert failures(SMALL) == []


@pytest.mark.parametrize(
    "section",
    [
        "metrics",
        "data",
        # Networks of the published sizes take minutes; the small case has one of each kind.
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("inference", "criterion", "model")),
    ],
)
@pytest.mark.timeout(1500)
def test_reference_material(shared, section):
    assert failures(shared / "parity", [f"cases_{section}"]) == []


def test_released_noise(shared):
    results = list(run_cases(shared / "released" / "vectors", ["cases_noise"]))
    assert len(results) >= 22
    assert [result.line() for result in results if not result.passed] == []


def test_released_strategies(shared):
    results = list(run_cases(shared / "released" / "vectors", ["cases_released"]))
    assert len(results) >= 1372
    assert [result.line() for result in results if not result.passed] == []


def test_runner_as_a_program_prints_every_output():
    command = [sys.executable, str(HERE / "run.py"), str(SMALL), "metrics"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert any("metrics/random/filter_true" in line and "pos-mIoU" in line for line in lines)
    assert all(line.startswith("ok") for line in lines[:-1])
    assert "outputs hold" in lines[-1]


def test_runner_fails_when_one_number_is_off(tmp_path, capsys):
    shutil.copytree(SMALL / "metrics", tmp_path / "metrics")
    expected = tmp_path / "metrics" / "expected.json"
    expected.write_text(expected.read_text().replace('"TP": ', '"TP": 1', 1))
    assert main([str(tmp_path)]) == 1
    assert "FAIL metrics/random/filter_true" in capsys.readouterr().out


def test_runner_refuses_a_folder_without_cases(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "no case found" in capsys.readouterr().err


def test_broken_case_does_not_hide_the_others(tmp_path):
    shutil.copytree(SMALL / "inference", tmp_path / "inference")
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "expected.json").write_text("{")
    results = list(run_cases(tmp_path))
    assert [result.case for result in results if not result.passed] == ["cases_metrics"]
    assert any(result.case == "inference/post_two_clips" for result in results)


def test_a_file_that_cannot_be_compared_is_named_and_hides_nothing(tmp_path, capsys):
    (tmp_path / "here").mkdir()
    for name in ("coteaching", "pixel_losses", "strange"):
        np.savez(tmp_path / "here" / f"{name}.npz", numbers=np.ones(3))
    (tmp_path / "here" / "elr_plain.npz").write_bytes(b"cut short")
    rates = {"epoch": np.array([1, 2]), "keep_rate": np.array([0.95, 0.95 - 0.1 / 6])}
    np.savez(tmp_path / "here" / "coteaching_rates.npz", cases=0, **rates)
    assert main([str(tmp_path / "here")]) == 1
    shown = capsys.readouterr()
    for name in ("released/coteaching", "released/pixel_losses", "released/elr_plain"):
        assert f"FAIL {name} " in shown.out
    assert "ok   released/coteaching_rates" in shown.out
    assert "not compared, as no case has a name of this form" in shown.err
    assert "strange.npz" in shown.err
    assert main([str(tmp_path)]) == 2
    assert f"is it one of {tmp_path / 'here'}?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("got", "want", "passed"),
    [
        ([1.0, 2.0], [1.0, 2.1], True),
        ([1.0, 2.0], [1.0, 2.3], False),
        ([np.nan], [1.0], False),
        ([np.nan], [np.nan], True),
        ([np.inf], [np.inf], True),
        ([1.0], [1.0, 1.0], False),
        ([], [], True),
    ],
)
def test_comparison(got, want, passed):
    assert compare("case", "output", got, want, absolute=0.2).passed is passed
