"""Co-teaching: the keep rate, what is kept, who learns from it, and the paper's recipe."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from training.config.run import TrainConfig
from training.losses.context import StepPosition
from training.strategies import make_strategy, run_config, with_strategy_options
from training.strategies.co_teaching import CoTeaching, CoTeachingOptions, easiest, keep_rate


def config(**options) -> TrainConfig:
    made = TrainConfig(data=Path(), out=Path(), strategy="co-teaching", **options)
    return with_strategy_options(made)


def literal_picks(losses: np.ndarray, rate: float) -> list[bool]:
    """Sample by sample: its loss rank, 1 to S of S, is at most R; the easiest is always kept."""
    kept = []
    for index, loss in enumerate(losses):
        lower = sum(other < loss for other in losses)
        equal_before = sum(other == loss for other in losses[:index])
        rank = 1 + lower + equal_before
        kept.append(rank == 1 or rank / len(losses) <= rate + 1e-9)
    return kept


def test_keep_rate_falls_from_one_to_the_paper_value_in_six_epochs():
    rates = [keep_rate(0.05, epoch, 6) for epoch in range(10)]
    falling = [1, 0.95 + 0.05 * 5 / 6, 0.95 + 0.05 * 4 / 6, 0.975, 0.95 + 0.1 / 6, 0.95 + 0.05 / 6]
    assert rates == pytest.approx([*falling, 0.95, 0.95, 0.95, 0.95])


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=40),
    st.floats(0, 0.99),
    st.integers(0, 9),
)
def test_kept_samples_are_those_of_the_formula(losses, forget_rate, epoch):
    rate = keep_rate(forget_rate, epoch, 6)
    values = np.array(losses, np.float32) / 4
    picks = easiest(torch.from_numpy(values), rate).tolist()
    assert [index in picks for index in range(len(losses))] == literal_picks(values, rate)
    assert values[picks].tolist() == sorted(values[picks].tolist()), "the easiest first"


@pytest.mark.parametrize(("samples", "count"), [(128, 121), (100, 95), (20, 19), (7, 6)])
def test_loss_ranks_up_to_the_paper_value_are_kept(samples, count):
    kept = easiest(torch.arange(samples, 0, -1.0), 0.95)
    assert len(kept) == count
    assert kept.min() == samples - count


def test_each_network_trains_on_what_its_peer_finds_easy():
    strategy = CoTeaching(CoTeachingOptions(forget_rate=0.5, gradual_epochs=1))
    own = [torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([9.0, 1.0, 8.0, 2.0])]
    selection = strategy.select(own, StepPosition(epoch=1))
    first, second = selection.kept
    assert first.tolist() == [1, 3], "the second network's picks"
    assert second.tolist() == [0, 1], "the first network's picks"
    assert selection.log == {"keep_rate": 0.5, "overlap": 0.5}
    assert all(len(kept) == 4 for kept in strategy.select(own, StepPosition(epoch=0)).kept)


def test_forget_rate_may_follow_the_noise_of_the_run():
    noisy = config(text_noise=0.4, strategy_options=CoTeachingOptions("noise_rate"))
    assert make_strategy(noisy).forget_rate == 0.4
    assert make_strategy(config(text_noise=0.4)).forget_rate == 0.05
    with pytest.raises(ActisegError, match=r"--co-teaching\.forget-rate is 1"):
        CoTeachingOptions(1.0)
    starts_low = CoTeachingOptions("noise_rate", start_rate=0.5)
    assert make_strategy(config(text_noise=0.4, strategy_options=starts_low)).forget_rate == 0.4
    with pytest.raises(ActisegError, match=r"start-rate is 0\.5; it must be above .*\(0\.6\)"):
        make_strategy(config(text_noise=0.6, strategy_options=starts_low))


def test_paper_recipe_takes_ten_epochs_and_accumulates_the_window():
    recipe = config(preset="r101").recipe()
    assert (recipe.epochs, recipe.accumulate) == (10, 128)
    assert config(preset="r101", batch_size=3).recipe().accumulate == 43
    given_ones = config(preset="r101", epochs=6, accumulate=2).recipe()
    assert (given_ones.epochs, given_ones.accumulate) == (6, 2)
    assert config(preset="tiny").recipe() == TrainConfig(data=Path(), out=Path()).recipe()
    assert TrainConfig(data=Path(), out=Path(), preset="r101").recipe().epochs == 6


def test_released_rate_starts_lower_and_has_a_step_for_each_sample():
    strategy = make_strategy(run_config("co-teaching", "released", data=Path(), out=Path()))
    own = [torch.arange(100.0), torch.arange(100.0)]
    counts = [len(strategy.select(own, StepPosition(epoch)).kept[0]) for epoch in range(8)]
    assert counts == [95, 93, 91, 90, 88, 86, 85, 85]
    assert strategy.step_for_each_sample
    recipe = run_config("co-teaching", "released", data=Path(), out=Path(), preset="r101").recipe()
    assert (recipe.epochs, recipe.accumulate) == (6, 1)
    with pytest.raises(ActisegError, match=r"--co-teaching\.start-rate is 0\.05; it must be above"):
        CoTeachingOptions(start_rate=0.05)
