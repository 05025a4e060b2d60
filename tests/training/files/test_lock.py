"""A lock outlives the process that took it as long as a process that it started lives."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from training.files.lock import is_locked, locked

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
