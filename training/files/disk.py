"""Files that are written whole or not at all, JSON in them, and the error of a full disk."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError


@contextmanager
def full_disk_explained(path: Path, content: str | Callable[[], str]) -> Iterator[None]:
    """Turns the error of a full disk, or of an exhausted quota, into one that says what to do.

    Args:
        path: file or folder that is written.
        content: what is written there; a function is only asked if it is needed.

    Raises:
        ActisegError: If the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = content if isinstance(content, str) else content()
        raise ActisegError(
            f"{path}: disk full while writing {what}; free space and run the command again, "
            "`train` with --resume: it continues"
        ) from error


@contextmanager
def replacing(path: Path, *, writer: str = "", durable: bool = False) -> Iterator[Path]:
    """A file beside `path` to write to, which takes the place of `path` if all goes well.

    So `path` is complete at any time: the former file, or the new one.

    Args:
        path: the file; its folder is made.
        writer: part of the temporary name, where several processes may write `path` at once.
        durable: survive a power failure too; costs some milliseconds.

    Yields:
        The temporary file to write; it need not exist.

    Raises:
        ActisegError: If the disk is full; a former file is then still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}{writer}.partial")

    def content() -> str:
        kept = "the former file is intact" if path.exists() else "there was no former file"
        return f"a new version ({kept})"

    try:
        with full_disk_explained(path, content):
            yield temporary
            if durable:
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Writes a file that appears complete or not at all; see `replacing`."""
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file that appears complete or not at all; see `replacing`."""
    write_whole(path, text.encode())


def write_json(path: Path, value: Any, *, indent: int | None = 1, durable: bool = False) -> None:
    """Writes JSON that appears complete or not at all; see `replacing`.

    Args:
        path: the file.
        value: what JSON can hold; numbers that are not finite are refused.
        indent: spaces of each level; None writes one line.
        durable: see `replacing`.

    Raises:
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False)
    write_whole(path, f"{text}\n".encode(), durable=durable)


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        ActisegError: If it is missing, unreadable or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise ActisegError(f"{path}: not found") from error
    except OSError as error:
        raise ActisegError(f"{path}: cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise ActisegError(f"{path}: not readable as JSON ({error}); is it complete?") from error
