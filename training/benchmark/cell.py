"""One cell: a training and its evaluation on clean data, in processes of their own.

A cell's folder holds ``run/`` (the training), ``predictions/`` (label images of the clean split),
``log.txt``, ``attempts.json`` and, once it is done, ``result.json``. The folder tells the state,
so that any number of processes on any number of machines can share a benchmark.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from actiseg_ros.errors import ActisegError
from training.benchmark.attempts import (
    LOG_FILE,
    Attempt,
    State,
    ended_attempts,
    log_tail,
    read_attempts,
    write_attempts,
)
from training.benchmark.cell_result import (
    RESULT_FILE,
    CellKey,
    Scores,
    result_of_run,
    scores_of,
    write_result,
)
from training.benchmark.child_process import CellProcesses, FailedError, StoppedError, Stopping
from training.config.run import CHECKPOINT
from training.data.layout import LABELS, split_file
from training.engine.finished import is_finished
from training.files.disk import read_json
from training.files.lock import is_locked, locked
from training.files.provenance import utc_now

_LOCK_FILE = ".lock"
_LOCK_SECONDS = 1.0
"""Longer than another process needs to look at a lock."""
_KEPT = (
    *("run.json", "tokenizer.json", "logs"),
    *("last.safetensors", "last.peer.safetensors", "best.safetensors"),
)
"""What is kept of a finished training; the rest is of use to a resume only."""


@dataclass(frozen=True)
class CellJob:
    """All that a process anywhere needs to run one cell; paths are absolute."""

    key: CellKey
    root: Path
    """Folder of the benchmark."""
    data: Path
    val_split: str
    train: tuple[str, ...]
    """Options of ``actiseg train``, without those that make the cell."""
    predict: tuple[str, ...]
    """Options of ``actiseg predict``, without data, checkpoint and target."""
    threads: int
    gpus: int
    """Processes of the training, joined by torchrun if more than one."""
    keep_checkpoint: bool

    @property
    def folder(self) -> Path:
        """Folder of the cell."""
        return self.root / self.key.folder

    @property
    def split_file(self) -> Path:
        """The clean split that is evaluated."""
        return split_file(self.data, self.val_split)

    @property
    def trained(self) -> bool:
        """Whether only the evaluation is missing."""
        return is_finished(self.folder / "run")

    def train_command(self) -> list[str]:
        """Trains, or continues the training."""
        key = self.key
        launcher = [sys.executable, "-m"]
        if self.gpus > 1:
            launcher += ["torch.distributed.run", "--standalone"]
            launcher += ["--nproc-per-node", str(self.gpus), "-m"]
        return [
            *(*launcher, "training.cli", "train", *self.train),
            *("--data", str(self.data), "--out", str(self.folder / "run"), "--resume"),
            *("--preset", key.preset, "--strategy", key.trained_strategy, "--seed", str(key.seed)),
            *("--text-noise", str(key.text_noise), "--mask-noise", str(key.mask_noise)),
        ]

    def predict_command(self) -> list[str]:
        """Segments the clean split with the final weights."""
        return [
            *(sys.executable, "-m", "training.cli", "predict", *self.predict),
            *("--data", str(self.data), "--split", str(self.split_file)),
            *("--checkpoint", str(self.folder / "run" / "last.safetensors")),
            *("--out", str(self.folder / "predictions")),
        ]


def state_of(folder: Path) -> State:
    """State of a cell, from its folder; `failed` also where that is damaged."""
    if (folder / RESULT_FILE).exists():
        return "done"
    if is_locked(folder / _LOCK_FILE):
        return "running"
    try:
        attempts = read_attempts(folder)
    except ActisegError:  # which a new attempt tells; the other cells go on
        return "failed"
    if attempts and attempts[-1].outcome == "failed":
        return "failed"
    return "interrupted" if (folder / "run").exists() else "new"


def run_cell(
    job: CellJob, devices: str | None, stopping: Stopping, *, patience: float = _LOCK_SECONDS
) -> State:
    """Runs a cell unless it is done, or continues it; no failure of its commands is raised.

    Args:
        job: the cell.
        devices: ``CUDA_VISIBLE_DEVICES`` of its processes; None leaves the variable as it is.
        stopping: True when the cell should save and end.
        patience: seconds to wait for another process that is at this cell.

    Returns:
        The state after the attempt; ``running`` if another process is at this cell.

    Raises:
        OSError: If the cell's own files cannot be written.
        ActisegError: If the disk is full, or what the cell's folder says of itself is damaged.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with locked(job.folder / _LOCK_FILE, patience, stopping) as lock:
        if lock is None:
            return "running"
        if not (job.folder / RESULT_FILE).exists():
            _attempt(job, devices, stopping, lock)
    return state_of(job.folder)


def _attempt(job: CellJob, devices: str | None, stopping: Stopping, lock: int) -> None:
    """One go at a cell: trains, predicts, evaluates, and writes down how it ended.

    Args:
        job: the cell.
        devices: see ``run_cell``.
        stopping: see ``run_cell``.
        lock: descriptor of the locked file, shared with every process of the cell: where this
            process dies and a training lives on, the cell still counts as running.
    """
    attempt = Attempt(started=utc_now())
    attempts = [*ended_attempts(job.folder, job.folder / "run" / CHECKPOINT), attempt]
    write_attempts(job.folder, attempts)
    with (job.folder / LOG_FILE).open("a", encoding="utf-8") as log:
        processes = CellProcesses(log, _environment(job.threads, devices), lock, stopping)
        attempt.outcome = _outcome(job, processes, attempts, log)
    if attempt.outcome == "failed":
        attempt.log_tail = log_tail(job.folder)
    write_attempts(job.folder, attempts)


def _outcome(
    job: CellJob, processes: CellProcesses, attempts: Sequence[Attempt], log: IO[str]
) -> State:
    """How the present attempt, the last one, ends; its cost is set."""
    attempt = attempts[-1]
    try:
        began = time.monotonic()
        try:
            if not job.trained:
                processes.run(job.train_command())
        finally:
            attempt.training_seconds = time.monotonic() - began
            attempt.training_cpu_seconds = processes.cpu_seconds
            write_attempts(job.folder, attempts)
        processes.run(job.predict_command())
        record = read_json(job.folder / "run" / "run.json")
        write_result(job.folder, result_of_run(job.key, record, _evaluate(job), attempts))
        if not job.keep_checkpoint:
            _remove_resumable(job.folder / "run")
    except StoppedError:
        return "interrupted"
    except FailedError as failure:
        print(f"failed: {failure}", file=log)
        return "failed"
    except Exception:
        # Whatever a cell does, the others go on.
        traceback.print_exc(file=log)
        return "failed"
    return "done"


def _evaluate(job: CellJob) -> Scores:
    """The numbers on the clean split; those of each clip are written down."""
    from training.benchmark.clip_scores import clip_scores, write_clip_scores
    from training.evaluation.metrics import evaluate_sequences, merged

    parts = evaluate_sequences(
        job.folder / "predictions", job.data / LABELS, job.split_file, workers=1
    )
    values = merged(parts.values()).metrics().as_percent()
    write_clip_scores(job.folder, clip_scores(parts))
    return scores_of(values)


def _environment(threads: int, devices: str | None) -> dict[str, str]:
    environment = dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(threads)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment


def _remove_resumable(run: Path) -> None:
    for path in run.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
