"""The training loop on a small real kitchen: resume, failures, processes, what a run leaves."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from tests.training.engine.two_processes import in_two_processes
from training.checkpoints.weights import load_model
from training.config.noise import NoiseOptions
from training.config.run import StrategyOptions, TrainConfig
from training.data.collate import collate
from training.data.layout import split_file
from training.engine import run_output
from training.engine.narration_pairs import NarrationPairs
from training.engine.setup import build_setup
from training.engine.step import TrainingStep
from training.engine.step_numbers import StepResult
from training.engine.trainer import INTERRUPTED, train
from training.losses.context import StepContext, StepPosition
from training.losses.criterion import Terms
from training.model import PRESETS
from training.noise.mask import MaskNoise, write_noisy_masks
from training.strategies import (
    STRATEGIES,
    Selection,
    Strategy,
    run_config,
    with_strategy_options,
)
from training.strategies.co_teaching import CoTeaching, CoTeachingOptions
from training.strategies.gce import GCEOptions

pytestmark = pytest.mark.usefixtures("micro_tiny")

_FULL = Path("/dev/full")
"""Linux's device that is always full."""

_FAIL_AT = 3
"""Batch (counted from 1) at which the test strategies act."""


@pytest.fixture(scope="module")
def data(drawn_data: Path) -> Path:
    """Three training clips and one for validation, in the ActionVOS layout."""
    return drawn_data


def _config(data: Path, out: Path, **options: Any) -> TrainConfig:
    defaults: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 2,
        "val_split": "",
        "workers": 0,
        "seed": 5,
    }
    return TrainConfig(data=data, out=out, **(defaults | options))


def _weights(run: Path) -> dict[str, Tensor]:
    return load_file(run / "last.safetensors")


def _equal(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )


def _losses(run: Path) -> list[float]:
    """Mean loss of each epoch."""
    epochs = json.loads((run / "run.json").read_text(encoding="utf-8"))["epochs"]
    return [entry["loss"] for entry in epochs]


def test_pictures_are_normalised_as_the_preset_says(data: Path, tmp_path: Path) -> None:
    """What a network is trained on is what it is asked about later, on the robot too."""
    config = _config(data, tmp_path, preset="small")
    setup = build_setup(config, config.recipe())
    batch = collate([setup.dataset[0]])
    assert (batch.mean, batch.std) == (PRESETS["small"].mean, PRESETS["small"].std)
    frames = batch.to("cpu").frames[~batch.padding[:, :, None].expand_as(batch.frames)]
    assert -1 <= float(frames.min()) < 0 < float(frames.max()) <= 1


@pytest.mark.parametrize(
    ("native", "wanted", "used"),
    [(True, None, "bfloat16"), (False, None, "float32"), (False, "bfloat16", "bfloat16")],
)
def test_bfloat16_is_only_imitated_where_it_is_asked_for(
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    native: bool,
    wanted: Literal["bfloat16"] | None,
    used: str,
) -> None:
    monkeypatch.setattr("training.engine.trainer.has_bfloat16", lambda device: native)
    config = _config(data, tmp_path, epochs=1, precision=wanted)
    assert train(config) == 0
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["config"]["precision"] == used
    monkeypatch.setattr("training.engine.trainer.has_bfloat16", lambda device: not native)
    further = replace(config, resume=True)
    if wanted is None:  # a run does not change its rounding half-way
        with pytest.raises(ActisegError, match=f"made with --precision {used}, not"):
            train(further)
    else:
        assert train(further) == 0


def test_the_input_can_be_smaller_than_the_presets(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path, input_size=(72, 128))
    setup = build_setup(config, config.recipe())
    assert (setup.sizes.input_height, setup.sizes.input_width) == (72, 128)
    assert collate([setup.dataset[0]]).frames.shape[-2:] == (72, 128)
    with pytest.raises(ActisegError, match=r"--input-size is \(72, 128\)"):
        replace(config, preset="r50", from_scratch=True).check()
    with pytest.raises(ActisegError, match="at least 64"):
        replace(config, input_size=(60, 128)).check()


def test_a_backbone_rate_of_nothing_freezes_the_backbone(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path, preset="late", backbone_rate=0.0)
    (network,) = build_setup(config, config.recipe()).networks
    learns = {name: own.requires_grad for name, own in network.named_parameters()}
    assert {name for name in learns if name.startswith("backbone.")} == {
        name for name, own in learns.items() if not own
    }


class _Acting(Strategy[StrategyOptions]):
    """Does something at one batch of a run, once."""

    armed = True

    def __init__(self, options: StrategyOptions) -> None:
        super().__init__(options)
        self.batches = 0

    def losses(self, context: StepContext) -> Terms:
        self.batches += 1
        terms = super().losses(context)
        if self.batches == _FAIL_AT and type(self).armed:
            type(self).armed = False
            terms |= self.act(context)
        return terms

    def act(self, context: StepContext) -> Terms:
        """What happens."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        return {"batches": self.batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.batches = state["batches"]


@pytest.fixture
def acting(monkeypatch: pytest.MonkeyPatch) -> type[_Acting]:
    """A strategy `acting`, whose `act` the test sets."""

    class Fresh(_Acting):
        name, title, Options = "acting", "Acting", StrategyOptions
        coefficients: ClassVar[Mapping[str, float]] = {"loss_extra": 1.0}  # type: ignore[misc]

    monkeypatch.setitem(STRATEGIES, "acting", Fresh)
    return Fresh


def _interrupt(self: _Acting, context: StepContext) -> Terms:
    signal.raise_signal(signal.SIGTERM)
    return {}


@pytest.mark.parametrize("workers", [0, 1])
def test_interrupted_run_ends_in_the_same_weights(
    data: Path, tmp_path: Path, acting: type[_Acting], workers: int
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    acting.armed = False
    options = {"strategy": "acting", "ema": 0.9, "accumulate": 2, "epochs": 3}
    assert train(_config(data, whole, **options)) == 0
    acting.armed = True
    acting.act = _interrupt  # type: ignore[method-assign]
    assert train(_config(data, cut, workers=workers, **options)) == INTERRUPTED
    assert not acting.armed
    assert train(_config(data, cut, workers=workers, resume=True, **options)) == 0
    assert _equal(_weights(whole), _weights(cut))
    assert _losses(whole) == _losses(cut), "means over both parts of the epoch"
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    assert state["strategy"] == torch.load(whole / "checkpoint.pt", weights_only=True)["strategy"]


@pytest.mark.parametrize("strategy", ["baseline", "elr"])
def test_stop_in_an_epochs_last_window_leaves_a_complete_epoch(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert train(_config(data, whole, strategy=strategy)) == 0
    last = torch.load(whole / "checkpoint.pt", weights_only=True)["step"] // 2 - 1
    former = TrainingStep.take

    def interrupted(
        self: TrainingStep, shares: Any, position: StepPosition, rate: float
    ) -> StepResult:
        if position.step == last:
            signal.raise_signal(signal.SIGTERM)
        return former(self, shares, position, rate)

    monkeypatch.setattr(TrainingStep, "take", interrupted)
    assert train(_config(data, cut, strategy=strategy)) == INTERRUPTED
    assert _losses(cut) == _losses(whole)[:1]
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    assert (state["epoch"], state["window"]) == (1, 0)
    assert train(_config(data, cut, strategy=strategy, resume=True)) == 0
    assert _losses(cut) == _losses(whole)
    assert _equal(_weights(whole), _weights(cut))


def test_non_finite_loss_ends_the_run_and_reaches_no_checkpoint(
    data: Path, tmp_path: Path, acting: type[_Acting]
) -> None:
    acting.act = lambda self, context: {"loss_extra": context.output.masks.sum() * torch.nan}  # type: ignore[assignment,method-assign]
    with pytest.raises(ActisegError, match=r"step 2 .*: loss is nan on samples 0000") as error:
        train(_config(data, tmp_path, strategy="acting"))
    assert "--resume" in str(error.value)
    assert train(_config(data, tmp_path, strategy="acting", resume=True)) == 0
    assert all(value.isfinite().all() for value in _weights(tmp_path).values())


def test_full_disk_keeps_the_former_checkpoint(
    data: Path, tmp_path: Path, acting: type[_Acting]
) -> None:
    def fill(self: _Acting, context: StepContext) -> Terms:
        (tmp_path / "checkpoint.pt.partial").symlink_to(_FULL)
        return {}

    acting.act = fill  # type: ignore[method-assign]
    with pytest.raises(ActisegError, match=r"disk full .*the former file is intact.*--resume"):
        train(_config(data, tmp_path, strategy="acting"))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 0
    assert not list(tmp_path.glob("*.partial"))


def test_full_disk_at_the_end_of_an_epoch_costs_no_step(data: Path, tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {"strategy": "pmhm", "val_split": "val", "epochs": 1}
    assert train(_config(data, whole, **options)) == 0
    cut.mkdir()
    (cut / "last.safetensors.partial").symlink_to(_FULL)
    with pytest.raises(ActisegError, match=r"last\.safetensors: disk full .*--resume"):
        train(_config(data, cut, **options))
    steps = torch.load(whole / "checkpoint.pt", weights_only=True)["step"]
    state = torch.load(cut / "checkpoint.pt", weights_only=True)
    assert (state["step"], state["epoch"]) == (steps, 0), "trained, but neither validated nor kept"
    assert train(_config(data, cut, resume=True, **options)) == 0
    expected, epoch = (
        json.loads((run / "run.json").read_text(encoding="utf-8"))["epochs"] for run in (whole, cut)
    )
    del expected[0]["samples_per_second"], epoch[0]["samples_per_second"]
    assert epoch == expected
    assert _equal(_weights(whole), _weights(cut))
    assert (cut / "best.safetensors").exists()


def test_full_disk_for_the_logs_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(run_output.SummaryWriter):
        """TensorBoard's writer, whose thread raises what the disk raised."""

        def add_scalar(self, *arguments: Any, **options: Any) -> None:
            _FULL.write_bytes(b"an event")

    monkeypatch.setattr(run_output, "SummaryWriter", Full)
    with pytest.raises(ActisegError, match=rf"^{tmp_path}: disk full .*--resume"):
        train(_config(data, tmp_path, epochs=1))


def test_run_leaves_what_the_next_commands_need(data: Path, tmp_path: Path) -> None:
    assert train(_config(data, tmp_path, val_split="val", epochs=1)) == 0
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert record["status"] == "done"
    assert record["config"]["learning_rate"] == 1e-3, "the recipe's values are written out"
    assert record["seed"] == 5
    assert record["peak_memory_bytes"] > 1e8
    assert {"p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc"} <= record["epochs"][0].keys()
    assert record["samples_per_second"] > 0
    model, tokenizer, metadata = load_model(tmp_path / "best.safetensors")
    assert not model.training
    assert tokenizer.encode("left hand used in the action of cut onion").ids[0] == 0
    provenance = json.loads(metadata["provenance"])
    assert provenance["run"]["preset"] == "tiny"
    assert str(tmp_path) not in metadata["provenance"] and str(data) not in metadata["provenance"]
    seen, chosen = (file_sha256(split_file(data, split)) for split in ("train", "val"))
    assert provenance["seen"] == [seen] and provenance["chosen_on"] == chosen
    *_, last = load_model(tmp_path / "last.safetensors")
    assert "chosen_on" not in json.loads(last["provenance"])
    # What a run goes on from was trained on something as well.
    other = shutil.copytree(data, tmp_path / "other")
    records = json.loads(split_file(other, "train").read_text(encoding="utf-8"))
    split_file(other, "train").write_text(json.dumps(records[:2]), encoding="utf-8")
    further = _config(
        other, tmp_path / "further", epochs=1, pretrained=tmp_path / "last.safetensors"
    )
    assert train(further) == 0
    *_, more = load_model(tmp_path / "further" / "last.safetensors")
    both = {seen, file_sha256(split_file(other, "train"))}
    assert set(json.loads(more["provenance"])["seen"]) == both
    assert list((tmp_path / "logs").glob("events.*"))


def test_learns(data: Path, tmp_path: Path) -> None:
    """Losses on a handful of frames fall well below their start."""
    assert train(_config(data, tmp_path, epochs=4, learning_rate=4e-3, precision="float32")) == 0
    epochs = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["epochs"]
    assert epochs[-1]["loss"] < 0.85 * epochs[0]["loss"]


def test_folder_with_a_run_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    train(_config(data, tmp_path, epochs=1))
    with pytest.raises(ActisegError, match="already holds a run; add --resume"):
        train(_config(data, tmp_path, epochs=1))


def test_resume_refuses_other_options(data: Path, tmp_path: Path) -> None:
    train(_config(data, tmp_path, epochs=1))
    with pytest.raises(ActisegError, match=r"made with --learning-rate 0\.001, not 0\.5"):
        train(_config(data, tmp_path, epochs=1, learning_rate=0.5, resume=True))


def test_resume_refuses_other_options_of_the_strategy(data: Path, tmp_path: Path) -> None:
    train(_config(data, tmp_path, epochs=1, strategy="gce"))
    with pytest.raises(ActisegError, match=r"made with --gce\.q 0\.7, not 0\.5"):
        other = {"strategy": "gce", "strategy_options": GCEOptions(0.5)}
        train(_config(data, tmp_path, epochs=1, resume=True, **other))


def test_resume_refuses_names_that_come_out_otherwise(data: Path, tmp_path: Path) -> None:
    """The names of Algorithm 1 follow from the splits beside, too."""
    own, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, own)
    val = split_file(own, "val")
    others = json.loads(val.read_text(encoding="utf-8"))
    next(iter(others[0]["object_classes"].values())).update(name="drill", class_id=299)
    val.unlink()
    options = {"strategy": "repair", "text_noise": 0.6, "epochs": 1}
    assert train(_config(own, run, **options)) == 0
    inputs = json.loads((run / "run.json").read_text(encoding="utf-8"))["inputs"]
    assert {"list of noisy names", "list of nouns"} <= inputs.keys()
    val.write_text(json.dumps(others), encoding="utf-8")
    with pytest.raises(ActisegError, match="was made with another list of noisy names"):
        train(_config(own, run, resume=True, **options))
    # A checkpoint of before does not say; that of repair knows its own nouns all the same.
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    del state["inputs"]["list of noisy names"]
    torch.save(state, run / "checkpoint.pt")
    with pytest.raises(ActisegError, match="was made with another list of nouns"):
        train(_config(own, run, resume=True, **options))
    del state["inputs"]["list of nouns"]
    torch.save(state, run / "checkpoint.pt")
    assert train(_config(own, run, resume=True, **options)) == 0


def test_resume_refuses_other_noisy_label_maps(data: Path, tmp_path: Path) -> None:
    labels, run = data / "Annotations_Sparse" / "train", tmp_path / "run"
    folder = tmp_path / "noisy"
    options = {"mask_noise": 9, "noise": NoiseOptions(labels_folder=folder), "epochs": 1}
    write_noisy_masks(labels, split_file(data, "train"), MaskNoise(9, "keep"), folder, 1)
    assert train(_config(data, run, **options)) == 0
    shutil.rmtree(folder)
    write_noisy_masks(labels, split_file(data, "train"), MaskNoise(9, "vanish"), folder, 1)
    with pytest.raises(ActisegError, match="was made with another set of noisy label maps"):
        train(_config(data, run, resume=True, **options))


def test_a_run_that_is_done_keeps_the_record_of_what_trained_it(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(_config(data, tmp_path, epochs=1)) == 0
    file = tmp_path / "run.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    assert record["status"] == "done"
    record |= {"code": "v0", "device": "another"}
    file.write_text(json.dumps(record), encoding="utf-8")
    assert train(_config(data, tmp_path, epochs=1, resume=True)) == 0
    assert json.loads(file.read_text(encoding="utf-8")) == record
    assert "all 1 epochs are done" in capsys.readouterr().out


def test_the_best_weights_are_kept_where_no_object_is_inactive(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(data, own)
    records = json.loads(split_file(own, "val").read_text(encoding="utf-8"))
    for record in records:
        for entry in record["object_classes"].values():
            entry["positive"] = 1
    split_file(own, "val").write_text(json.dumps(records), encoding="utf-8")
    assert train(_config(own, run, val_split="val")) == 0
    epochs = json.loads((run / "run.json").read_text(encoding="utf-8"))["epochs"]
    assert [entry["n_miou"] for entry in epochs] == [None, None]
    *_, best = load_model(run / "best.safetensors")
    scores = [entry["p_miou"] + entry["acc"] for entry in epochs]
    assert json.loads(best["provenance"])["epoch"] == 1 + scores.index(max(scores))
    assert capsys.readouterr().out.count("n_miou: undefined on split val") == 1


def test_every_batch_of_an_accumulation_reads_prompts_of_its_own(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys: list[tuple[int, ...]] = []
    former = NarrationPairs.draw

    def draw(self: NarrationPairs, count: int, *key: int) -> tuple[list[str], list[float]]:
        keys.append(key)
        return former(self, count, *key)

    monkeypatch.setattr(NarrationPairs, "draw", draw)
    assert train(_config(data, tmp_path, epochs=1, accumulate=2)) == 0
    assert keys[:4] == [(0, 0), (0, 0, 1), (1, 0), (1, 0, 1)]
    assert len(keys) == len(set(keys))


def test_damaged_checkpoint_is_named(data: Path, tmp_path: Path) -> None:
    train(_config(data, tmp_path, epochs=1))
    file = tmp_path / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(ActisegError, match=r"checkpoint\.pt: not a readable checkpoint"):
        train(_config(data, tmp_path, epochs=1, resume=True))


class _Watched(CoTeaching):
    """Co-teaching that notes its windows and raises a signal at one of them, once."""

    windows: ClassVar[list[int]] = []
    stop_at = 0

    def select(self, losses: Sequence[Tensor], position: StepPosition) -> Selection:
        self.windows.append(len(losses[0]))
        if len(self.windows) == self.stop_at:
            signal.raise_signal(signal.SIGTERM)
        return super().select(losses, position)


def test_co_teaching_trains_two_networks_and_resumes_exactly(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = json.loads((data / "ImageSets" / "train.json").read_text(encoding="utf-8"))[-1]
    (data / "ImageSets" / "train_one.json").write_text(json.dumps([clip]), encoding="utf-8")
    frames, prompts = len(clip["sparse_frames"]), len(clip["object_classes"])
    monkeypatch.setitem(STRATEGIES, "co-teaching", _Watched)
    monkeypatch.setattr(_Watched, "windows", [])
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    options = {
        "strategy": "co-teaching",
        "strategy_options": CoTeachingOptions(
            forget_rate=0.3, gradual_epochs=1, window=2 * prompts
        ),
        "split": "train_one",
        "batch_size": 1,
    }
    assert train(_config(data, whole, **options)) == 0
    epoch = [2 * prompts] * (frames // 2) + [prompts] * (frames % 2)
    assert _Watched.windows == 2 * epoch, "two steps in a window, one in what the epoch leaves"

    monkeypatch.setattr(_Watched, "stop_at", 3 * len(epoch) + 1)
    assert train(_config(data, cut, **options)) == INTERRUPTED
    assert train(_config(data, cut, resume=True, **options)) == 0
    assert _Watched.windows == 4 * epoch
    peer = load_file(whole / "last.peer.safetensors")
    assert _equal(_weights(whole), _weights(cut))
    assert _equal(peer, load_file(cut / "last.peer.safetensors"))
    assert not torch.equal(peer["level_embedding"], _weights(whole)["level_embedding"])
    epochs = json.loads((whole / "run.json").read_text(encoding="utf-8"))["epochs"]
    assert [entry["keep_rate"] for entry in epochs] == [1.0, 0.7]
    assert epochs[0]["overlap"] == 1.0


def test_released_co_teaching_takes_a_step_for_each_kept_sample(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, float]] = []
    former = TrainingStep.take

    def noted(self: TrainingStep, shares: Any, position: StepPosition, rate: float) -> StepResult:
        assert [len(share.batches) for share in shares] == [1, 1]
        assert [len(share.batches[0].captions) for share in shares] == [1, 1]
        seen.append((position.epoch, rate))
        return former(self, shares, position, rate)

    monkeypatch.setattr(TrainingStep, "take", noted)
    clip = json.loads((data / "ImageSets" / "train.json").read_text(encoding="utf-8"))[-1]
    clip["sparse_frames"] = clip["sparse_frames"][:2]
    (data / "ImageSets" / "train_short.json").write_text(json.dumps([clip]), encoding="utf-8")
    options = run_config(
        "co-teaching",
        "released",
        data=data,
        out=tmp_path,
        split="train_short",
        input_size=(72, 128),
        epochs=2,
        val_split="",
        workers=0,
        objects="one",
        batch_size=4,
        schedule="multistep",
        lr_drop=(1,),
    )
    assert train(options) == 0
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    samples = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))["samples"] // 4 * 4
    kept = [math.floor(samples * rate + 1e-9) for rate in (0.95, 0.95 - 0.1 / 6)]
    assert [sum(epoch == n for epoch, _ in seen) for n in (0, 1)] == kept
    assert state["step"] == sum(kept)
    assert dict(seen) == pytest.approx({0: 1e-3, 1: 1e-4})
    assert len({rate for _, rate in seen}) == 2, "the schedule follows epochs, not steps"


@pytest.mark.parametrize(
    ("strategy", "option", "value"),
    [
        ("co-teaching", "--co-teaching.window", "12"),
        pytest.param("npn", "--npn.warmup-epochs", "0", marks=pytest.mark.slow),
        pytest.param("co-teaching", "--co-teaching.steps", "sample", marks=pytest.mark.slow),
    ],
)
def test_two_processes_share_a_run(
    data: Path, tmp_path: Path, strategy: str, option: str, value: str
) -> None:
    """`torchrun` with gloo: one record, one checkpoint with the random state of each process.

    They save all the time: when each asked its own clock, one could wait for ever for the other.
    """
    run = in_two_processes(
        *("-m", "training.cli", "train", "--data", str(data), "--out", str(tmp_path)),
        *("--epochs", "1", "--batch-size", "1", "--workers", "0", "--val-split", ""),
        *("--input-size", "72", "128"),
        *("--save-minutes", "0.0005", "--strategy", strategy, option, value),
    )
    assert run.returncode == 0, run.stderr[-2000:]
    record = json.loads((tmp_path / "run.json").read_text(encoding="utf-8"))
    assert (record["processes"], record["status"]) == (2, "done")
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert len(state["random"]) == 2
    assert not torch.equal(state["random"][0]["cpu"], state["random"][1]["cpu"])
    assert len(state["peers"]) == (strategy == "co-teaching")


def test_referring_pretraining_teaches_names_and_no_activity(data: Path, tmp_path: Path) -> None:
    config = _config(data, tmp_path / "start", task="referring", epochs=1)
    assert train(config) == 0
    record = json.loads((tmp_path / "start" / "run.json").read_text())["config"]
    assert (record["task"], record["negative_masks"], record["positive_coefficient"]) == (
        "referring", True, 0.0,
    )  # fmt: skip
    torch.manual_seed(config.seed)
    before = build_setup(config, config.recipe()).networks[0].state_dict()
    after = _weights(tmp_path / "start")
    judging = ("positive_heads.", "evidence_heads.", "activity_map.")
    for name, value in after.items():
        if name.startswith(judging):  # nothing but the decay of weights moves them
            assert torch.allclose(value, before[name], atol=1e-4), name
    moved = [n for n, v in after.items() if not torch.allclose(v, before[n], atol=1e-4)]
    assert {n.partition(".")[0] for n in moved} >= {"backbone", "text_encoder", "class_heads"}

    pretrained = tmp_path / "start" / "last.safetensors"
    cell = _config(data, tmp_path / "cell", strategy="co-teaching", pretrained=pretrained,
                   fresh_heads=True)  # fmt: skip
    cell = with_strategy_options(cell)
    networks = [n.state_dict() for n in build_setup(cell, cell.recipe()).networks]
    fresh = ("class_heads.", *judging)
    for name, value in after.items():
        equal = [torch.equal(network[name], value) for network in networks]
        constant = bool((value == value.flatten()[0]).all())
        if not name.startswith(fresh):
            assert equal == [True, True], name
        elif name.endswith("weight") and not constant:
            assert equal == [False, False], name
    assert not torch.equal(networks[0]["class_heads.0.weight"], networks[1]["class_heads.0.weight"])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"fresh_heads": True}, "--fresh-heads is True; it must be left out where no --pretrained"),
        ({"task": "referring", "negative_masks": False}, "--negative-masks is False; it must be"),
    ],
)
def test_contradictions_of_a_pretraining_are_refused(
    data: Path, tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(ActisegError, match=told):
        _config(data, tmp_path, **options).check()
