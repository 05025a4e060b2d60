"""Every trainable parameter has a gradient in every step, whatever the options.

Processes that train together wait for the gradients of all parameters; one without stops them all
(`test_combinations.py` has such processes).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.engine.combinations import MICRO_PRESETS
from training.config.run import TrainConfig
from training.data.collate import collate
from training.engine.distributed import ProcessGroup
from training.engine.trainer import Trainer
from training.losses.context import StepPosition
from training.model import PRESETS
from training.strategies import STRATEGIES
from training.strategies.co_teaching import CoTeachingOptions
from training.strategies.pmhm import PMHMOptions

_EPOCHS = 2
"""NPN's first epoch differs from the others."""
_OPTIONS: dict[str, Any] = {
    "co-teaching": CoTeachingOptions(window=2),
    "pmhm": PMHMOptions(freeze=1, freeze_end=0),
}


@pytest.fixture
def data(tokenized_data: Path) -> Path:
    """Three training clips in the ActionVOS layout, and a tokenizer in place of RoBERTa's."""
    return tokenized_data


@pytest.fixture(autouse=True)
def micro_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, sizes in MICRO_PRESETS.items():
        monkeypatch.setitem(PRESETS, name, replace(sizes, name=name))


def _without_gradient(config: TrainConfig) -> set[str]:
    """Trainable parameters that some step of some epoch leaves out."""
    config.out.mkdir()
    trainer = Trainer(config, ProcessGroup(0, 1, torch.device("cpu")))
    batch = collate([trainer.setup.dataset[index] for index in (0, 1)])
    kept = torch.arange(len(batch.captions)) % 2 == 0 if len(trainer.networks) > 1 else None
    found = set()
    for epoch in range(_EPOCHS):
        trainer.strategy.begin_epoch(epoch, _EPOCHS)
        for index, trained in enumerate(trainer.networks):
            trained.network.train()
            trained.begin_step(1e-3)
            position = StepPosition(epoch, _EPOCHS, epoch)
            losses, _ = trainer.training_step.losses(index, batch, position, kept)
            losses["total"].backward()
            parameters = trained.network.named_parameters()
            found |= {name for name, own in parameters if own.requires_grad and own.grad is None}
    return found


@pytest.mark.parametrize(
    ("preset", "strategy"),
    [
        # What the other strategies ask of a network does not depend on its structure.
        pytest.param(preset, strategy, marks=[] if short else pytest.mark.slow)
        for preset in ("tiny", "small", "r50")
        for strategy in STRATEGIES
        for short in [preset == "tiny" or strategy in ("baseline", "co-teaching", "repair")]
    ],
)
def test_no_parameter_is_left_out(preset: Any, strategy: str, data: Path, tmp_path: Path) -> None:
    """All pairs of the other options are met; a search over their whole product found no more."""
    combinations = [
        ("one", 1, True, 2.0),
        ("one", 2, False, 2.0),
        ("all", 2, True, 0.0),
        ("all", 1, False, 0.0),
    ]
    for objects, frames, negative_masks, coefficient in combinations:
        config = TrainConfig(
            data=data / "data",
            out=tmp_path / f"{objects}{frames}",
            preset=preset,
            strategy=strategy,
            strategy_options=_OPTIONS.get(strategy),
            roberta=data / "roberta",
            objects=objects,  # type: ignore[arg-type]
            frames_per_clip=frames,
            negative_masks=negative_masks,
            positive_coefficient=coefficient,
            epochs=_EPOCHS,
            accumulate=1,
            val_split="",
            workers=0,
            device="cpu",
        )
        assert _without_gradient(config) == set(), config


def test_what_nothing_teaches_says_nothing_or_what_it_knows(data: Path, tmp_path: Path) -> None:
    """A start from weights keeps their activity map; one from nothing has a silent one."""
    maps = []
    for name, changes in {
        "knows": {"negative_masks": True},
        "silent": {"negative_masks": False},
        "kept": {"negative_masks": False, "pretrained": tmp_path / "knows" / "last.safetensors"},
    }.items():
        config = TrainConfig(
            data=data / "data",
            out=tmp_path / name,
            epochs=1,
            batch_size=3,
            val_split="",
            workers=0,
            device="cpu",
            **changes,  # type: ignore[arg-type]
        )
        config.out.mkdir()
        trainer = Trainer(config, ProcessGroup(0, 1, torch.device("cpu")))
        trainer.fit(_NEVER)
        network = trainer.networks[0].network
        maps.append([own.detach().clone() for own in network.activity_map.parameters()])
        assert all(
            own.requires_grad == (name == "knows") for own in network.activity_map.parameters()
        )
    knows, silent, kept = maps
    assert any(own.any() for own in knows)
    assert not any(own.any() for own in silent)
    average = trainer.networks[0].averaged.activity_map
    assert all(map(torch.equal, kept, average.parameters())), "nothing moves it"


class _Never:
    requested = False
    number = None


_NEVER: Any = _Never()
