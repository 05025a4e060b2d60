"""Progress in a log: some lines, no carriage returns."""

import io
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.files import progress
from training.files.progress import PATIENCE, Progress, tracked


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def run(monkeypatch: pytest.MonkeyPatch, count: int, each: float, **options: bool) -> list[str]:
    """Lines about `count` items of `each` seconds."""
    shown = io.StringIO()
    with monkeypatch.context() as patch:
        clock = {"now": 0.0}
        patch.setattr(progress.time, "monotonic", lambda: clock["now"])
        with Progress("work", "items", count, stream=shown, **options) as bar:
            for _ in range(count):
                clock["now"] += each
                bar.update()
    assert "\r" not in shown.getvalue()
    return shown.getvalue().splitlines()


@given(count=st.integers(0, 3000), each=st.floats(0, 500))
def test_lines_are_few_however_long_it_takes(count: int, each: float) -> None:
    with pytest.MonkeyPatch.context() as patch:
        lines = run(patch, count, each)
    assert len(lines) <= min(51, count * each / PATIENCE + 1)
    assert lines[-1].startswith(f"work: {count} of {count} items in ")


def test_a_line_says_how_far_it_is_and_how_long_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = run(monkeypatch, 600, 1.0)
    assert lines[0] == "work: 30 of 600 items, about 10 min left"
    assert lines[-1] == "work: 600 of 600 items in 10 min"


def test_parts_of_longer_work_are_silent_unless_they_are_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert run(monkeypatch, 10, 1.0, brief=True) == []
    assert len(run(monkeypatch, 10, 10.0, brief=True)) == 4
    assert run(monkeypatch, 10, 10.0, shown=False) == []


def test_resumed_work_counts_what_was_there(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = io.StringIO()
    with Progress("work", "items", 10, initial=8, stream=shown) as bar:
        bar.note(loss="0.5")
        bar.reach(9)
        bar.update()
    assert shown.getvalue() == "work: 10 of 10 items in 0 s, loss 0.5\n"


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with Progress("work", "items", 3, stream=terminal) as bar:
        bar.update(3)
    assert "\r" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_tracked_gives_the_items(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked("abc", "letters", "letters")) == ["a", "b", "c"]
    assert capsys.readouterr().err == "letters: 3 of 3 letters in 0 s\n"


def test_commands_write_logs_without_carriage_returns(tmp_path: Path) -> None:
    """The real processes, with their output in a file."""
    kitchen, data = tmp_path / "kitchen", tmp_path / "data"
    commands = [
        ["kitchen", kitchen, "--clips", "8", "--seed", "1", "--frame-size", "214x120"],
        [
            *("prepare", "--visor", kitchen / "VISOR", "--annotations", kitchen / "annotations"),
            *("--out", data),
        ],
        [
            *("noise", "masks", "--annotations", data / "Annotations_Sparse" / "train"),
            *("--split", data / "ImageSets" / "train.json", "--kernel", "9"),
            *("--out", tmp_path / "masks"),
        ],
    ]
    for command in commands:
        log = tmp_path / "log.txt"
        began = time.monotonic()
        with log.open("wb") as file:
            subprocess.run(
                [sys.executable, "-m", "training.cli", *map(str, command)],
                stdout=file,
                stderr=subprocess.STDOUT,
                check=True,
            )
        content = log.read_bytes()
        assert b"\r" not in content
        assert b" of " in content, "nothing was told"
        assert content.count(b"\n") <= 12 + (time.monotonic() - began) / PATIENCE
