"""The signals that end a process, turned into a call, so that the last word can be said."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable

_CRASHES = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSYS, signal.SIGTRAP,
}  # fmt: skip
_NEVER = {signal.SIGKILL, signal.SIGSTOP}
_HARMLESS = {
    signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH,  # ignored unless handled
    signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU,  # pause the process
}  # fmt: skip
_ALWAYS = {signal.SIGINT, signal.SIGTERM}


def ending_signals() -> set[int]:
    """Signals that would end this process, those that it was told to ignore left out."""
    found: set[int] = set()
    for number in signal.valid_signals() - _NEVER - _HARMLESS:
        ignored = signal.getsignal(number) == signal.SIG_IGN
        # A shell's `&` makes children ignore SIGINT, and still they have to be stopped somehow.
        if not ignored or number in _ALWAYS:
            found.add(number)
    return found


def on_ending_signal(stop: Callable[[], None]) -> None:
    """Calls a function when a signal comes that would end the process.

    Signals of a crash can be sent from outside, too, and then there is time for a last word. They
    are blocked in this thread and in those that it starts, and a thread waits for them: the kernel
    ends the process at once if a thread is really at fault while it blocks them, whereas a handler
    alone would return into the fault for ever. Threads from before, which do not block them, have
    the handler.

    Args:
        stop: Called in a thread of its own, whatever the main thread is at.
    """
    numbers = ending_signals()
    crashes = _CRASHES & numbers
    readable, writable = os.pipe()
    os.set_blocking(writable, False)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in numbers:
        # The handler itself has nothing to do: any signal that has one is written to the pipe.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, crashes)

    def hear() -> None:
        while True:
            if set(os.read(readable, 64)) & numbers:
                stop()

    def wait() -> None:
        signal.sigwait(crashes)
        stop()

    for body in (hear, wait):
        threading.Thread(target=body, name="signals", daemon=True).start()
