"""Every signal that would end a process becomes a call; a real fault still ends it."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from actiseg_ros.ros.process import ending_signals

PROGRAM = """
import ctypes, sys, threading, time
from actiseg_ros.ros.process import on_ending_signal
early = threading.Thread(target=time.sleep, args=(60,), daemon=True)
early.start()  # as the pools of NumPy and others: it was not asked
stopping = threading.Event()
on_ending_signal(stopping.set)
print("ready", flush=True)
if sys.argv[1:]:
    threading.Thread(target=lambda: ctypes.string_at(0), daemon=True).start()
print("last word" if stopping.wait(30) else "nothing came", flush=True)
"""


def run(*arguments: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    return process


def test_all_signals_that_end_a_process_are_meant() -> None:
    numbers = ending_signals()
    asked = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    # Under nohup, SIGHUP is ignored from the start and ends nothing.
    assert {one for one in asked if signal.getsignal(one) is not signal.SIG_IGN} <= numbers
    assert {signal.SIGUSR1, signal.SIGALRM, signal.SIGSEGV, signal.SIGRTMAX} <= numbers
    assert not {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTSTP} & numbers
    assert signal.SIGPIPE not in numbers, "Python ignores it"


@pytest.mark.parametrize("part", range(4))
def test_each_of_them_leaves_time_for_a_last_word(part: int) -> None:
    numbers = sorted(ending_signals())[part::4]
    processes = {number: run() for number in numbers}
    for number, process in processes.items():
        process.send_signal(number)
        output, _ = process.communicate(timeout=20)
        assert (output, process.returncode) == ("last word\n", 0), signal.Signals(number).name


def test_a_real_fault_ends_the_process_at_once() -> None:
    process = run("fault")
    output, _ = process.communicate(timeout=20)
    assert (output, process.returncode) == ("", -signal.SIGSEGV)


def test_what_was_to_be_ignored_stays_ignored() -> None:
    command = ["nohup", sys.executable, "-c", "from actiseg_ros.ros.process import *; "
               "import signal; print(signal.SIGHUP in ending_signals())"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout == "False\n"
