"""Locks between processes, which none of them leaves behind however it ends.

`filelock` would do for one process. Here the processes that are started for the work inherit the
lock with its descriptor, so that it holds while any of them lives on after its parent was killed;
`filelock` neither gives out its descriptor nor lets a child inherit it. It locks no folders either.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from actiseg_ros.errors import ActisegError
from training.files.progress import say

_POLL_SECONDS = 0.2
_LINGERING_SECONDS = 10.0
"""As long as processes that loaded data outlive a training that was killed."""
_WITHOUT_LOCKS = (errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Errors of storage on which a folder cannot be locked; NFS gives the first."""


@contextmanager
def locked(
    path: Path, patience: float = 0.0, stopping: Callable[[], bool] = lambda: False
) -> Iterator[int | None]:
    """Locks a file, which is made and stays.

    Args:
        path: The file, on storage that all processes concerned share.
        patience: Seconds to wait for another process.
        stopping: True ends the waiting.

    Yields:
        The descriptor of the locked file, to be passed on to processes (`pass_fds`), or None if
        another process still holds the lock.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + patience
    try:
        while not (taken := _try(descriptor)) and time.monotonic() < until and not stopping():
            time.sleep(_POLL_SECONDS)
        yield descriptor if taken else None
    finally:
        os.close(descriptor)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock; looking takes it for a moment."""
    if not path.exists():
        return False
    with locked(path) as descriptor:
        return descriptor is None


@contextmanager
def sole_writer(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keeps a second command from writing into a folder, where both would take files for their own.

    The folder itself is locked, so nothing is left in it. Where storage has no locks on folders,
    as over NFS, nothing is checked.

    Args:
        folder: The folder; it is made, and goes again if nothing is written.
        wait: Wait for another command, and say so; if not, refuse.

    Raises:
        ActisegError: If another command writes there and `wait` is False, or it is no folder.
    """
    began, told = time.monotonic(), False
    descriptor, made = _opened(folder)
    try:
        while not _is_ours(descriptor, folder):
            if not wait and time.monotonic() - began >= _LINGERING_SECONDS:
                raise ActisegError(
                    f"{folder}: another command writes there; wait for it, stop it or choose "
                    "another --out"
                )
            if wait and not told:
                say(f"{folder}: another command writes there; waiting for it")
                told = True
            time.sleep(_POLL_SECONDS)
            os.close(descriptor)
            descriptor, again = _opened(folder)
            made |= again
        try:
            yield
        finally:
            if made:
                with suppress(OSError):  # something was written
                    folder.rmdir()
            with suppress(OSError):  # processes that are still about have the descriptor as well
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def _opened(folder: Path) -> tuple[int, bool]:
    """A folder's descriptor, and whether it was made for that."""
    try:
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), made
    except (FileExistsError, NotADirectoryError) as error:
        raise ActisegError(f"{folder}: is not a folder; choose another --out") from error


def _is_ours(descriptor: int, folder: Path) -> bool:
    """Whether the lock could be taken, and lies on the folder that is there now."""
    try:
        return _try(descriptor) and os.path.samestat(os.fstat(descriptor), folder.stat())
    except FileNotFoundError:  # taken away by the one before, who wrote nothing
        return False
    except OSError as error:
        if error.errno in _WITHOUT_LOCKS:
            return True
        raise


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
