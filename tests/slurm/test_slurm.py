"""The benchmark on a real Slurm: `make slurm-test`, minutes long, not part of `make test`."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.slurm.cluster import (
    ARRAY_LIMIT,
    SlurmCluster,
    held,
    is_asked,
    missing_programs,
    running_cluster,
    wait_until,
)
from tests.training.drawn_data import draw_data
from training.benchmark.attempts import read_attempts
from training.benchmark.cell import state_of
from training.benchmark.cell_result import read_result

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

_CELL = "clean/baseline/seed0"
_EPOCHS = 10
"""Of three steps. Where something has to happen before the end, the training is held meanwhile."""
_PATIENCE = 900.0


@pytest.fixture(scope="module")
def one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    if missing := missing_programs():
        pytest.skip(f"no {', '.join(missing)}: apt-get install slurm-wlm munge")
    with running_cluster(tmp_path_factory.mktemp("slurm")) as started:
        yield started


@pytest.fixture
def cluster(one_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    """The cluster with its node there and nothing in its queue."""
    yield one_cluster
    one_cluster.mend()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four training clips and two for validation, in the ActionVOS layout."""
    return draw_data(tmp_path_factory.mktemp("kitchen"))


def _benchmark(
    cluster: SlurmCluster, data: Path, out: Path, *options: str, epochs: int = 1
) -> subprocess.Popen[str]:
    command = [
        *(sys.executable, "-m", "training.cli", "benchmark", "table1"),
        *("--data", str(data), "--out", str(out), "--epochs", str(epochs)),
        *("--device", "cpu", "--workers", "0", *options, "--", "--batch-size", "4"),
    ]
    return subprocess.Popen(
        command,
        env=cluster.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _ended(process: subprocess.Popen[str], status: int) -> str:
    """What a command said until it ended."""
    said, _ = process.communicate(timeout=_PATIENCE)
    assert process.returncode == status, said
    return said


@pytest.fixture(scope="module")
def uninterrupted(
    one_cluster: SlurmCluster, data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The same cell without a cluster and without a stop."""
    out = tmp_path_factory.mktemp("uninterrupted")
    _ended(_benchmark(one_cluster, data, out, "--levels", "clean", epochs=_EPOCHS), 0)
    return out / _CELL


def _same_result(cell: Path, other: Path) -> None:
    result, expected = read_result(cell / "result.json"), read_result(other / "result.json")
    assert result.metrics == expected.metrics
    assert [point.loss for point in result.curve] == [point.loss for point in expected.curve]
    weights = load_file(cell / "run" / "last.safetensors")
    for name, value in load_file(other / "run" / "last.safetensors").items():
        assert (weights[name] == value).all(), name


def test_cells_are_arrays_within_the_limit(
    cluster: SlurmCluster, data: Path, tmp_path: Path
) -> None:
    process = _benchmark(cluster, data, tmp_path, "--cluster", "slurm", "--minutes", "20")
    wait_until(lambda: len(cluster.jobs()) == ARRAY_LIMIT + 1, 60, "four jobs are in the queue")
    kinds = [name.partition("_")[1] for name in cluster.jobs()]
    assert sorted(kinds) == ["", *["_"] * ARRAY_LIMIT], "one array and what it has no place for"
    said = _ended(process, 0)
    assert "done 4, skipped 0, failed 0" in said
    assert "done 0, skipped 4" in _ended(
        _benchmark(cluster, data, tmp_path, "--cluster", "slurm", "--minutes", "20"), 0
    )


def test_time_limit_costs_nothing(
    cluster: SlurmCluster, data: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "2")
    process = _benchmark(cluster, data, tmp_path, *options, epochs=_EPOCHS)
    cell = tmp_path / _CELL
    with held(cell / "run") as training:
        limit = "the job is asked to save before its limit"
        wait_until(lambda: is_asked(training, signal.SIGTERM), 120, limit)
    assert "done 1, skipped 0, failed 0" in _ended(process, 0)
    outcomes = [attempt.outcome for attempt in read_attempts(cell)]
    assert outcomes[-1] == "done"
    assert len(outcomes) > 1
    assert set(outcomes[:-1]) == {"interrupted"}
    log = (cell / "log.txt").read_text()
    stopped = re.findall(r"^stopped at step (\d+)", log, re.MULTILINE)
    resumed = re.findall(r"^resuming at epoch \d+, step (\d+)", log, re.MULTILINE)
    assert stopped == resumed, "each job goes on where the one before saved"
    _same_result(cell, uninterrupted)


@pytest.mark.parametrize("way", ["down", "lost"])
def test_node_comes_back(
    way: str, cluster: SlurmCluster, data: Path, tmp_path: Path, uninterrupted: Path
) -> None:
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "30")
    process = _benchmark(cluster, data, tmp_path, *options, epochs=_EPOCHS)
    cell = tmp_path / _CELL
    with held(cell / "run"):
        (job,) = cluster.jobs()
        if way == "down":
            cluster.set_node("down")
        else:
            cluster.lose_node()
        wait_until(lambda: cluster.jobs() == {job: "PENDING"}, 120, "the job waits")
        assert "down" in cluster.node_state()
    if way == "down":
        cluster.set_node("resume")
    else:
        cluster.start_node()
    assert "done 1, skipped 0, failed 0" in _ended(process, 0)
    _same_result(cell, uninterrupted)


def test_command_may_end_and_come_back(cluster: SlurmCluster, data: Path, tmp_path: Path) -> None:
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "30")
    cell = tmp_path / _CELL
    first = _benchmark(cluster, data, tmp_path, *options, epochs=_EPOCHS)
    with held(cell / "run"):
        first.send_signal(signal.SIGINT)
        assert "the submitted jobs go on" in _ended(first, 130)
        (job,) = cluster.jobs()

        second = _benchmark(cluster, data, tmp_path, *options, epochs=_EPOCHS)
        assert second.stdout is not None
        assert "1 cells, 0 done before" in second.stdout.readline()
        assert "1 cells are in Slurm's queue since an earlier call" in second.stdout.readline()
        assert set(cluster.jobs()) == {job}, "not submitted twice"
        cluster.run("scancel", job)
    said = _ended(second, 130)
    assert f"job {job} is CANCELLED" in said
    assert state_of(cell) == "interrupted"
    assert "stopped at step" in (cell / "log.txt").read_text(), "it saved first"


def test_crash_fails_the_job(cluster: SlurmCluster, data: Path, tmp_path: Path) -> None:
    damaged = tmp_path / _CELL / "run" / "checkpoint.pt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a checkpoint")
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "5")
    said = _ended(_benchmark(cluster, data, tmp_path, *options), 1)
    job = json.loads((tmp_path / _CELL / "job.json").read_text())["slurm"]
    assert f"job {job} is FAILED" in said
    assert "checkpoint.pt" in said, "the reason is told"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--memory-gb", "900"), "Slurm refused the job: .*"),
        (("--sbatch", "gres=gpu:8"), "Slurm refused the job: .*generic resource.*--device cpu"),
        (("--partition", "gpu"), "Slurm refused the job: .*partition.*--partition names another"),
    ],
)
def test_resources_that_are_not_there_are_told(
    options: tuple[str, ...], said: str, cluster: SlurmCluster, data: Path, tmp_path: Path
) -> None:
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "5", *options)
    shown = _ended(_benchmark(cluster, data, tmp_path, *options), 2)
    assert re.search(said, shown), shown
    assert "Traceback" not in shown
    assert cluster.jobs() == {}


def test_job_that_cannot_start_says_why(cluster: SlurmCluster, data: Path, tmp_path: Path) -> None:
    options = ("--levels", "clean", "--cluster", "slurm", "--minutes", "600")
    process = _benchmark(cluster, data, tmp_path, *options)
    assert process.stdout is not None
    process.stdout.readline()
    assert "1 jobs wait: Partition" in process.stdout.readline()
    cluster.run("scancel", *cluster.jobs())
    said = _ended(process, 130)
    assert "is CANCELLED" in said
    assert state_of(tmp_path / _CELL) == "new"
