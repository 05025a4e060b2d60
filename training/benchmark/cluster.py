"""Cells as submitit jobs: on Slurm, or as local processes to try the same path out.

submitit pickles each job into ``OUT/submitit`` and its process reads that pickle again, so that
folder must be as private as the account. This process reads none of it: how a cell ended is seen
in the cell's own folder, and whether its job is over is asked of Slurm.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from actiseg_ros.errors import ActisegError
from training.benchmark.attempts import State
from training.benchmark.cell import CellJob, run_cell, state_of
from training.benchmark.options import SAVING_SECONDS, BenchmarkOptions
from training.benchmark.slurm import SlurmQueue, array_limit, note_job, noted_job
from training.engine.stop_signals import StopRequest, stop_requests
from training.files.progress import say

if TYPE_CHECKING:
    import submitit

_POLL_SECONDS = 1.0
_TIMEOUTS = 100
"""How often a job that reached its time limit is queued again."""
_STALE_SECONDS = 600.0
"""What a job waits for another process at its cell: the one of a node that was lost, mostly."""


class CellTask:
    """A cell as a job of the cluster.

    Args:
        job: the cell.
        devices: ``CUDA_VISIBLE_DEVICES``; None takes what the cluster gives.
    """

    def __init__(self, job: CellJob, devices: str | None) -> None:
        self._job, self._devices = job, devices

    def __call__(self) -> None:
        """Runs in the job's process.

        Raises:
            ActisegError: If the cell is not done, so that the job counts as failed.
        """
        # submitit's own handlers would queue the job again at once; the training saves first.
        queue_again = {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGUSR2)}
        with stop_requests() as stop:
            state = run_cell(
                self._job, self._devices, lambda: stop.requested, patience=_STALE_SECONDS
            )
        if state in ("interrupted", "running", "new") and stop.number is not None:
            handler = queue_again.get(signal.Signals(stop.number))
            if callable(handler):
                handler(stop.number, None)  # does not return
        if state != "done":
            raise ActisegError(f"{self._job.folder} is not done but {state}")

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """What submitit queues again: the same, for the cell's folder says where to go on."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


@dataclass(frozen=True)
class _Submitted:
    """A job in the cluster's hands."""

    job: CellJob
    id: str
    devices: str | None
    handle: submitit.Job[None] | None
    """None if an earlier call submitted it."""


def run_on_cluster(
    options: BenchmarkOptions,
    jobs: Sequence[CellJob],
    slots: Sequence[str | None],
    stop: StopRequest,
) -> Iterator[tuple[CellJob, State]]:
    """Submits the cells and yields each as it ends; jobs of an earlier call are waited for.

    On Slurm a stop ends only this command, and the jobs go on; local ones are stopped, too.

    Args:
        options: limits of the jobs.
        jobs: the cells.
        slots: devices of each of the jobs that may be submitted at a time.
        stop: whether to end.

    Raises:
        ActisegError: If submitit or Slurm is not there, or Slurm refuses a job.
    """
    cluster = _Slurm(options) if options.cluster == "slurm" else _Local(options)
    running = cluster.earlier(jobs)
    known = {entry.job.key for entry in running}
    waiting = [job for job in reversed(jobs) if job.key not in known]
    free = list(slots)[len(running) :]
    while (waiting or running) and not stop.requested:
        taken = [(waiting.pop(), free.pop()) for _ in range(min(len(waiting), len(free)))]
        running += cluster.submit(taken)
        ended = cluster.ended(running)
        running = [entry for entry in running if entry not in ended]
        for entry in ended:
            free = [*free, entry.devices][: len(slots)]
            yield entry.job, cluster.final_state(entry)
        time.sleep(0.0 if ended else _POLL_SECONDS)
    if running:
        cluster.leave(running, len(waiting))
    yield from ((entry.job, state_of(entry.job.folder)) for entry in running)


class _Local:
    """Processes of this machine, under submitit's controller."""

    def __init__(self, options: BenchmarkOptions) -> None:
        self._executor = _executor(options)

    def earlier(self, jobs: Sequence[CellJob]) -> list[_Submitted]:
        return []

    def submit(self, pairs: Sequence[tuple[CellJob, str | None]]) -> list[_Submitted]:
        handles = [self._executor.submit(CellTask(*pair)) for pair in pairs]
        return [
            _Submitted(job, handle.job_id, devices, handle)
            for (job, devices), handle in zip(pairs, handles, strict=True)
        ]

    def ended(self, running: Sequence[_Submitted]) -> list[_Submitted]:
        return [entry for entry in running if entry.handle is not None and entry.handle.done()]

    def final_state(self, entry: _Submitted) -> State:
        state = state_of(entry.job.folder)
        return "failed" if state == "new" else state  # it never got to its folder

    def leave(self, running: Sequence[_Submitted], waiting: int) -> None:
        """Stops the jobs and waits until their trainings have saved."""
        for entry in running:
            if entry.handle is not None:
                entry.handle.cancel()
        until = time.monotonic() + SAVING_SECONDS
        while time.monotonic() < until and any(
            state_of(entry.job.folder) == "running" for entry in running
        ):
            time.sleep(_POLL_SECONDS)


class _Slurm:
    """Jobs of a Slurm cluster, in arrays."""

    def __init__(self, options: BenchmarkOptions) -> None:
        self._executor = _executor(options)
        self._folder = options.out.resolve() / "submitit"
        self._limit = array_limit()
        self._queue = SlurmQueue()

    def earlier(self, jobs: Sequence[CellJob]) -> list[_Submitted]:
        """Jobs that another call submitted and that are still in the queue."""
        noted = [(job, noted_job(job.folder)) for job in jobs]
        found = [_Submitted(job, name, None, None) for job, name in noted if name is not None]
        if not found:
            return []
        while not self._queue.look():
            time.sleep(_POLL_SECONDS)
        queued = [entry for entry in found if self._queue.ending(entry.id) is None]
        if queued:
            say(f"{len(queued)} cells are in Slurm's queue since an earlier call")
        return queued

    def submit(self, pairs: Sequence[tuple[CellJob, str | None]]) -> list[_Submitted]:
        import submitit

        entries: list[_Submitted] = []
        for start in range(0, len(pairs), self._limit):
            part = pairs[start : start + self._limit]
            try:
                with self._executor.batch():
                    handles = [self._executor.submit(CellTask(*pair)) for pair in part]
            except submitit.core.utils.FailedJobError as error:
                raise ActisegError(_refusal(error)) from error
            for (job, devices), handle in zip(part, handles, strict=True):
                note_job(job.folder, handle.job_id)
                entries.append(_Submitted(job, handle.job_id, devices, handle))
        return entries

    def ended(self, running: Sequence[_Submitted]) -> list[_Submitted]:
        if not self._queue.look():
            return []
        self._queue.tell_why_jobs_wait(entry.id for entry in running)
        return [entry for entry in running if self._queue.ending(entry.id) is not None]

    def final_state(self, entry: _Submitted) -> State:
        ending = self._queue.ending(entry.id)
        state = state_of(entry.job.folder)
        if state == "new" and ending != "CANCELLED":
            state = "failed"
        if state != "done":
            log = self._folder / f"{entry.id}_0_log.err"
            say(f"{entry.job.key.folder}: job {entry.id} is {ending}; its output: {log}")
        return state

    def leave(self, running: Sequence[_Submitted], waiting: int) -> None:
        rest = f", {waiting} cells are not submitted yet" if waiting else ""
        say(
            f"the submitted jobs go on{rest}; the same command waits for them, "
            "`scancel --name actiseg` would end them"
        )


def _executor(options: BenchmarkOptions) -> submitit.AutoExecutor:
    try:
        import submitit
    except ImportError as error:
        raise ActisegError(
            f"--cluster {options.cluster} needs submitit: "
            "pip install '.[cluster]' in the project's folder"
        ) from error
    try:
        executor = submitit.AutoExecutor(
            options.out.resolve() / "submitit",
            cluster=options.cluster,
            local_max_num_timeout=_TIMEOUTS,
            slurm_max_num_timeout=_TIMEOUTS,
        )
    except RuntimeError as error:
        raise ActisegError(f"--cluster {options.cluster}: {error}") from error
    executor.update_parameters(**_parameters(options))
    return executor


def _parameters(options: BenchmarkOptions) -> dict[str, Any]:
    parameters: dict[str, Any] = {"name": "actiseg", "timeout_min": options.minutes}
    if options.cluster == "local":
        return parameters
    extra = dict(setting.split("=", 1) for setting in options.sbatch)
    parameters |= {
        "cpus_per_task": options.gpus * (options.threads + options.workers),
        # From 22.05 on a step does not take its CPUs from the job's options.
        "slurm_setup": ["export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"],
        "slurm_array_parallelism": 1_000_000,
        "slurm_signal_delay_s": SAVING_SECONDS,
        "slurm_additional_parameters": {"requeue": True, **extra},
    }
    if options.device != "cpu":
        parameters["gpus_per_node"] = options.gpus
    if options.memory_gb is not None:
        parameters["mem_gb"] = options.memory_gb
    if options.partition is not None:
        parameters["slurm_partition"] = options.partition
    return parameters


def _refusal(error: Exception) -> str:
    """What sbatch said, with a remedy where there is a known one."""
    said = " ".join(str(error).split())
    hints = {
        "generic resource": "--device cpu asks for no GPU",
        "Submit": "--jobs limits how many jobs are submitted at a time",
        "partition": "--partition names another one",
    }
    hint = next((f"; {text}" for word, text in hints.items() if word in said), "")
    return f"Slurm refused the job: {said}{hint}"
