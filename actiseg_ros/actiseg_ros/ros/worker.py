"""A worker thread that always works on the newest item.

A slow consumer behind a queue falls ever further behind its camera. Here there is no queue: one
slot holds the newest item, and an item that was not taken before the next one came is dropped.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestWorker(Generic[Item]):
    """Calls a function in one thread with the newest submitted item.

    Args:
        work: Called in the worker's thread; items come in the order of their submission.
        on_error: Called in the worker's thread with what `work` raised; the worker goes on.
        name: Name of the thread.
    """

    def __init__(
        self,
        work: Callable[[Item], None],
        on_error: Callable[[Exception], None],
        name: str = "worker",
    ) -> None:
        self._work = work
        self._on_error = on_error
        self._changed = threading.Condition()
        self._slot: list[Item] = []
        self._stopping = False
        self._dropped = 0
        self._busy_since: float | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Number of items that were replaced before the worker could take them."""
        with self._changed:
            return self._dropped

    @property
    def alive(self) -> bool:
        """Whether the thread has not ended yet."""
        return self._thread.is_alive()

    @property
    def busy_for(self) -> float:
        """Seconds that the item at hand has taken so far, 0 if there is none."""
        since = self._busy_since
        return time.monotonic() - since if since is not None else 0.0

    def submit(self, item: Item) -> None:
        """Puts an item into the slot; one that still waits there is dropped. Never blocks."""
        with self._changed:
            self._dropped += len(self._slot)
            self._slot = [item]
            self._changed.notify()

    def clear(self) -> None:
        """Removes a waiting item without counting it as dropped."""
        with self._changed:
            self._slot = []

    def stop(self, timeout: float = 5.0) -> bool:
        """Ends the thread after the item at hand.

        Args:
            timeout: Seconds to wait for that item.

        Returns:
            Whether the thread has ended; a hanging one is left behind as a daemon.
        """
        with self._changed:
            self._stopping = True
            self._slot = []
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._slot or self._stopping)
                if self._stopping:
                    return
                item = self._slot.pop()
            self._busy_since = time.monotonic()
            try:
                self._work(item)
            except Exception as error:
                self._on_error(error)
            self._busy_since = None
