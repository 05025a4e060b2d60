"""What Slurm is asked for; `test_benchmark.py` runs local jobs and `tests/slurm` a real Slurm."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.benchmark.cell import CellJob
from training.benchmark.cell_result import CellKey
from training.benchmark.cluster import run_on_cluster
from training.benchmark.options import BenchmarkOptions
from training.engine.stop_signals import StopRequest


def _job(root: Path) -> CellJob:
    return CellJob(
        key=CellKey(0.2, 0, "gce", 0, "tiny"),
        root=root,
        data=root,
        val_split="val",
        train=(),
        predict=(),
        threads=1,
        gpus=4,
        keep_checkpoint=False,
    )


class _StopsLater(StopRequest):
    """Asks for a stop when it has been looked at a few times."""

    def __init__(self) -> None:
        self._looks = itertools.count()

    @property
    def requested(self) -> bool:  # type: ignore[override]
        return next(self._looks) > 0


def test_slurm_gets_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = tmp_path / "asked.sh"
    for name, script in {
        "srun": "exit 0",
        "sbatch": f"cp $1 {asked}; echo Submitted batch job 42",
        "squeue": "echo '42|PENDING|Resources'",
        "scontrol": "echo 'MaxArraySize = 1001'",
    }.items():
        command = tmp_path / "bin" / name
        command.parent.mkdir(exist_ok=True)
        command.write_text(f"#!/bin/sh\n{script}\n")
        command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    options = BenchmarkOptions(
        suite="table1",
        out=tmp_path / "out",
        cluster="slurm",
        partition="gpu",
        gpus=4,
        threads=3,
        workers=2,
        minutes=90,
        memory_gb=64,
        sbatch=("account=lab", "qos=long"),
    )
    ended = list(run_on_cluster(options, [_job(tmp_path / "out")], [None], _StopsLater()))
    assert [state for _, state in ended] == ["new"], "a stop leaves the jobs in the queue"
    assert "the submitted jobs go on" in capsys.readouterr().out
    lines = asked.read_text().splitlines()
    for wanted in (
        "--partition=gpu",
        "--gpus-per-node=4",
        "--cpus-per-task=20",
        "--mem=64GB",
        "--time=90",
        "--account=lab",
        "--qos=long",
        "--requeue",
        "--signal=USR2@90",
    ):
        assert f"#SBATCH {wanted}" in lines


def test_slurm_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    options = BenchmarkOptions(suite="table1", out=tmp_path, cluster="slurm")
    with pytest.raises(ActisegError, match=r"--cluster slurm: .*srun"):
        list(run_on_cluster(options, [_job(tmp_path)], [None], StopRequest()))
