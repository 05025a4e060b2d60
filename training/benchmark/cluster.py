"""Cells as submitit jobs: on Slurm, or as local processes to try the same path out.

submitit pickles each job into ``OUT/submitit`` and its process reads that pickle again, so that
folder must be as private as the account. This process reads none of it: how a cell ended is seen
in the cell's own folder.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from training.benchmark.cell import CellJob, State, run_cell, state_of, stop_processes
from training.benchmark.options import BenchmarkOptions
from training.engine.stop_signals import StopRequest, stop_requests
from training.files.errors import ActisegError

if TYPE_CHECKING:
    import submitit

_POLL_SECONDS = 1.0
_SAVING_SECONDS = 60.0
"""What a training gets to finish its step and save before its job ends."""
_TIMEOUTS = 100
"""How often a job that reached its time limit is queued again."""


class CellTask:
    """A cell as a job of the cluster.

    Args:
        job: the cell.
        devices: ``CUDA_VISIBLE_DEVICES``; None takes what the cluster gives.
    """

    def __init__(self, job: CellJob, devices: str | None) -> None:
        self._job, self._devices = job, devices

    def __call__(self) -> None:
        """Runs in the job's process."""
        with stop_requests() as stop:
            run_cell(self._job, self._devices, lambda: stop.requested)

    def checkpoint(self) -> submitit.helpers.DelayedSubmission:
        """Called before the time limit or a preemption; the new job resumes the training."""
        import submitit

        stop_processes(_SAVING_SECONDS)
        return submitit.helpers.DelayedSubmission(self)


def run_on_cluster(
    options: BenchmarkOptions,
    jobs: Sequence[CellJob],
    slots: Sequence[str | None],
    stop: StopRequest,
) -> Iterator[tuple[CellJob, State]]:
    """Submits the cells and yields each as it ends.

    On Slurm a stop ends only this command, and the jobs go on; local ones are stopped, too.

    Args:
        options: limits of the jobs.
        jobs: the cells.
        slots: devices of each of the jobs that may be submitted at a time.
        stop: whether to end.

    Raises:
        ActisegError: If submitit or Slurm is not there.
    """
    executor = _executor(options)
    waiting, free = list(reversed(jobs)), list(slots)
    running: list[tuple[submitit.Job[None], CellJob, str | None]] = []
    while (waiting or running) and not stop.requested:
        taken = [(waiting.pop(), free.pop()) for _ in range(min(len(waiting), len(free)))]
        if taken:
            with executor.batch():  # one array job on Slurm
                submitted = [executor.submit(CellTask(*pair)) for pair in taken]
            running += [(s, *pair) for s, pair in zip(submitted, taken, strict=True)]
        ended = [entry for entry in running if entry[0].done()]
        running = [entry for entry in running if entry not in ended]
        for _, job, devices in ended:
            free.append(devices)
            yield job, _final_state(job)
        time.sleep(0.0 if ended else _POLL_SECONDS)
    if running and options.cluster == "slurm":
        print("the submitted jobs go on; `scancel --name actiseg` would end them")
    elif running:
        _cancel([entry[0] for entry in running], [entry[1] for entry in running])
    yield from ((job, state_of(job.folder)) for _, job, _ in running)


def _executor(options: BenchmarkOptions) -> submitit.AutoExecutor:
    try:
        import submitit
    except ImportError as error:
        raise ActisegError(
            f"--cluster {options.cluster} needs submitit: pip install 'actiseg[cluster]'"
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
        "slurm_additional_parameters": extra,
    }
    if options.device != "cpu":
        parameters["gpus_per_node"] = options.gpus
    if options.memory_gb is not None:
        parameters["mem_gb"] = options.memory_gb
    if options.partition is not None:
        parameters["slurm_partition"] = options.partition
    return parameters


def _final_state(job: CellJob) -> State:
    """State of a cell whose job has ended; one that never got to its folder has failed."""
    state = state_of(job.folder)
    return "failed" if state == "new" else state


def _cancel(submitted: Sequence[submitit.Job[None]], jobs: Sequence[CellJob]) -> None:
    """Stops local jobs and waits until their trainings have saved."""
    for job in submitted:
        job.cancel()
    until = time.monotonic() + _SAVING_SECONDS
    while time.monotonic() < until and any(state_of(job.folder) == "running" for job in jobs):
        time.sleep(_POLL_SECONDS)
