"""ELR against a literal transcription of the paper's formulas, pixel by pixel in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from tests.training.step_contexts import context_of
from tests.training.strategies.pixel_batches import batch_of
from training.strategies import make_strategy, run_config
from training.strategies.elr import ELR, ELROptions, agreement
from training.strategies.npn import NPNOptions

CELLS = (2, 2, 2, 3)
"""Two prompts of two frames of 8 x 12 pixels."""
BATCH = batch_of([("a", 1, ["x", "y"]), ("b", 2, ["x", "z"])], [(8, 12), (8, 12)])
EPOCHS = 4


def made_up(seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (EPOCHS, *CELLS))
    targets = (random.random(CELLS) < 0.4).astype(float)
    weights = random.choice([1.0, 2.0, 5.0], CELLS)
    return logits, targets, weights


def literal(logits, targets, weights, options):
    """Loss of each clip in each epoch; s is rounded as it is stored."""
    losses = np.zeros((EPOCHS, CELLS[0]))
    for pixel in np.ndindex(CELLS):
        y, s = targets[pixel], None
        for n in range(EPOCHS):
            p = 1 / (1 + np.exp(-logits[n][pixel]))
            share_of_new = {"new_heavy": 0.9, "old_heavy": 0.1}[options.history_weight]
            if s is None:
                s = p if options.initial == "first_prediction" else share_of_new * p
            else:
                s = (1 - share_of_new) * s + share_of_new * p
            s = float(np.dtype(options.history_dtype).type(s))
            d = p * s + (1 - p) * (1 - s)
            r = -np.log(1 - d + 1e-6)
            if options.sign == "official":
                r = -r
            w_plus, w_minus = 0.5 * (1 - p) ** 2, (1 - 0.5) * p**2
            focal = -(y * w_plus * np.log(p) + (1 - y) * w_minus * np.log(1 - p))
            losses[n, pixel[0]] += (focal + 1.0 * r) * weights[pixel]
    return losses / np.prod(CELLS[1:])


def strategy(folder: Path, **options) -> ELR:
    made = ELR(ELROptions(**options))
    made.open(folder, resume=False)
    return made


def mask_loss(elr: ELR, logits, targets, weights, name: str = "loss_mask"):
    """A term of each clip: the last layer's, or that of an earlier layer which says the same."""
    terms = elr.losses(context_of(logits, targets, weights, batch=BATCH, earlier=[logits]))
    strength = elr.options.strength
    return terms[name] + (strength * terms["loss_regulariser"] if name == "loss_mask" else 0)


@pytest.mark.parametrize("sign", ["official", "as_printed"])
@pytest.mark.parametrize("history_weight", ["new_heavy", "old_heavy"])
@pytest.mark.parametrize("initial", ["first_prediction", "zero"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_losses_over_the_epochs_are_the_formulas(tmp_path, sign, history_weight, initial, dtype):
    options = {"sign": sign, "history_weight": history_weight, "initial": initial}
    options["history_dtype"] = dtype
    logits, targets, weights = made_up()
    expected = literal(logits, targets, weights, ELROptions(**options))
    elr = strategy(tmp_path, **options)
    targets, weights = (torch.tensor(values).float() for values in (targets, weights))
    for epoch in range(EPOCHS):
        elr.begin_epoch(epoch, EPOCHS)
        loss = mask_loss(elr, torch.tensor(logits[epoch]).float(), targets, weights)
        tolerance = 2e-3 if dtype == "float16" else 2e-5
        np.testing.assert_allclose(loss.numpy(), expected[epoch], rtol=tolerance, atol=2e-4)


def test_history_is_new_heavy_as_printed(tmp_path: Path) -> None:
    """Predictions 0.2, 0.8, 0.8 leave 0.2, then 0.1 * 0.2 + 0.9 * 0.8 = 0.74, then 0.794."""
    elr = strategy(tmp_path)
    for epoch, (p, expected) in enumerate([(0.2, 0.2), (0.8, 0.74), (0.8, 0.794)]):
        elr.begin_epoch(epoch, 3)
        mask_loss(elr, torch.full(CELLS, p).logit(), torch.zeros(CELLS), None)
        found = elr.history.recall(BATCH, CELLS[-2:], torch.device("cpu"))
        torch.testing.assert_close(found.values, torch.full(CELLS, expected), atol=5e-4, rtol=0)
        assert found.visits.unique().tolist() == [epoch + 1]


@given(p=st.floats(0.01, 0.99), s=st.floats(0.01, 0.99).filter(lambda s: abs(s - 0.5) > 1e-3))
def test_gradient_raises_the_agreement_and_lowers_it_as_printed(p, s):
    """Also: it is that of finite differences."""
    for sign, direction in (("official", 1), ("as_printed", -1)):
        elr = ELR(ELROptions(sign=sign))
        variable = torch.tensor(p, dtype=torch.float64, requires_grad=True)
        history = torch.tensor(s, dtype=torch.float64)
        elr.regulariser(variable, history).backward()
        step = 1e-6
        around = [elr.regulariser(variable.detach() + d, history).item() for d in (step, -step)]
        assert variable.grad.item() == pytest.approx(np.subtract(*around) / 2 / step, rel=1e-4)
        after = agreement(variable.detach() - 1e-4 * variable.grad.sign(), history)
        assert direction * (after - agreement(variable.detach(), history)) > 0


def test_history_has_no_gradient_and_that_of_the_loss_is_right(tmp_path: Path) -> None:
    logits, targets, weights = made_up(1)
    elr = strategy(tmp_path)
    targets, weights = (torch.tensor(values).float() for values in (targets, weights))
    elr.begin_epoch(0, 2)
    mask_loss(elr, torch.tensor(logits[0]).float(), targets, weights)
    elr.begin_epoch(1, 2)
    variable = torch.tensor(logits[1]).float().requires_grad_()
    mask_loss(elr, variable, targets, weights).sum().backward()
    s = elr.history.recall(BATCH, CELLS[-2:], torch.device("cpu")).values.double().numpy()

    def per_pixel(z):
        p, y = 1 / (1 + np.exp(-z)), targets.numpy()
        focal = -0.5 * (y * (1 - p) ** 2 * np.log(p) + (1 - y) * p**2 * np.log(1 - p))
        return focal + np.log(1 - p * s - (1 - p) * (1 - s) + 1e-6)

    step = 1e-5
    slope = (per_pixel(logits[1] + step) - per_pixel(logits[1] - step)) / (2 * step)
    expected = slope * weights.numpy() / np.prod(CELLS[1:])
    np.testing.assert_allclose(variable.grad.numpy(), expected, rtol=1e-3, atol=1e-6)


def test_perfect_prediction_costs_nothing_without_the_regulariser(tmp_path: Path) -> None:
    """With it the least is log(1 - d + epsilon), far below 0; extremes keep finite gradients."""
    targets = torch.tensor(made_up(2)[1]).float()
    sure = ((2 * targets - 1) * 60).requires_grad_()
    elr = strategy(tmp_path, strength=0.0)
    elr.begin_epoch(0, 1)
    torch.testing.assert_close(mask_loss(elr, sure, targets, None), torch.zeros(2))
    torch.testing.assert_close(mask_loss(elr, sure, targets, None, "loss_mask_0"), torch.zeros(2))
    regularised = strategy(tmp_path)
    regularised.begin_epoch(0, 1)
    loss = mask_loss(regularised, sure, targets, None)
    loss.sum().backward()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()
    assert (loss < np.log(3e-4)).all()
    assert (loss > np.log(1e-6)).all()


def test_options_outside_their_range_are_refused() -> None:
    wrong = {
        "beta": 1.0,
        "strength": -1.0,
        "alpha": 2.0,
        "gamma": 0.5,
        "epsilon": -1e-6,
        "clamp": 0.5,
    }
    for name, value in wrong.items():
        with pytest.raises(ActisegError, match=rf"--elr\.{name} is {value}"):
            ELROptions(**{name: value})


def test_without_a_clamp_epsilon_keeps_the_logarithm_finite() -> None:
    with pytest.raises(ActisegError, match=r"--elr\.epsilon is 0\.0; it must be above 0 where"):
        ELROptions(epsilon=0.0, clamp=0.0)


def test_every_layer_and_every_step_may_update_the_history(tmp_path: Path) -> None:
    """As released: s = 0.01 s + 0.99 p from 0, for the last layer and then the first."""
    elr = strategy(tmp_path, layers="all", beta=0.99, initial="zero", history_dtype="float32")
    elr.begin_epoch(0, 1)
    logits, targets, _ = made_up(4)
    last, first = (torch.tensor(logits[n]).float() for n in (0, 1))
    labels, expected = torch.tensor(targets).float(), torch.zeros(CELLS)
    for _ in range(2):
        elr.losses(context_of(last, labels, batch=BATCH, earlier=[first]))
        for layer in (last, first):
            expected = 0.01 * expected + 0.99 * layer.sigmoid().clamp(1e-4, 1 - 1e-4)
    found = elr.history.recall(BATCH, CELLS[-2:], torch.device("cpu"))
    torch.testing.assert_close(found.values, expected)


@pytest.mark.parametrize("name", ["elr", "npn"])
def test_frames_must_stay_where_their_pixels_are_remembered(name: str, tmp_path: Path) -> None:
    def made(**options):
        return make_strategy(run_config(name, data=tmp_path, out=tmp_path, **options))

    assert made().name == name
    with pytest.raises(ActisegError, match=f"--augmentation is all; it must be .* with {name}"):
        made(augmentation="all")
    own = {"elr": ELROptions, "npn": NPNOptions}[name](history_of="sample")
    with pytest.raises(ActisegError, match="--redraw-frames is True; it must be False with"):
        made(redraw_frames=True, strategy_options=own)
    recipe = run_config(name, data=tmp_path, out=tmp_path).recipe()
    assert recipe.augmentation == {"elr": "photometric", "npn": "none"}[name]
    assert not recipe.redraw_frames
