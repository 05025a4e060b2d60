"""SIGINT and SIGTERM as a request that the training loop answers at a safe place."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether SIGINT or SIGTERM has arrived."""

    requested = False


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Turns the first SIGINT or SIGTERM into a request; a second one acts as usual.

    Outside the main thread, where Python allows no handlers, nothing is ever requested.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(number, former[signal.Signals(number)])
        os.write(2, b"\nfinishing the step and saving ...\n")

    for number in former:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
