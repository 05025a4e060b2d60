"""The command line: help without heavy imports, one-line errors, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training import cli

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


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--text-noise", "1.5", "--text-noise is 1.5; it must be in [0, 1]"),
        ("--mask-noise", "4", "--mask-noise is 4; it must be 0 or odd"),
        ("--epochs", "0", "--epochs is 0; it must be at least 1"),
        ("--gce.q", "1.5", "--gce.q is 1.5; it must be in (0, 1]"),
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
