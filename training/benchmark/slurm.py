"""What Slurm says of the cells' jobs.

`squeue` is asked, not `sacct`: it works without an accounting database, and it knows of a job that
waits to be run again. Only while a job is absent from it, or ended there, is the job over.
"""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from training.files.disk import read_json, write_json
from training.files.progress import say

JOB_FILE = "job.json"
"""In a cell's folder: the job that was last submitted for it."""
POLL_SECONDS = 10.0
"""Between two calls of squeue: it is the controller's time that they take."""
_PATIENCE_SECONDS = 60.0
_GONE = "gone from the queue"
_ENDED = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL"),
    *("OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"),
}
_ORDINARY = {"None", "Priority", "Resources", "BeginTime", "Dependency", "JobArrayTaskLimit"}
"""Reasons to wait that pass by themselves."""


class _Seen(NamedTuple):
    state: str
    reason: str


class SlurmQueue:
    """This user's jobs as Slurm's controller sees them; `look` asks again."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] | None = None
        self._looked, self._told = 0.0, ""

    def look(self) -> bool:
        """Asks Slurm if some time has passed; an answer that does not come is waited for.

        Returns:
            Whether there is a new answer.
        """
        if self._seen is not None and time.monotonic() - self._looked < POLL_SECONDS:
            return False
        self._looked = time.monotonic()
        try:
            answer = subprocess.run(
                [
                    *("squeue", "--noheader", "--array", "--states=all"),
                    *(f"--user={os.getuid()}", "--format=%i|%T|%r"),
                ],
                capture_output=True,
                text=True,
                timeout=_PATIENCE_SECONDS,
                check=True,
            )
        except (subprocess.SubprocessError, OSError) as error:
            said = (getattr(error, "stderr", None) or str(error)).strip()
            self._tell(f"Slurm does not answer, waiting for it: {said}")
            return False
        rows = (line.split("|", 2) for line in answer.stdout.splitlines())
        self._seen = {row[0].strip(): _Seen(*row[1:]) for row in rows if len(row) == 3}
        return True

    def ending(self, job_id: str) -> str | None:
        """Slurm's word for how a job ended; None while it waits or runs, or Slurm is silent."""
        if self._seen is None:
            return None
        seen = self._seen.get(job_id)
        if seen is None:
            return _GONE
        return seen.state if seen.state in _ENDED else None

    def tell_why_jobs_wait(self, job_ids: Iterable[str]) -> None:
        """Prints what keeps jobs waiting where it may not pass by itself, once when it changes."""
        seen = [self._seen[job_id] for job_id in job_ids if self._seen and job_id in self._seen]
        reasons = Counter(entry.reason for entry in seen if entry.state == "PENDING")
        unusual = {reason: n for reason, n in reasons.items() if reason not in _ORDINARY}
        self._tell("; ".join(f"{n} jobs wait: {reason}" for reason, n in sorted(unusual.items())))

    def _tell(self, text: str) -> None:
        if text and text != self._told:
            say(text)
        self._told = text


def array_limit() -> int:
    """How many jobs Slurm takes as one array; 1 where arrays are switched off."""
    answer = subprocess.run(
        ["scontrol", "show", "config"], capture_output=True, text=True, check=False
    )
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", answer.stdout, re.MULTILINE)
    return max(1, int(found[1])) if found else 1000


def note_job(folder: Path, job_id: str) -> None:
    """Notes the job of a cell in the cell's folder."""
    write_json(folder / JOB_FILE, {"slurm": job_id})


def noted_job(folder: Path) -> str | None:
    """The job that was last submitted for a cell."""
    file = folder / JOB_FILE
    return str(read_json(file)["slurm"]) if file.exists() else None
