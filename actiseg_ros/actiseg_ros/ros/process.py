"""The signals that end a process, turned into a call, so that the last word can be said."""

from __future__ import annotations

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
    alone would return into the fault for ever.

    Args:
        stop: Called in the main thread, or in a thread of its own. Must be quick.
    """
    numbers = ending_signals()
    for number in numbers:
        signal.signal(number, lambda *_: stop())
    crashes = _CRASHES & numbers
    signal.pthread_sigmask(signal.SIG_BLOCK, crashes)

    def wait() -> None:
        signal.sigwait(crashes)
        stop()

    threading.Thread(target=wait, name="signals", daemon=True).start()
