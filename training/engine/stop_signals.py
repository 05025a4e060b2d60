"""Signals as a request that the training loop answers at a safe place."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
"""A terminal's Ctrl-C, the end of a job, and what ``sbatch --signal`` sends before the end."""
_ECHO_SECONDS = 1.0


class StopRequest:
    """Whether one of the signals has arrived."""

    requested = False
    number: int | None = None
    """The first signal that arrived."""


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns the signals into a request; a second Ctrl-C acts as usual.

    A launcher or a cluster sends SIGTERM to all processes of a job, and the parents among these
    send it on, so that it may come several times: further ones say nothing new. For the same
    reason a second SIGINT counts only some time after the first signal.

    Outside the main thread, where Python allows no handlers, nothing is ever requested.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    since = 0.0

    def request(number: int, frame: FrameType | None) -> None:
        nonlocal since
        if not stop.requested:
            stop.requested, stop.number, since = True, number, time.monotonic()
            os.write(2, b"\nfinishing the step and saving ...\n")
        elif number == signal.SIGINT and time.monotonic() - since > _ECHO_SECONDS:
            signal.signal(signal.SIGINT, former[signal.SIGINT])
            signal.raise_signal(signal.SIGINT)

    for number in STOP_SIGNALS:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
