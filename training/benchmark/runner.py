"""``actiseg benchmark``: the cells of a suite on the cores and GPUs at hand, or on a cluster.

Across machines, submitit hands the cells to Slurm. It was chosen over Ray because the machines
that train such networks run Slurm already: submitit needs no server of its own, puts each cell
into the queue as an ordinary job with its own limits, and calls the same function as this machine
does. Nothing travels back but files in the benchmark's folder.
"""

from __future__ import annotations

import os
import queue
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed

from actiseg_ros.errors import ActisegError
from training.benchmark.attempts import LOG_FILE, State, log_tail
from training.benchmark.cell import CellJob, run_cell, state_of
from training.benchmark.cell_result import RESULT_FILE, CellKey, read_result
from training.benchmark.child_process import kill_processes
from training.benchmark.options import BenchmarkOptions
from training.benchmark.plan import plan
from training.benchmark.suites import cells_of
from training.engine.stop_signals import StopRequest, stop_requests
from training.files.processes import usable_cores

_INTERRUPTED = 130

Finished = tuple[CellJob, State]


def benchmark(options: BenchmarkOptions) -> int:
    """Runs the cells of a suite that are not done yet.

    Returns:
        0; 1 if a cell failed; 130 if a cell is not done for another reason: a signal stopped the
        benchmark, or another process is at it.

    Raises:
        ActisegError: For bad options or data, or if ``out`` holds cells made with other options.
    """
    options.check()
    cells = cells_of(
        options.suite,
        options.preset,
        options.seeds,
        strategies=options.strategies,
        levels=options.levels,
    )
    if options.dry_run:
        return _list_cells(options, cells)
    jobs = plan(options, cells)
    todo = [job for job in jobs if state_of(job.folder) != "done"]
    print(f"{len(jobs)} cells, {len(jobs) - len(todo)} done before", flush=True)
    began = time.monotonic()
    with stop_requests() as stop:
        finished = _report_each(_run(options, todo, stop), len(todo), began)
    return _summary(finished, len(jobs) - len(todo), stop)


def _list_cells(options: BenchmarkOptions, cells: Sequence[CellKey]) -> int:
    states = [state_of(options.out / cell.folder) for cell in cells]
    for cell, state in zip(cells, states, strict=True):
        print(f"{state:12}{cell.folder}")
    print(f"{len(cells)} cells: {_counts(Counter(states))}")
    return 0


def _run(
    options: BenchmarkOptions, jobs: Sequence[CellJob], stop: StopRequest
) -> Iterator[Finished]:
    """Runs the jobs and yields each as it ends; after a stop, those that were under way."""
    if not jobs:
        return iter(())
    slots = _slots(options, len(jobs))
    if options.cluster == "none":
        return _run_here(jobs, slots, stop)
    from training.benchmark.cluster import run_on_cluster

    return run_on_cluster(options, jobs, slots, stop)


def _run_here(
    jobs: Sequence[CellJob], slots: Sequence[str | None], stop: StopRequest
) -> Iterator[Finished]:
    free: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    for slot in slots:
        free.put(slot)

    def work(job: CellJob) -> State:
        if stop.requested:
            return state_of(job.folder)
        devices = free.get()
        try:
            return run_cell(job, devices, lambda: stop.requested)
        except (OSError, ActisegError) as error:
            # E.g. a full disk: not even the failure could be written down.
            print(f"{job.key.folder}: {error}", flush=True)
            return "failed"
        finally:
            free.put(devices)

    with ThreadPoolExecutor(len(slots)) as pool:
        futures: dict[Future[State], CellJob] = {pool.submit(work, job): job for job in jobs}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except KeyboardInterrupt:  # the second signal
            kill_processes()
            raise


def _slots(options: BenchmarkOptions, cells: int) -> list[str | None]:
    """``CUDA_VISIBLE_DEVICES`` for each of the cells that run at a time; None leaves it alone."""
    if options.cluster == "slurm":  # which gives each job its GPUs, and queues the jobs
        return [None] * (options.jobs or cells)
    groups = _gpu_groups(options)
    if not groups:
        cores = usable_cores()
        return [None] * (options.jobs or max(1, cores // options.threads))
    return [groups[index % len(groups)] for index in range(options.jobs or len(groups))]


def _gpu_groups(options: BenchmarkOptions) -> list[str]:
    """This machine's GPUs in groups of one cell; more cells than groups share them."""
    if options.device == "cpu":
        return []
    import torch

    count, size = torch.cuda.device_count(), options.gpus
    if count < size and (count or options.device == "cuda"):
        raise ActisegError(f"--gpus is {size}, but this machine shows {count} GPUs")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    names = visible.split(",")[:count]
    return [",".join(names[i : i + size]) for i in range(0, count - size + 1, size)]


def _report_each(finished: Iterator[Finished], total: int, began: float) -> list[Finished]:
    """Prints a line for every cell that ends."""
    seen: list[Finished] = []
    for job, state in finished:
        seen.append((job, state))
        if state in ("done", "failed"):
            elapsed = time.monotonic() - began
            left = elapsed / len(seen) * (total - len(seen))
            print(
                f"[{len(seen)}/{total}] {job.key.folder}: {_outcome(job, state)} "
                f"(about {left / 60:.0f} min left)",
                flush=True,
            )
    return seen


def _outcome(job: CellJob, state: State) -> str:
    if state == "failed":
        said = " / ".join(line[-200:] for line in log_tail(job.folder)[-2:])
        return f"{said or 'failed, nothing was logged'}; see {job.folder / LOG_FILE}"
    values = read_result(job.folder / RESULT_FILE).metrics
    return (
        f"p-mIoU {values.p_miou:.1f}, n-mIoU {values.n_miou:.1f}, "
        f"gIoU {values.giou:.1f}, Acc {values.acc:.1f}"
    )


def _summary(finished: Sequence[Finished], skipped: int, stop: StopRequest) -> int:
    counts = Counter(state for _, state in finished)
    done, failed = counts.pop("done", 0), counts.pop("failed", 0)
    rest = f", {_counts(counts)}" if counts else ""
    print(f"done {done}, skipped {skipped}, failed {failed}{rest}", flush=True)
    if failed:
        return 1
    return _INTERRUPTED if stop.requested or counts else 0


def _counts(states: Counter[State]) -> str:
    return ", ".join(f"{count} {state}" for state, count in states.items())
