"""A command of a cell in a process of its own: stopped so that it saves, and its cost counted."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import IO, Any

from training.files.provenance import utc_now

Stopping = Callable[[], bool]

_POLL_SECONDS = 0.2
_JOB_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}
"""A cluster sends them to all processes of a job; the one that waits for the cell answers."""
_INTERRUPTED = 130
"""Exit status of a training that saved and ended because of a signal."""
_APART: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)
"""A terminal's Ctrl-C must reach a training once, by us: the second one would cut it off."""

_running: set[subprocess.Popen[bytes]] = set()


class StoppedError(Exception):
    """The command was asked to end."""


class FailedError(Exception):
    """The command failed by itself; the log says why."""


class CellProcesses:
    """Runs the commands of a cell one after the other.

    Args:
        log: Gets what they print.
        environment: Their environment.
        lock: Descriptor that they keep open, see `training.files.lock`.
        stopping: True when the present one should save and end.
    """

    def __init__(
        self, log: IO[str], environment: Mapping[str, str], lock: int, stopping: Stopping
    ) -> None:
        self._log, self._environment, self._lock = log, dict(environment), lock
        self._stopping = stopping
        self.cpu_seconds = 0.0
        """Processor time of all that ended, with what they started."""

    def run(self, command: Sequence[str]) -> None:
        """Runs a command to its end.

        Raises:
            StoppedError: If it was stopped.
            FailedError: If it failed by itself.
        """
        if self._stopping():
            raise StoppedError
        print(f"[{utc_now()}] {shlex.join(command)}", file=self._log, flush=True)
        with _blocked(_JOB_SIGNALS):  # the process and all that it starts inherit that
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=(self._lock,),
                **_APART,
            )
        with _listed(process):
            asked = False
            while not self._ended(process):
                if self._stopping() and not asked:
                    process.terminate()
                    asked = True
                time.sleep(_POLL_SECONDS)
        if process.returncode and (self._stopping() or process.returncode == _INTERRUPTED):
            raise StoppedError
        if process.returncode:
            raise FailedError(_exit_reason(process.returncode))

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a process has ended; adds up what it and its own processes cost."""
        try:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        except ChildProcessError:  # taken by `terminate`, which looks first
            return process.poll() is not None
        if pid == 0:
            return False
        process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds += usage.ru_utime + usage.ru_stime
        return True


def kill_processes() -> None:
    """Ends the processes of all cells of this process at once, without saving."""
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Delivers these signals to this thread afterwards."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def _listed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    _running.add(process)
    try:
        yield
    finally:
        _running.discard(process)


def _exit_reason(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    hint = "; often memory ran out" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}"
