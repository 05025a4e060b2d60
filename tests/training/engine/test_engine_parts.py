"""Order of samples, schedules, parameter groups and the average of weights."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from actiseg_ros.errors import ActisegError
from training.config.noise import NoiseOptions
from training.config.run import RECIPES, TrainConfig
from training.engine.loader import epoch_batches, reading_processes
from training.engine.optimizer import MovingAverage, parameter_groups, rate_factor
from training.model import build_model
from training.strategies import make_strategy
from training.strategies.repair import RepairOptions

_counts = st.integers(1, 60)


@given(_counts, st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_processes_share_an_epoch_evenly(
    samples: int, batch_size: int, world: int, epoch: int
) -> None:
    shares = [
        epoch_batches(samples, batch_size, seed=1, epoch=epoch, rank=rank, processes=world)
        for rank in range(world)
    ]
    assert len({len(share) for share in shares}) == 1
    assert all(len(batch) == batch_size for share in shares for batch in share)
    drawn = [index for share in shares for batch in share for index in batch]
    assert set(drawn) <= set(range(samples))
    if samples >= batch_size * world:
        assert len(drawn) == len(set(drawn)) > samples - batch_size * world


def test_order_depends_on_seed_and_epoch_only() -> None:
    first = epoch_batches(40, 4, seed=1, epoch=0)
    assert first == epoch_batches(40, 4, seed=1, epoch=0)
    assert first != epoch_batches(40, 4, seed=1, epoch=1)
    assert first != epoch_batches(40, 4, seed=2, epoch=0)


def test_multistep_drops_after_the_named_epochs() -> None:
    rates = [
        rate_factor(RECIPES["r101"], step=step, steps_per_epoch=10)
        for step in (0, 29, 30, 49, 50, 59)
    ]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


@given(st.integers(1, 50), st.integers(1, 40), st.floats(0, 0.9))
def test_cosine_rises_then_falls_to_nothing(epochs: int, steps: int, warmup: float) -> None:
    recipe = replace(RECIPES["tiny"], epochs=epochs, warmup=warmup)
    rates = [
        rate_factor(recipe, step=step, steps_per_epoch=steps) for step in range(epochs * steps + 1)
    ]
    assert all(0 <= rate <= 1 for rate in rates)
    peak = rates.index(max(rates))
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


def test_published_groups_have_their_rates_and_leave_out_what_is_frozen() -> None:
    model = build_model("r50")
    groups = parameter_groups(model, RECIPES["r50"])
    rates = sorted(group["lr"] for group in groups)  # type: ignore[type-var]
    assert rates == [5e-5, 1e-4, 1e-4]
    grouped = [parameter for group in groups for parameter in group["params"]]  # type: ignore[attr-defined]
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert len(grouped) == len(trainable)
    assert {id(p) for p in grouped} == {id(p) for p in trainable}
    assert not {id(p) for p in grouped} & {id(p) for p in model.text_encoder.roberta.parameters()}


def test_average_follows_the_weights_and_is_restored() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = MovingAverage(network, 0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(4.0)
        network[1].num_batches_tracked.fill_(7)  # type: ignore[union-attr,operator]
    for _ in range(60):
        average.update(network)
    own = average.module.state_dict()
    assert torch.allclose(own["0.weight"], torch.full((2, 2), 4.0))
    assert own["1.num_batches_tracked"] == 7, "counters are taken over"
    other = MovingAverage(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), 0.5)
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.module.state_dict()["0.weight"], own["0.weight"])
    assert other.state_dict()["updates"] == 60


def test_epochs_of_drops_follow_the_recipe_and_mean_nothing_without_their_schedule() -> None:
    config = TrainConfig(data=Path(), out=Path(), preset="r101", from_scratch=True)
    assert config.recipe().lr_drop == (3, 5) and config.as_json()["lr_drop"] == (3, 5)
    replace(config, lr_drop=(1,)).check()
    assert replace(config, lr_drop=(1,)).as_json()["lr_drop"] == (1,)
    with pytest.raises(ActisegError, match=r"--lr-drop is .*left out unless --schedule multistep"):
        replace(config, preset="tiny", lr_drop=(1,)).check()


def test_names_of_a_folder_are_not_exchanged_within_their_classes() -> None:
    noise = NoiseOptions(within_class_only=True, names_folder=Path("names"))
    with pytest.raises(ActisegError, match=r"--noise\.within-class-only is True.*names-folder"):
        TrainConfig(data=Path(), out=Path(), text_noise=0.2, noise=noise).check()


def test_baseline_changes_nothing() -> None:
    strategy = make_strategy(TrainConfig(data=Path(), out=Path()))
    network = nn.Linear(1, 1)
    assert strategy.exported(network) is network
    assert strategy.state_dict() == {}


def test_readers_share_the_cores_among_the_training_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for cores, trainers, readers in ((1, 1, 1), (2, 1, 1), (16, 1, 8), (16, 4, 3), (4, 8, 1)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        monkeypatch.setenv("LOCAL_WORLD_SIZE", str(trainers))
        assert reading_processes() == readers


def test_no_option_that_is_a_path_travels_whole() -> None:
    """Those of a new option neither, whatever it is called."""
    folder = Path("/home/someone/things")

    def with_paths(options: Any, prefix: str = "") -> Any:
        known = get_type_hints(type(options))
        paths = {n: folder / f"{prefix}{n}" for n, kind in known.items() if "Path" in str(kind)}
        return replace(options, **paths)

    config = with_paths(TrainConfig(data=Path(), out=Path(), strategy="repair"))
    config = replace(
        config,
        noise=with_paths(NoiseOptions(), "noise."),
        strategy_options=with_paths(RepairOptions(), "repair."),
    )
    whole, short = (json.dumps(config.as_json(whole_paths=way)) for way in (True, False))
    named = {"data", "out", "pretrained", "roberta", "noise.classes", "noise.names_folder"}
    for name in named | {"noise.labels_folder", "repair.scores"}:
        assert f"{folder}/{name}" in whole and f'"{name}"' in short
    assert str(folder.parent) not in short
