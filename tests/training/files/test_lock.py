"""Locks outlive the process that took them where they must, and keep two writers apart."""

import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.files import lock
from training.files.lock import is_locked, locked, sole_writer

HOLDER = """
import subprocess, sys, time
from pathlib import Path
from training.files.lock import locked
with locked(Path(sys.argv[1])) as descriptor:
    child = subprocess.Popen(["sleep", "60"], pass_fds=(descriptor,))
    print(child.pid, flush=True)
    time.sleep(60)
"""


def test_one_holder_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not is_locked(path)
    with locked(path) as first:
        assert first is not None
        assert is_locked(path)
        began = time.monotonic()
        with locked(path, patience=60, stopping=lambda: True) as second:
            assert second is None
        assert time.monotonic() - began < 30, "a stop ends the waiting"
    assert not is_locked(path)


def test_a_killed_holder_leaves_the_lock_to_what_it_started(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", HOLDER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        assert is_locked(path)
        subprocess.run(["kill", "-9", str(child)], check=True)
        until = time.monotonic() + 10
        while is_locked(path) and time.monotonic() < until:
            time.sleep(0.05)
        assert not is_locked(path)


WRITER = """
import sys, time
from pathlib import Path
from training.files.lock import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("writes", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_waits_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, entered = tmp_path / "new" / "out", threading.Event()

    def write() -> None:
        with sole_writer(out):
            entered.set()

    second = threading.Thread(target=write)
    with sole_writer(out):
        second.start()
        assert not entered.wait(0.6)
    assert entered.wait(10)
    second.join()
    assert capsys.readouterr().out == f"{out}: another command writes there; waiting for it\n"
    assert not out.exists(), "the lock leaves nothing behind"


def test_a_writer_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "writes\n"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "_LINGERING_SECONDS", 0.0)
            refused = pytest.raises(ActisegError, match="another command writes there")
            with refused, sole_writer(tmp_path, wait=False):
                pass
        writer.kill()
        writer.wait()
        with sole_writer(tmp_path, wait=False):
            pass


def test_a_file_is_not_written_into(tmp_path: Path) -> None:
    file = tmp_path / "out"
    file.write_text("mine")
    with pytest.raises(ActisegError, match="out: is not a folder"), sole_writer(file):
        pass
    assert file.read_text() == "mine"


def test_what_was_written_stays(tmp_path: Path) -> None:
    with sole_writer(tmp_path / "out"):
        (tmp_path / "out" / "file").write_text("content")
    assert (tmp_path / "out" / "file").read_text() == "content"


def test_processes_that_stay_do_not_keep_what_the_writer_gave_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LINGERING_SECONDS", 0.0)
    with sole_writer(tmp_path):
        loader = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        loader.start()
    try:
        with sole_writer(tmp_path, wait=False):
            assert loader.is_alive()
    finally:
        loader.kill()
        loader.join()


def test_one_kitchen_drawn_by_two_commands_at_once(tmp_path: Path) -> None:
    options = ["--clips", "12", "--frame-size", "128x72", "--workers", "1"]
    command = [sys.executable, "-m", "training.cli", "kitchen", str(tmp_path / "tree"), *options]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert not [*tmp_path.rglob("*.partial")]
