"""A cell's folder tells its state, whatever its processes do."""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.benchmark import cell, runner
from training.benchmark.attempts import read_attempts
from training.benchmark.cell import CellJob, run_cell, state_of
from training.benchmark.cell_result import (
    Budget,
    CellKey,
    CellResult,
    CurvePoint,
    RunFacts,
    Scores,
    read_results,
    result_of_run,
    write_result,
)
from training.benchmark.options import BenchmarkOptions

_KEY = CellKey(0.6, 21, "gce", 3, "tiny")


@dataclass(frozen=True)
class _Scripted(CellJob):
    """A cell whose training is a few lines of Python."""

    script: str = ""

    def train_command(self) -> list[str]:
        (self.folder / "run").mkdir(exist_ok=True)
        return [sys.executable, "-S", "-c", self.script]


def _job(root: Path, script: str) -> _Scripted:
    return _Scripted(
        key=_KEY,
        root=root,
        data=root,
        val_split="val",
        train=(),
        predict=(),
        threads=1,
        gpus=1,
        keep_checkpoint=False,
        script=script,
    )


@pytest.mark.parametrize("fault", ["full disk", "[{", "[1]", "7"])
def test_a_cell_that_cannot_be_written_down_does_not_end_the_others(
    fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = (replace(_job(tmp_path, ""), key=replace(_KEY, seed=seed)) for seed in (0, 1))
    for job in (bad, good):
        job.folder.mkdir(parents=True)
    if fault == "full disk":
        (bad.folder / "attempts.json.partial").symlink_to("/dev/full")
    else:
        (bad.folder / "attempts.json").write_text(fault)
    monkeypatch.setattr(runner, "plan", lambda *_: [bad, good])
    options = BenchmarkOptions(suite="smoke", out=tmp_path, jobs=1, device="cpu")
    assert runner.benchmark(options) == 1
    printed = capsys.readouterr().out
    assert f"{bad.key.folder}: " in printed and "attempts.json" in printed
    assert [attempt.outcome for attempt in read_attempts(good.folder)] == ["failed"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL; often memory ran out"),
        ("raise SystemExit(3)", "exit status 3"),
    ],
)
def test_crash_is_kept_with_the_end_of_its_log(tmp_path: Path, script: str, said: str) -> None:
    job = _job(tmp_path, script)
    assert state_of(job.folder) == "new"
    for tries in (1, 2):
        assert run_cell(job, None, lambda: False) == "failed"
        attempts = read_attempts(job.folder)
        assert [attempt.outcome for attempt in attempts] == ["failed"] * tries
        assert said in (attempts[-1].log_tail or [])[-1]


def test_stop_lets_the_training_save(tmp_path: Path) -> None:
    script = (
        "import signal, sys, time\n"
        "def save(*_): print('saved', flush=True); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, save)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    job = _job(tmp_path, script)
    log = job.folder / cell.LOG_FILE
    stopping = lambda: log.exists() and "\nready" in log.read_text()  # noqa: E731
    assert run_cell(job, None, stopping) == "interrupted"
    assert log.read_text().count("\nsaved") == 1


def test_two_runners_never_train_one_cell(tmp_path: Path) -> None:
    job = _job(tmp_path, "import time; time.sleep(60)")
    stop = threading.Event()
    states: list[str] = []
    first = threading.Thread(target=lambda: states.append(run_cell(job, None, stop.is_set)))
    first.start()
    while state_of(job.folder) != "running":
        time.sleep(0.05)
    assert run_cell(replace(job, script="raise SystemExit(1)"), None, lambda: False) == "running"
    stop.set()
    first.join()
    assert states == ["interrupted"]


def test_an_attempt_that_was_killed_counts_up_to_its_last_checkpoint(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time\n"
        "time.sleep(1.5)\n"
        f"pathlib.Path({str(tmp_path / _KEY.folder / 'run' / 'checkpoint.pt')!r}).touch()\n"
        "os.kill(os.getppid(), 9)\n"
    )
    job = _job(tmp_path, script)
    process = multiprocessing.get_context("fork").Process(
        target=run_cell, args=(job, None, lambda: False)
    )
    process.start()
    process.join()
    while state_of(job.folder) == "running":
        time.sleep(0.05)
    assert state_of(job.folder) == "interrupted"
    assert [attempt.outcome for attempt in read_attempts(job.folder)] == ["running"]

    further = replace(job, script="raise SystemExit(3)")
    for tries in (1, 2):
        assert run_cell(further, None, lambda: False) == "failed"
        killed, *others = read_attempts(job.folder)
        assert (killed.outcome, killed.training_cpu_seconds) == ("interrupted", None)
        assert 1 < killed.training_seconds < 60
        assert [attempt.outcome for attempt in others] == ["failed"] * tries
    record = {
        "config": {"batch_size": 1, "accumulate": 1, "pretrained": None, "precision": "float32",
                   "reference": "paper"},
        "processes": 1, "epochs": [{"epoch": 1, "step": 3, "loss": 0.5}], "device": "a CPU",
        "peak_memory_bytes": 1, "samples_per_second": 1.0, "code": "v1", "started": "2026",
    }  # fmt: skip
    attempts = read_attempts(job.folder)
    run = result_of_run(_KEY, record, Scores(0, 0, 0, 0, 0, 0), attempts).run
    assert run.seconds == pytest.approx(sum(attempt.training_seconds for attempt in attempts))
    assert run.cpu_seconds is None, "nobody knows"
    assert result_of_run(_KEY, record, Scores(0, 0, 0, 0, 0, 0), attempts[1:]).run.cpu_seconds


def test_result_survives_the_file(tmp_path: Path) -> None:
    metrics = Scores(48.1, 7.9, 50.0, 8.0, 60.0, 78.5)
    result = CellResult(
        cell=_KEY,
        metrics=metrics,
        budget=Budget(2, 20, 8, None),
        run=RunFacts("a CPU", 12.5, 10**9, 3.4, "v1", "2026-01-01T00:00:00+00:00"),
        curve=(CurvePoint(1, 10, 2.0), CurvePoint(2, 20, 1.5, metrics)),
    )
    folder = tmp_path / _KEY.folder
    write_result(folder, result)
    assert str(folder.relative_to(tmp_path)) == "name60-mask21/gce/seed3"
    assert list(read_results(tmp_path)) == [result]
    written = json.loads((folder / "result.json").read_text())
    no_number = written | {"metrics": written["metrics"] | {"giou": None}}
    for broken in (written | {"cell": {}}, written | {"cell": "x"}, no_number):
        (folder / "result.json").write_text(json.dumps(broken))
        with pytest.raises(ActisegError, match=r"result\.json: lacks or misnames a field"):
            list(read_results(tmp_path))
