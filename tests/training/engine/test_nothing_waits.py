"""A training step reads nothing back from its device, and its backbone sees each picture once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from tests.training.engine.combinations import MICRO_PRESETS
from training.data.collate import Batch, Sample, collate
from training.engine.distributed import ProcessGroup
from training.engine.step import Share, TrainingStep
from training.engine.step_numbers import Check, NonFiniteError, StepResult, UnreadSteps
from training.engine.trained_network import TrainedNetwork
from training.engine.trainer import Trainer
from training.losses.context import StepPosition
from training.model import PRESETS
from training.model.backbones.residual import ResNet
from training.strategies import STRATEGIES, run_config
from training.strategies.support.history_strategy import HistoryStrategy

_HOST = ProcessGroup(0, 1, torch.device("cpu"))
_WITHOUT_NUMBERS = ProcessGroup(0, 1, torch.device("meta"))
"""A device on which tensors have shapes and no values: who asks for one fails."""
_AT = StepPosition(2, 6, 2)


@pytest.fixture(autouse=True)
def micro_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sizes in MICRO_PRESETS.items():
        monkeypatch.setitem(PRESETS, name, replace(sizes, name=name, dropout=0.1))


def _trainer(data: Path, out: Path, strategy: str = "baseline", **options: Any) -> Trainer:
    values: dict[str, Any] = {
        **{"data": data / "data", "out": out, "roberta": data / "roberta", "from_scratch": True},
        **{"precision": "float32", "val_split": "", "workers": 0, "device": "cpu"},
    }
    return Trainer(run_config(strategy, **values | options), _HOST)


class _Copies(TorchDispatchMode):
    """Notes copies to the device that wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[torch.Size] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        target = kwargs.get("device")
        if target is not None and func is torch.ops.aten._to_copy.default:
            leaves = args[0].device.type == "cpu" and torch.device(target).type == "meta"
            if leaves and not kwargs.get("non_blocking"):
                self.waiting.append(args[0].shape)
        return func(*args, **kwargs)


@pytest.mark.parametrize(
    ("strategy", "preset", "reference"),
    [
        ("baseline", "tiny", "paper"),
        ("gce", "small", "paper"),
        ("sce", "r50", "released"),
        ("apl", "tiny", "released"),
        ("co-teaching", "small", "paper"),
        ("pmhm", "r50", "released"),
        ("pmhm", "small", "paper"),
    ],
)
def test_a_step_reads_nothing_back(
    strategy: str, preset: str, reference: Any, tokenized_data: Path, tmp_path: Path
) -> None:
    trainer = _trainer(tokenized_data, tmp_path, strategy, preset=preset, reference=reference)
    batch = collate([trainer.setup.dataset[index] for index in (0, 1)])
    networks = [
        TrainedNetwork(network, trainer.recipe, _WITHOUT_NUMBERS, 0.5)
        for network in trainer.setup.networks
    ]
    step = TrainingStep(trainer.setup, networks, trainer.recipe, _WITHOUT_NUMBERS)
    trainer.strategy.begin_epoch(2, 6)
    kept = torch.arange(len(batch.captions)) % 2 == 0 if len(networks) > 1 else None
    with _Copies() as copies:
        result = step.take([Share([batch, batch], [kept, kept]) for _ in networks], _AT, 1e-3)
    assert copies.waiting == []
    assert result.losses["total"].is_meta
    assert len(result.checks) == 2 * len(networks)


def test_only_histories_on_disk_make_a_strategy_wait() -> None:
    tested = {"baseline", "gce", "sce", "apl", "co-teaching", "pmhm"}
    on_the_host = {"repair"}  # what it remembers of prompts decides what it asks
    waiting = {name for name, kind in STRATEGIES.items() if issubclass(kind, HistoryStrategy)}
    assert tested | waiting | on_the_host == STRATEGIES.keys()


def test_the_step_that_failed_first_is_named() -> None:
    unread = UnreadSteps(_HOST)
    batch = collate([_sample("a")])
    for step, value in enumerate((1.0, torch.nan, torch.inf)):
        checks = [_check("loss", 2.0, batch), _check("gradient", value, batch)]
        unread.add(step, 1, 1e-3, StepResult({"total": torch.tensor(value)}, {}, checks))
    with pytest.raises(NonFiniteError, match=r"step 1: gradient is nan on samples a"):
        unread.read()
    assert unread.read() == []


def _check(what: str, value: float, batch: Batch) -> Check:
    return Check.of(what, torch.tensor([value]), [batch])


def _sample(sequence: str, names: tuple[str, ...] = ("1",), frames: Tensor | None = None) -> Sample:
    count, shape = len(names), (1, len(names))
    return Sample(
        frames=torch.zeros(count, 3, 8, 8, dtype=torch.uint8) if frames is None else frames,
        captions=["x"],
        masks=torch.zeros(*shape, 8, 8, dtype=torch.bool),
        weights=torch.ones(*shape, 8, 8, dtype=torch.uint8),
        boxes=torch.zeros(*shape, 4),
        valid=torch.ones(shape, dtype=torch.int64),
        positive=torch.ones(shape, dtype=torch.int64),
        size=(8, 8),
        sequence=sequence,
        frame_names=list(names),
        start_frame=names[0],
        object_ids=[1],
    )


def test_frames_that_show_one_picture_are_found() -> None:
    pictures = torch.arange(4, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 3, 8, 8).contiguous()
    alike = _sample("a", ("1", "1", "2"), pictures[[0, 0, 1]])
    distorted = _sample("a", ("1", "1", "2"), pictures[[2, 0, 1]])
    other = _sample("b", ("1", "2", "3"), pictures[[0, 1, 2]])
    batch = collate([alike, distorted, other])
    assert batch.first_frames is not None and batch.picture_of_frame is not None
    assert batch.first_frames.tolist() == [0, 2, 3, 6, 7, 8]
    assert batch.picture_of_frame.tolist() == [0, 0, 1, 2, 0, 1, 3, 4, 5]
    flat = batch.frames.flatten(0, 1)
    assert torch.equal(flat[batch.first_frames][batch.picture_of_frame], flat)
    assert collate([other]).first_frames is None
    assert batch.prompt(0).first_frames is None


@pytest.mark.parametrize("strategy", ["baseline", "npn"])
def test_each_picture_once_teaches_the_same(
    strategy: str, tokenized_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The published backbone, whose norms are frozen, on clips that repeat frames."""
    monkeypatch.setattr("training.model.network.build_backbone", lambda config: _thin_resnet())
    options = {"preset": "r50", "augmentation": "none", "frames_per_clip": 5, "objects": "all"}
    trainer = _trainer(tokenized_data, tmp_path, strategy, **options)
    batch = collate([trainer.setup.dataset[index] for index in (0, 1)])
    assert batch.first_frames is not None
    network = trainer.networks[0].network
    trainer.strategy.begin_epoch(2, 6)
    seen: list[int] = []
    network.backbone.conv1.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))

    def gradient(own: Batch) -> tuple[dict[str, float], Tensor]:
        torch.manual_seed(1)
        network.zero_grad(set_to_none=True)
        losses, _ = trainer.training_step.losses(0, own, _AT)
        losses["total"].backward()
        grads = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        return {name: float(value.detach()) for name, value in losses.items()}, torch.cat(grads)

    losses, grads = gradient(batch)
    each, whole = gradient(replace(batch, first_frames=None, picture_of_frame=None))
    views = 2 if strategy == "npn" else 1
    assert seen == views * [len(batch.first_frames)] + views * [10]
    assert losses == pytest.approx(each, rel=1e-5)
    assert float((grads - whole).norm() / whole.norm()) < 1e-4


def _thin_resnet() -> ResNet:
    torch.manual_seed(0)
    return ResNet((1, 1, 1, 1))
