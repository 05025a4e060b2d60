"""``attempts.json`` and ``log.txt``: what was tried at a cell, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Literal

from actiseg_ros.errors import ActisegError
from training.files.disk import read_json, write_json

State = Literal["new", "running", "interrupted", "failed", "done"]

LOG_FILE, ATTEMPTS_FILE = "log.txt", "attempts.json"
_TAIL_LINES = 15


@dataclass
class Attempt:
    """One go at a cell."""

    started: str
    """ISO 8601, UTC."""
    training_seconds: float = 0.0
    """Wall-clock time of the training; up to its last checkpoint where the attempt was killed."""
    training_cpu_seconds: float | None = 0.0
    """Processor time of the training, with all its processes; None where it was killed while it
    trained."""
    outcome: State = "running"
    log_tail: Sequence[str] | None = None
    """The end of the log, where it failed."""


def read_attempts(folder: Path) -> list[Attempt]:
    """What was tried so far; what an older version did not note is 0.

    Raises:
        ActisegError: If ``attempts.json`` is damaged.
    """
    file = folder / ATTEMPTS_FILE
    known = {field.name for field in fields(Attempt)}
    try:
        return [
            Attempt(**{name: value for name, value in entry.items() if name in known})
            for entry in (read_json(file) if file.exists() else [])
        ]
    except (AttributeError, TypeError) as error:
        raise ActisegError(
            f"{file}: does not list attempts ({error}); remove it, which only forgets what earlier "
            "ones took"
        ) from error


def ended_attempts(folder: Path, checkpoint: Path) -> list[Attempt]:
    """What was tried before, by a process that has the cell for itself.

    An attempt that is still said to run was killed. How long it trained is known up to its last
    checkpoint, what that took of the processor is not.

    Args:
        folder: Of the cell.
        checkpoint: What its training resumes from.
    """
    attempts = read_attempts(folder)
    for attempt in attempts:
        if attempt.outcome != "running":
            continue
        attempt.outcome = "interrupted"
        if not attempt.training_seconds and checkpoint.exists():
            began = datetime.fromisoformat(attempt.started).timestamp()
            trained = checkpoint.stat().st_mtime - began
            if trained > 0:  # else it is of an earlier attempt
                attempt.training_seconds, attempt.training_cpu_seconds = trained, None
    return attempts


def write_attempts(folder: Path, attempts: Sequence[Attempt]) -> None:
    """Writes ``attempts.json``."""
    write_json(folder / ATTEMPTS_FILE, [asdict(attempt) for attempt in attempts])


def log_tail(folder: Path) -> list[str]:
    """Last lines of a cell's log."""
    file = folder / LOG_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-_TAIL_LINES:]
