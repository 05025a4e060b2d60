"""One cell: a training and its evaluation on clean data, in processes of their own.

A cell's folder holds ``run/`` (the training), ``predictions/`` (label images of the clean split),
``log.txt``, ``attempts.json`` and, once it is done, ``result.json``. The folder tells the state,
so that any number of processes on any number of machines can share a benchmark.
"""

from __future__ import annotations

import fcntl
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any, Literal

from training.benchmark.results import (
    RESULT_FILE,
    Budget,
    CellKey,
    CellResult,
    CurvePoint,
    RunFacts,
    Scores,
    write_result,
)
from training.data.layout import LABELS
from training.files.disk import read_json, write_json

State = Literal["new", "running", "interrupted", "failed", "done"]

LOG_FILE, ATTEMPTS_FILE = "log.txt", "attempts.json"
_LOCK_FILE = ".lock"
_TAIL_LINES = 15
_POLL_SECONDS = 0.2
_LOCK_SECONDS = 1.0
"""Longer than another process needs to look at a lock."""
_JOB_SIGNALS = {signal.SIGUSR1, signal.SIGUSR2}
"""A cluster sends them to all processes of a job; the one that waits for the cell answers."""
_INTERRUPTED = 130
"""Exit status of a training that saved and ended because of a signal."""
_KEPT = (
    *("run.json", "tokenizer.json", "logs"),
    *("last.safetensors", "last.peer.safetensors", "best.safetensors"),
)
"""What is kept of a finished training; the rest is of use to a resume only."""

_APART: dict[str, Any] = (
    {"process_group": 0} if sys.version_info >= (3, 11) else {"start_new_session": True}
)
"""A terminal's Ctrl-C must reach a training once, by us: the second one would cut it off."""

Stopping = Callable[[], bool]


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
        return self.data / "ImageSets" / f"{self.val_split}.json"

    @property
    def trained(self) -> bool:
        """Whether only the evaluation is missing."""
        run = self.folder / "run"
        record, weights = run / "run.json", run / "last.safetensors"
        return record.exists() and weights.exists() and read_json(record).get("status") == "done"

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
    """State of a cell, from its folder."""
    if (folder / RESULT_FILE).exists():
        return "done"
    if _is_locked(folder / _LOCK_FILE):
        return "running"
    attempts = read_attempts(folder)
    if attempts and attempts[-1]["outcome"] == "failed":
        return "failed"
    return "interrupted" if (folder / "run").exists() else "new"


def read_attempts(folder: Path) -> list[dict[str, Any]]:
    """What was tried so far: start, seconds of training, outcome and the end of the log."""
    file = folder / ATTEMPTS_FILE
    attempts: list[dict[str, Any]] = read_json(file) if file.exists() else []
    return attempts


def run_cell(
    job: CellJob, devices: str | None, stopping: Stopping, *, patience: float = _LOCK_SECONDS
) -> State:
    """Runs a cell unless it is done, or continues it; no failure of it is raised.

    Args:
        job: the cell.
        devices: ``CUDA_VISIBLE_DEVICES`` of its processes; None leaves the variable as it is.
        stopping: True when the cell should save and end.
        patience: seconds to wait for another process that is at this cell.

    Returns:
        The state after the attempt; ``running`` if another process is at this cell.
    """
    job.folder.mkdir(parents=True, exist_ok=True)
    with _locked(job.folder / _LOCK_FILE, patience, stopping) as lock:
        if lock is None:
            return "running"
        if not (job.folder / RESULT_FILE).exists():
            _Attempt(job, devices, stopping, lock).run()
    return state_of(job.folder)


class _Stopped(Exception):  # noqa: N818 (no error)
    """The attempt was asked to end."""


class _Failed(Exception):  # noqa: N818
    """A process of the cell failed; the log says why."""


class _Attempt:
    """One go at a cell; holds its lock.

    Args:
        job: the cell.
        devices: see ``run_cell``.
        stopping: see ``run_cell``.
        lock: descriptor of the locked file, shared with every process of the cell: where this
            process dies and a training lives on, the cell still counts as running.
    """

    def __init__(self, job: CellJob, devices: str | None, stopping: Stopping, lock: int) -> None:
        self._job, self._stopping, self._lock = job, stopping, lock
        self._environment = _environment(job.threads, devices)
        self._started = _now()
        self._training_seconds = self._training_cpu_seconds = self._cpu_seconds = 0.0

    def run(self) -> None:
        """Trains, predicts, evaluates and writes down how it ended."""
        with (self._job.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            outcome = self._outcome(log)
        self._note(outcome)

    def _outcome(self, log: IO[str]) -> State:
        try:
            began = time.monotonic()
            try:
                if not self._job.trained:
                    self._process(self._job.train_command(), log)
            finally:
                self._training_seconds = time.monotonic() - began
                self._training_cpu_seconds = self._cpu_seconds
            self._process(self._job.predict_command(), log)
            write_result(self._job.folder, self._result(self._evaluate()))
            if not self._job.keep_checkpoint:
                _remove_resumable(self._job.folder / "run")
        except _Stopped:
            return "interrupted"
        except _Failed as failure:
            print(f"failed: {failure}", file=log)
            return "failed"
        except Exception:
            # Whatever a cell does, the others go on.
            traceback.print_exc(file=log)
            return "failed"
        return "done"

    def _process(self, command: Sequence[str], log: IO[str]) -> None:
        """Runs a command to its end.

        Raises:
            _Stopped: If it was stopped.
            _Failed: If it failed by itself.
        """
        if self._stopping():
            raise _Stopped
        print(f"[{_now()}] {shlex.join(command)}", file=log, flush=True)
        with _blocked(_JOB_SIGNALS):  # the process and all that it starts inherit that
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                pass_fds=(self._lock,),
                **_APART,
            )
        with _listed(process):
            asked = False
            while not self._ended(process):
                if self._stopping() and not asked:
                    process.terminate()
                    asked = True
                time.sleep(_POLL_SECONDS)
        if process.returncode and (self._stopping() or process.returncode == _INTERRUPTED):
            raise _Stopped
        if process.returncode:
            raise _Failed(_exit_reason(process.returncode))

    def _ended(self, process: subprocess.Popen[bytes]) -> bool:
        """Whether a process has ended; adds up what it and its own processes cost."""
        try:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        except ChildProcessError:  # taken by `terminate`, which looks first
            return process.poll() is not None
        if pid == 0:
            return False
        process.returncode = os.waitstatus_to_exitcode(status)
        self._cpu_seconds += usage.ru_utime + usage.ru_stime
        return True

    def _evaluate(self) -> Scores:
        from training.benchmark.clip_scores import clip_scores, write_clip_scores
        from training.evaluation.metrics import evaluate_sequences, merged

        job = self._job
        parts = evaluate_sequences(
            job.folder / "predictions", job.data / LABELS, job.split_file, workers=1
        )
        values = merged(parts.values()).metrics().as_percent()
        write_clip_scores(job.folder, clip_scores(parts))
        return _scores(values)

    def _result(self, metrics: Scores) -> CellResult:
        job = self._job
        record = read_json(job.folder / "run" / "run.json")
        config, epochs = record["config"], record["epochs"]
        earlier = read_attempts(job.folder)
        return CellResult(
            cell=job.key,
            metrics=metrics,
            budget=Budget(
                epochs=len(epochs),
                steps=epochs[-1]["step"],
                batch_size=config["batch_size"] * config["accumulate"] * record["processes"],
                pretrained=Path(config["pretrained"]).name if config["pretrained"] else None,
            ),
            run=RunFacts(
                device=record["device"],
                seconds=_all_attempts(earlier, "training_seconds", self._training_seconds),
                cpu_seconds=_all_attempts(
                    earlier, "training_cpu_seconds", self._training_cpu_seconds
                ),
                peak_memory_bytes=record["peak_memory_bytes"],
                samples_per_second=record["samples_per_second"],
                code=record["code"],
                started=record["started"],
            ),
            curve=tuple(_curve_point(entry) for entry in epochs),
        )

    def _note(self, outcome: State) -> None:
        """Appends to ``attempts.json``."""
        attempt: dict[str, Any] = {
            "started": self._started,
            "training_seconds": self._training_seconds,
            "training_cpu_seconds": self._training_cpu_seconds,
            "outcome": outcome,
        }
        if outcome == "failed":
            attempt["log_tail"] = log_tail(self._job.folder)
        attempts = [*read_attempts(self._job.folder), attempt]
        write_json(self._job.folder / ATTEMPTS_FILE, attempts)


def _all_attempts(earlier: Sequence[Mapping[str, Any]], name: str, last: float) -> float:
    """A number of all attempts together; older versions may not have noted it."""
    return math.fsum([*(attempt.get(name, 0.0) for attempt in earlier), last])


def log_tail(folder: Path) -> list[str]:
    """Last lines of a cell's log."""
    file = folder / LOG_FILE
    if not file.exists():
        return []
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip()][-_TAIL_LINES:]


def kill_processes() -> None:
    """Ends the processes of all cells of this process at once, without saving."""
    for process in list(_running):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


_running: set[subprocess.Popen[bytes]] = set()


@contextmanager
def _blocked(signals: set[signal.Signals]) -> Iterator[None]:
    """Delivers these signals to this thread afterwards."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextmanager
def _listed(process: subprocess.Popen[bytes]) -> Iterator[None]:
    _running.add(process)
    try:
        yield
    finally:
        _running.discard(process)


def _environment(threads: int, devices: str | None) -> dict[str, str]:
    environment = dict(os.environ)
    environment["OMP_NUM_THREADS"] = str(threads)
    if devices is not None:
        environment["CUDA_VISIBLE_DEVICES"] = devices
    return environment


def _exit_reason(status: int) -> str:
    if status > 0:
        return f"exit status {status}"
    name = signal.Signals(-status).name
    hint = "; often memory ran out" if name == "SIGKILL" else ""
    return f"ended by {name}{hint}"


def _scores(values: Mapping[str, Any]) -> Scores:
    return Scores(**{field.name: values[field.name] for field in fields(Scores)})


def _curve_point(entry: Mapping[str, Any]) -> CurvePoint:
    """An epoch of ``run.json``; a validation with an undefined number is left out."""
    metrics = _scores(entry) if entry.get("p_miou") is not None else None
    if metrics is not None and not all(map(_is_finite, vars(metrics).values())):
        metrics = None
    return CurvePoint(entry["epoch"], entry["step"], entry["loss"], metrics)


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _remove_resumable(run: Path) -> None:
    for path in run.iterdir():
        if path.name in _KEPT:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


@contextmanager
def _locked(path: Path, seconds: float, stopping: Stopping) -> Iterator[int | None]:
    """The descriptor of the locked file, or None if another process holds it for so long.

    The lock goes with the last process that has the descriptor open, however that process ends.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    until = time.monotonic() + seconds
    try:
        while not (locked := _try_lock(descriptor)) and time.monotonic() < until:
            if stopping():
                break
            time.sleep(_POLL_SECONDS)
        yield descriptor if locked else None
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    with _locked(path, 0.0, lambda: False) as descriptor:
        return descriptor is None


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
