"""``attempts.json`` and ``log.txt``: what was tried at a cell, and what it said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal

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
    """Wall-clock time of the training."""
    training_cpu_seconds: float = 0.0
    """Processor time of the training, with all its processes."""
    outcome: State = "running"
    log_tail: Sequence[str] | None = None
    """The end of the log, where it failed."""


def read_attempts(folder: Path) -> list[Attempt]:
    """What was tried so far; what an older version did not note is 0."""
    file = folder / ATTEMPTS_FILE
    known = {field.name for field in fields(Attempt)}
    return [
        Attempt(**{name: value for name, value in entry.items() if name in known})
        for entry in (read_json(file) if file.exists() else [])
    ]


def note_attempt(folder: Path, attempt: Attempt) -> None:
    """Appends to ``attempts.json``."""
    attempts = [asdict(entry) for entry in [*read_attempts(folder), attempt]]
    write_json(folder / ATTEMPTS_FILE, attempts)


def log_tail(folder: Path) -> list[str]:
    """Last lines of a cell's log."""
    file = folder / LOG_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-_TAIL_LINES:]
