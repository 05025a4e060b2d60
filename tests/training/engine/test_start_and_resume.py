"""How a run starts, what it validates on, and what it needs to go on."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from tests.training.drawn_data import draw_data
from tests.training.engine.two_processes import in_two_processes
from tests.training.model.micro import MICRO, MICRO_PUBLISHED
from training.checkpoints.weights import load_model
from training.config.run import TrainConfig
from training.data.clips import ClipDataset
from training.data.kitchen import KitchenConfig
from training.data.transforms import FixedSize
from training.engine.distributed import ProcessGroup
from training.engine.loader import load_windows
from training.engine.step import TrainingStep
from training.engine.trainer import INTERRUPTED, Trainer, train
from training.engine.validation import Validator
from training.files import lock
from training.files.lock import sole_writer
from training.model import PRESETS
from training.model import tokenize as tokenize_prompts
from training.model.text import train_tokenizer
from training.strategies.co_teaching import CoTeachingOptions


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips in the ActionVOS layout, and a tokenizer in place of RoBERTa's."""
    root = tmp_path_factory.mktemp("kitchen")
    draw_data(root, KitchenConfig(clips=8, seed=3, val_share=0.4, frame_size=(213, 120)))
    (root / "data" / "roberta").mkdir()
    tokenizer = train_tokenizer(["left hand used in the action of cut pepper"])
    tokenizer.save(str(root / "data" / "roberta" / "tokenizer.json"))
    return root / "data"


@pytest.fixture(autouse=True)
def micro_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(MICRO.text, frozen=True, vocab_size=1000, max_positions=66)
    published = replace(MICRO_PUBLISHED, mask_evidence=False, text=text, max_tokens=32)
    for name, sizes in {"tiny": MICRO, "r50": published}.items():
        monkeypatch.setitem(PRESETS, name, replace(sizes, name=name, dropout=0.1))


def _config(data: Path, out: Path, **options: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 2,
        "val_split": "",
        "workers": 0,
        "roberta": data / "roberta",
    }
    return TrainConfig(data=data, out=out, **(defaults | options))


def _same_weights(first: Path, second: Path) -> bool:
    left, right = (load_file(run / "last.safetensors") for run in (first, second))
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def _epochs(run: Path) -> list[dict[str, Any]]:
    epochs: list[dict[str, Any]] = json.loads((run / "run.json").read_text())["epochs"]
    return epochs


def _stop_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """SIGTERM while a step is being taken."""
    former = TrainingStep.take

    def take(self: TrainingStep, shares: Any, position: Any, rate: float) -> Any:
        if position.step == step:
            signal.raise_signal(signal.SIGTERM)
        return former(self, shares, position, rate)

    monkeypatch.setattr(TrainingStep, "take", take)


def test_published_networks_need_their_start(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ActisegError, match=r"--preset r50 .*--pretrained.*--from-scratch"):
        train(_config(data, tmp_path, preset="r50"))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_folder_that_another_training_writes_is_left_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "_LINGERING_SECONDS", 0.0)
    run = tmp_path / "run"
    with sole_writer(run), pytest.raises(ActisegError, match="run: another command writes there"):
        train(_config(data, run, resume=True))
    assert not run.exists()


def test_a_validation_split_that_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ActisegError, match=r"ImageSets/absent\.json: not found"):
        train(_config(data, tmp_path / "run", val_split="absent"))


def test_a_broken_picture_ends_the_program_with_one_line(data: Path, tmp_path: Path) -> None:
    """Also where another process reads it, which is then told to end."""
    shutil.copytree(data, tmp_path / "data")
    for picture in (tmp_path / "data").rglob("JPEGImages_Sparse/train/*/*.jpg"):
        picture.write_bytes(picture.read_bytes()[:200])
    command = [sys.executable, "-m", "training.cli", "train", "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "run"), "--val-split", "", "--batch-size", "2"]
    run = subprocess.run(
        [*command, "--workers", "2", "--device", "cpu"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 2
    (line,) = [line for line in run.stderr.splitlines() if "error" in line.lower()]
    assert ".jpg" in line and "Traceback" not in run.stderr


@pytest.mark.parametrize("error", ["a reading process", "the device's memory"])
def test_memory_that_ran_out_is_told_with_its_remedy(
    error: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch tells both within a step: of the killed process in a signal's handler."""

    def take(self: TrainingStep, shares: Any, position: Any, rate: float) -> Any:
        if error == "the device's memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee")
        for process in multiprocessing.active_children():
            os.kill(process.pid or 0, signal.SIGKILL)
        time.sleep(30)

    monkeypatch.setattr(TrainingStep, "take", take)
    remedies = {
        "a reading process": "Killed.*lower --workers",
        "the device's memory": "CUDA out of",
    }
    with pytest.raises(ActisegError, match=remedies[error]):
        train(_config(data, tmp_path / "run", workers=2))
    assert (tmp_path / "run" / "checkpoint.pt").exists()


def test_readers_end_by_their_parent_s_word_and_no_other(data: Path, tmp_path: Path) -> None:
    """A cluster sends SIGTERM to all processes of a job, while the training takes its last step."""
    dataset = ClipDataset(data, "train", transform=FixedSize(45, 80))
    windows = load_windows(dataset, [[0], [1], [0], [1]] * 9, 1, workers=1, pin_memory=False)
    next(windows)
    (reader,) = multiprocessing.active_children()
    subprocess.run(["kill", "-TERM", str(reader.pid)], check=True)
    time.sleep(0.5)
    assert reader.is_alive()
    reader.terminate()
    reader.join(10)
    assert reader.exitcode == 0


def test_frozen_encoder_is_written_once_and_everything_is_whole(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, whole, cut = tmp_path / "start", tmp_path / "whole", tmp_path / "cut"
    options: dict[str, Any] = {
        **{"preset": "r50", "epochs": 1, "ema": 0.9},
        **{"objects": "all", "frames_per_clip": 1, "batch_size": 4},
    }
    assert train(_config(data, start, from_scratch=True, **options)) == 0
    options |= {"pretrained": start / "last.safetensors", "seed": 7}
    assert train(_config(data, whole, **options)) == 0
    with monkeypatch.context() as patch:
        _stop_at(patch, 1)
        assert train(_config(data, cut, **options)) == INTERRUPTED
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    for values in (state["network"], state["average"]["average"]):
        assert not any(name.startswith("text_encoder.encoder.") for name in values)
        assert any(name.startswith("decoder.") for name in values)
    (start / "last.safetensors").rename(start / "moved.safetensors")
    shutil.copytree(data / "roberta", tmp_path / "words")
    options |= {"resume": True, "roberta": tmp_path / "words"}
    assert train(_config(data, cut, **options)) == 0
    assert _same_weights(whole, cut)
    runs = [json.loads((run / "run.json").read_text())["inputs"] for run in (whole, cut)]
    assert runs[0] == runs[1]
    assert runs[0]["start weights"] == file_sha256(start / "moved.safetensors")
    assert any("encoder.layer" in name for name in load_file(cut / "last.safetensors"))

    (cut / "frozen.safetensors").write_bytes((start / "moved.safetensors").read_bytes())
    with pytest.raises(ActisegError, match=r"frozen\.safetensors: missing, or not what"):
        train(_config(data, cut, **options))
    other = train_tokenizer(["right hand used in the action of wash spoon"])
    other.save(str(tmp_path / "words" / "tokenizer.json"))
    with pytest.raises(ActisegError, match="made with another tokenizer"):
        train(_config(data, cut, **options))


def _stop_at_batch(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """SIGTERM before a batch of those that networks choose from, counted over the run."""
    former, count = Trainer._give_up_if_asked, itertools.count(1)

    def ask(self: Trainer) -> None:
        if next(count) == number:
            signal.raise_signal(signal.SIGTERM)
        former(self)

    monkeypatch.setattr(Trainer, "_give_up_if_asked", ask)


@pytest.mark.parametrize(
    ("steps", "accumulate", "batch", "taken"),
    [
        ("window", 1, 2, None),  # while the first network ranks
        ("window", 2, 12, 0),  # in the first step, of two batches
        pytest.param("sample", 1, 12, 2, marks=pytest.mark.slow),  # many steps
    ],
)
def test_stop_inside_a_window_of_co_teaching(
    steps: Any,
    accumulate: int,
    batch: int,
    taken: int | None,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is honoured before the next batch; the step that is given up is taken anew."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options: dict[str, Any] = {
        "strategy": "co-teaching",
        "accumulate": accumulate,
        "strategy_options": CoTeachingOptions(
            window=32, gradual_epochs=1, forget_rate=0.4, steps=steps
        ),
    }
    assert train(_config(data, whole, **options)) == 0
    with monkeypatch.context() as patch:
        _stop_at_batch(patch, batch)
        assert train(_config(data, cut, **options)) == INTERRUPTED
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    assert (state["selections"][0] is None) == (taken is None)
    assert (state["window"], state["taken"]) == (0, taken or 0)
    assert train(_config(data, cut, resume=True, **options)) == 0
    assert _same_weights(whole, cut)
    assert _epochs(whole) == [
        {**own, "samples_per_second": epoch["samples_per_second"]}
        for own, epoch in zip(_epochs(cut), _epochs(whole), strict=True)
    ]


def test_another_number_of_processes_is_refused(data: Path, tmp_path: Path) -> None:
    assert train(_config(data, tmp_path, epochs=1)) == 0
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    state["random"] *= 2
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(ActisegError, match=r"written by 2 processes.*--nproc-per-node 2"):
        train(_config(data, tmp_path, epochs=1, resume=True))


def test_a_run_goes_on_beside_its_own_files_alone(data: Path, tmp_path: Path) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    run, other = tmp_path / "run", tmp_path / "other"
    assert train(_config(own, run, epochs=1)) == 0
    words = train_tokenizer([f"word{n} of another run" for n in range(40)], vocab_size=300)
    words.save(str(tmp_path / "tokenizer.json"))

    kept = (run / "tokenizer.json").read_bytes()
    shutil.copy(tmp_path / "tokenizer.json", run)
    with pytest.raises(ActisegError, match=r"checkpoint\.pt was made with another tokenizer"):
        train(_config(own, run, epochs=1, resume=True))
    (run / "tokenizer.json").unlink()
    with pytest.raises(ActisegError, match=r"tokenizer\.json: missing"):
        train(_config(own, run, epochs=1, resume=True))
    (run / "tokenizer.json").write_bytes(kept)
    assert train(_config(own, run, epochs=1, resume=True)) == 0

    # What a run left that never began is not a beginning.
    other.mkdir()
    shutil.copy(tmp_path / "tokenizer.json", other)
    assert train(_config(own, other, epochs=1)) == 0
    assert _same_weights(run, other)
    assert (other / "tokenizer.json").read_bytes() == kept

    split = own / "ImageSets" / "train.json"
    split.write_text(json.dumps(json.loads(split.read_text())[1:]))
    with pytest.raises(ActisegError, match=r"checkpoint\.pt was made with another split train"):
        train(_config(own, run, epochs=1, resume=True))


def test_start_is_told_and_the_human_checked_split_is_taken(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "data"
    shutil.copytree(data, own)
    shutil.copy(own / "ImageSets" / "val.json", own / "ImageSets" / "val_human.json")
    options = {"val_split": None, "text_noise": 0.4, "mask_noise": 9, "epochs": 1}
    assert train(_config(own, tmp_path / "run", **options)) == 0
    shown = capsys.readouterr().out
    for wanted in (
        "device:     CPU",
        "from random weights",
        "of split train",
        "recipe:     1 epochs of",
        "strategy:   baseline, reference paper",
        "noise:      names at 40%, masks with a 9x9 square",
        "validation: split val_human",
        "warning: no CUDA device was found, so this runs on the CPU",
    ):
        assert wanted in shown
    assert _epochs(tmp_path / "run")[0]["p_miou"] >= 0
    assert train(_config(own, tmp_path / "meant", device="cpu", **options)) == 0
    assert "warning" not in capsys.readouterr().out


def test_stop_during_validation_costs_no_step(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options: dict[str, Any] = {"val_split": "val", "epochs": 1}
    assert train(_config(data, whole, **options)) == 0
    with monkeypatch.context() as patch:
        former = Validator._add

        def add(self: Validator, *arguments: Any) -> None:
            signal.raise_signal(signal.SIGTERM)
            former(self, *arguments)

        patch.setattr(Validator, "_add", add)
        assert train(_config(data, cut, **options)) == INTERRUPTED
    assert _epochs(cut) == []
    assert train(_config(data, cut, resume=True, **options)) == 0
    assert _same_weights(whole, cut)
    assert _epochs(cut)[0]["giou"] == _epochs(whole)[0]["giou"]


def test_two_processes_validate_as_one(data: Path, tmp_path: Path) -> None:
    """Each predicts its share, with the same weights and statistics."""
    run = in_two_processes(
        *("-m", "training.cli", "train", "--preset", "tiny"),
        *("--data", str(data), "--out", str(tmp_path), "--epochs", "1", "--batch-size", "2"),
        *("--workers", "0", "--device", "cpu", "--positive-threshold", "0"),
    )
    assert run.returncode == 0, run.stderr[-3000:]
    assert "2 processes" in run.stdout
    model, tokenizer, _ = load_model(tmp_path / "last.safetensors")
    # Sums in another order move single pixels: as many threads here as each process had.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = Validator(
        data,
        "val",
        clips=None,
        tokenize=lambda captions: tokenize_prompts(tokenizer, captions, model.config.max_tokens),
        positive_threshold=0.0,
        clip_length=1,
    ).run(model, ProcessGroup(0, 1, torch.device("cpu")), lambda: False)
    torch.set_num_threads(threads)
    assert alone is not None
    (epoch,) = _epochs(tmp_path)
    assert {name: epoch[name] for name in alone} == alone
