"""The benchmark for real: trainings in processes of their own, on a small kitchen."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.benchmark.attempts import read_attempts
from training.benchmark.cell import state_of
from training.benchmark.cell_result import read_result, read_results
from training.benchmark.clip_scores import metrics_of, read_clip_scores
from training.benchmark.options import BenchmarkOptions
from training.benchmark.plan import plan
from training.benchmark.runner import benchmark
from training.benchmark.settings import BenchmarkData, claim_settings, read_data
from training.benchmark.suites import cells_of
from training.engine.commands import without_others
from training.files.disk import read_json, write_json
from training.files.lock import locked
from training.strategies import STRATEGIES


@pytest.fixture(scope="module")
def data(drawn_data: Path) -> Path:
    """Four training clips and two for validation, in the ActionVOS layout."""
    return drawn_data


def _interrupt_once(path: Path) -> threading.Thread:
    """Ctrl-C as soon as a file exists."""

    def wait() -> None:
        while not path.exists():
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_crashed_and_interrupted_cells_end_like_any_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BenchmarkOptions(
        suite="table1",
        levels=("clean", "name20"),
        data=data,
        out=tmp_path,
        epochs=1,
        jobs=1,
        workers=0,
        device="cpu",
        train=("--batch-size", "4"),
    )
    crashing, cut = tmp_path / "clean/baseline/seed0", tmp_path / "name20/baseline/seed0"
    damaged = crashing / "run" / "checkpoint.pt"
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not a checkpoint")

    _interrupt_once(cut / "run" / "checkpoint.pt")
    assert benchmark(options) == 1
    assert "done 0, skipped 0, failed 1, 1 interrupted" in capsys.readouterr().out
    assert (state_of(crashing), state_of(cut)) == ("failed", "interrupted")

    damaged.unlink()
    assert benchmark(replace(options, cluster="local", jobs=2, minutes=30)) == 0
    shown = capsys.readouterr().out
    assert "done 2, skipped 0, failed 0" in shown
    assert "resuming at epoch 1" in (cut / "log.txt").read_text()
    assert not (cut / "run" / "checkpoint.pt").exists(), "of use to a resume only"

    result = read_result(cut / "result.json")
    assert (result.cell.noise, result.budget.epochs, result.budget.batch_size) == ("name20", 1, 4)
    assert result.budget.steps == result.curve[-1].step >= 3
    assert result.run.seconds > 0
    tried = [attempt.training_cpu_seconds for attempt in read_attempts(cut)]
    assert len(tried) == 2 and tried[-1] > 1
    assert result.run.cpu_seconds == pytest.approx(sum(tried))
    assert result.reference == "paper"
    assert result.run.precision == read_json(cut / "run" / "run.json")["config"]["precision"]
    assert 0 <= result.metrics.acc <= 100
    by_clip = read_clip_scores(cut)
    assert by_clip is not None
    for name, value in metrics_of(by_clip.sums.sum(0)).items():
        assert value == pytest.approx(getattr(result.metrics, name))

    assert read_data(tmp_path) == BenchmarkData(data, "train", "val")
    before = (cut / "result.json").stat().st_mtime_ns
    assert benchmark(options) == 0
    assert "done 0, skipped 2, failed 0" in capsys.readouterr().out
    assert (cut / "result.json").stat().st_mtime_ns == before
    with pytest.raises(ActisegError, match="holds cells made otherwise: epochs"):
        benchmark(replace(options, epochs=3))


def test_a_cell_that_another_process_is_at_is_not_done(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = BenchmarkOptions(
        suite="table1", levels=("clean",), data=data, out=tmp_path, epochs=1, device="cpu"
    )
    cell = tmp_path / "clean/baseline/seed0"
    cell.mkdir(parents=True)
    with locked(cell / ".lock"):
        assert benchmark(options) == 130
    assert "done 0, skipped 0, failed 0, 1 running" in capsys.readouterr().out


def test_the_first_looks_budget_is_not_mixed_with_the_tables(data: Path, tmp_path: Path) -> None:
    smoke = BenchmarkOptions(suite="smoke", data=data, out=tmp_path, device="cpu")
    (job, *_) = plan(smoke, cells_of("smoke", "tiny", (0,)))
    assert " --epochs 2" in " ".join(job.train)
    with pytest.raises(ActisegError, match="holds cells made otherwise: epochs"):
        plan(replace(smoke, suite="all"), cells_of("all", "tiny", (0,)))
    # The budget is named then.
    plan(replace(smoke, suite="all", epochs=2), cells_of("all", "tiny", (0,)))


def test_cells_on_other_files_are_not_mixed(data: Path, tmp_path: Path) -> None:
    own, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(data, own)
    options = BenchmarkOptions(suite="table1", data=own, out=out, device="cpu")
    claim_settings(options, own)
    settings = read_json(out / "benchmark.json")
    claim_settings(options, own)
    assert read_json(out / "benchmark.json") == settings
    for folder, said in (("train", "files_of_split"), ("val", "files_of_val_split")):
        picture = min((own / "JPEGImages_Sparse" / folder).rglob("*.jpg"))
        kept = picture.read_bytes()
        picture.write_bytes(kept + b"more")
        with pytest.raises(ActisegError, match=f"holds cells made otherwise: {said}"):
            claim_settings(options, own)
        picture.write_bytes(kept)
    # Folders of before do not say it; they go on, and do from then on.
    known = ("files_of_split", "files_of_val_split")
    write_json(out / "benchmark.json", {k: v for k, v in settings.items() if k not in known})
    claim_settings(options, own)
    assert read_json(out / "benchmark.json") == settings


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": None}, "table1 needs --data"),
        ({"epochs": 1, "steps": 5}, "--epochs and --steps both name the budget"),
        ({"seeds": ()}, "--seeds is"),
        ({"train": ("--seed=3",)}, "--seed=3 after `--` is set by the benchmark"),
        ({"sbatch": ("account",)}, "--sbatch account: expected NAME=VALUE"),
    ],
)
def test_bad_options_are_named(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    options = BenchmarkOptions(suite="table1", data=tmp_path, out=tmp_path / "out")
    with pytest.raises(ActisegError, match=said):
        benchmark(replace(options, **changes))  # type: ignore[arg-type]


def test_cells_follow_the_preset_and_the_reference_that_were_asked_for(
    data: Path, tmp_path: Path
) -> None:
    options = BenchmarkOptions(
        suite="table1", data=data, out=tmp_path / "r101", preset="r101", train=("--from-scratch",)
    )
    (job, *_) = plan(options, cells_of("table1", "r101", (0,)))
    predict = " ".join(job.predict)
    assert "--positive-threshold 0.75 --clip-length 36" in predict, "as published, not as tiny"
    assert " --reference paper" in " ".join(job.train_command())
    released = replace(options, reference="released")
    with pytest.raises(ActisegError, match="holds cells made otherwise"):
        plan(released, cells_of("table1", "r101", (0,)))
    (job, *_) = plan(replace(released, out=tmp_path / "b"), cells_of("table1", "r101", (0,)))
    assert " --reference released" in " ".join(job.train_command())


def test_options_of_a_strategy_reach_its_own_cells_alone(data: Path, tmp_path: Path) -> None:
    options = BenchmarkOptions(
        suite="table3", data=data, out=tmp_path, epochs=1, device="cpu",
        train=("--gce.q", "0.3", "--batch-size", "2"),
    )  # fmt: skip
    for job in plan(options, cells_of("table3", "tiny", (0,), levels=["name60"])):
        command = " ".join(job.train_command())
        assert "--batch-size 2" in command
        assert ("--gce.q 0.3" in command) == (job.key.strategy == "gce")
    with pytest.raises(ActisegError, match=r"--gce.q is 1.5"):
        plan(replace(options, train=("--gce.q=1.5",)), [])


@pytest.mark.parametrize(
    ("strategy", "kept"),
    [
        ("baseline", "--precision float32 --noise.seed 3"),
        ("sce", "--sce.log-of-zero -4 --precision float32 --noise.seed 3"),
        ("co-teaching", "--precision float32 --co_teaching.window=64 --noise.seed 3"),
        ("gce", "--precision float32 --gce.no-dice --noise.seed 3"),
    ],
)
def test_options_of_other_strategies_are_left_out_with_their_values(
    strategy: str, kept: str
) -> None:
    given = (
        "--sce.log-of-zero -4 --precision float32 --co_teaching.window=64 --gce.no-dice "
        "--noise.seed 3"
    )
    assert " ".join(without_others(given.split(), strategy)) == kept


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_smoke(tmp_path: Path) -> None:
    assert benchmark(BenchmarkOptions(suite="smoke", out=tmp_path, device="cpu")) == 0
    results = list(read_results(tmp_path))
    assert {result.cell.strategy for result in results} == set(STRATEGIES)
    assert len(results) == 3 + len(STRATEGIES)
