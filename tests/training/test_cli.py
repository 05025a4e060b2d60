"""The command line: help without heavy imports, one-line errors, exit statuses."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_type_hints

import pytest

from actiseg_ros.errors import ActisegError
from training import cli
from training.config.run import TrainConfig

_COMMANDS = ("kitchen", "prepare", "noise", "train", "predict", "evaluate", "export", "calibrate")


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in _COMMANDS if name not in shown] == []


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main([name, "--help"])
    assert stop.value.code == 0
    assert f"usage: actiseg {name}" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["trian"]) == 2
    assert "no command trian" in capsys.readouterr().err


def test_help_needs_neither_torch_nor_opencv() -> None:
    code = (
        "import sys; from training import cli\n"
        "cli.main(['--help'])\n"
        "print([name for name in ('torch', 'cv2', 'onnxruntime') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "[]"


@dataclass(frozen=True)
class _Failing:
    """Fails as told."""

    how: str

    def run(self) -> int:
        """Raises."""
        if self.how == "interrupt":
            raise KeyboardInterrupt
        if self.how == "defect":
            raise AssertionError("a defect")
        raise ActisegError("train.json: no clips; run prepare first")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = {**cli.COMMANDS, "failing": (f"{__name__}:_Failing", "fails")}
    monkeypatch.setattr(cli, "COMMANDS", commands)
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])


@pytest.mark.usefixtures("failing")
def test_user_error_is_one_line_and_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["failing", "--how", "error"]) == 2
    assert capsys.readouterr().err == "error: train.json: no clips; run prepare first\n"


@pytest.mark.usefixtures("failing")
def test_traceback_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTISEG_TRACEBACK", "1")
    with pytest.raises(ActisegError):
        cli.main(["failing", "--how", "error"])


@pytest.mark.usefixtures("failing")
def test_defect_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError, match="a defect"):
        cli.main(["failing", "--how", "defect"])


@pytest.mark.usefixtures("failing")
def test_interrupt_is_status_130() -> None:
    assert cli.main(["failing", "--how", "interrupt"]) == 130


def numeric_options() -> list[tuple[str, float]]:
    """Every option of a run that is a number, with values that no number of its kind can have."""
    kinds = {name: str(kind) for name, kind in get_type_hints(TrainConfig).items()}
    plain = ("int", "float", "int | None", "float | None", "<class 'int'>", "<class 'float'>")
    return [
        (name, value)
        for name, kind in kinds.items()
        if kind in plain
        for value in ((math.nan, -1.0) if "float" in kind else (-1,))
    ]


@pytest.mark.parametrize(("name", "value"), numeric_options())
def test_every_number_has_a_range(name: str, value: float, tmp_path: Path) -> None:
    config = TrainConfig(data=tmp_path, out=tmp_path, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(ActisegError, match=rf"^--{name.replace('_', '-')} is {value}; it must be"):
        config.check()


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--lr-drop", "-1", "--lr-drop is (-1,); it must be of epochs from 0 on"),
        ("--noise.seed", "-1", "--noise.seed is -1; it must be in [0, 2^32)"),
        ("--learning-rate", "inf", "--learning-rate is inf; it must be above 0 and finite"),
        ("--text-noise", "1.5", "--text-noise is 1.5; it must be in [0, 1]"),
        ("--mask-noise", "4", "--mask-noise is 4; it must be 0 or odd"),
        ("--epochs", "0", "--epochs is 0; it must be at least 1"),
        ("--strategy=gce", "--gce.q=1.5", "--gce.q is 1.5; it must be in (0, 1]"),
        ("--gce.q", "0.5", "--gce.q is an option of the strategy gce, but --strategy is baseline"),
        ("--strategy=sce", "--co_teaching.window=9", "leave it out, or give --strategy co-teach"),
        ("--strategy", "magic", "--strategy magic is unknown; known are"),
        ("--pretrained", "gone.pth", "--pretrained gone.pth: there is no such file; name"),
    ],
)
def test_bad_training_option_is_named(
    option: str, value: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "run"), option, value]
    assert cli.main(arguments) == 2
    assert said in capsys.readouterr().err
