"""The noise-robust pixel losses against literal NumPy transcriptions of the paper's formulae."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import ActisegError
from tests.training.prompts_batch import labels, predictions
from tests.training.step_contexts import context_of
from training.config.run import TrainConfig
from training.losses.context import StepContext
from training.losses.criterion import published_terms
from training.strategies import STRATEGIES, make_strategy
from training.strategies.apl import APL, APLOptions
from training.strategies.gce import GCE, GCEOptions
from training.strategies.sce import SCE, SCEOptions

SHAPE = (3, 2, 5, 7)


def made_up(seed: int = 0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, SHAPE)
    targets = (random.random(SHAPE) < 0.4).astype(float)
    weights = random.choice([1.0, 2.0, 5.0], SHAPE)
    return logits, targets, weights


def literal(pixel, logits, targets, weights):
    """Pixel by pixel in float64: `pixel(p, y)` times its weight, mean over a clip."""
    means = []
    for clip in range(SHAPE[0]):
        values = []
        for index in np.ndindex(*SHAPE[1:]):
            p = 1 / (1 + np.exp(-logits[clip][index]))
            values.append(pixel(p, targets[clip][index]) * weights[clip][index])
        means.append(np.mean(values))
    return np.array(means)


def r(p, y):
    return y * p + (1 - y) * (1 - p)


def cross_entropy(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def reverse_cross_entropy(p, y, log_zero):
    """Sum over both classes of -p(class) log y(class), with log 0 replaced."""
    return -(p * (0 if y == 1 else log_zero) + (1 - p) * (0 if y == 0 else log_zero))


FORMULAE = {
    "gce": (GCE(GCEOptions()), lambda p, y: (1 - r(p, y) ** 0.7) / 0.7),
    "sce": (
        SCE(SCEOptions(alpha=0.1, beta=1.0, log_of_zero=-4.0)),
        lambda p, y: 0.1 * cross_entropy(p, y) + reverse_cross_entropy(p, y, -4.0),
    ),
    "apl": (APL(APLOptions()), lambda p, y: 10 * (1 - r(p, y) ** 0.7) / 0.7 + abs(p - y)),
    "apl nce+mae": (
        APL(APLOptions(variant="nce+mae", active=2.0, passive=0.5)),
        lambda p, y: (
            2 * cross_entropy(p, y) / (cross_entropy(p, 0) + cross_entropy(p, 1)) + 0.5 * abs(p - y)
        ),
    ),
}


def mask_loss(strategy, logits, targets, weights):
    """The term of the last layer, which earlier layers share, of each clip."""
    terms = strategy.losses(context_of(logits, targets, weights, earlier=[logits]))
    assert torch.equal(terms["loss_mask"], terms["loss_mask_0"])
    return terms["loss_mask"]


def tensors(*arrays):
    return [torch.tensor(array, dtype=torch.float32) for array in arrays]


@pytest.mark.parametrize("name", FORMULAE)
@pytest.mark.parametrize("weighted", [True, False])
def test_loss_is_the_formula(name, weighted):
    strategy, pixel = FORMULAE[name]
    logits, targets, weights = made_up()
    expected = literal(pixel, logits, targets, weights if weighted else np.ones(SHAPE))
    logits, targets, weights = tensors(logits, targets, weights)
    loss = mask_loss(strategy, logits, targets, weights if weighted else None)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=2e-5)


@pytest.mark.parametrize("name", FORMULAE)
def test_a_strategy_replaces_the_mask_term_and_nothing_else(name):
    context = StepContext(labels(), predictions())
    published, terms = published_terms(context), FORMULAE[name][0].losses(context)
    assert terms.keys() == published.keys()
    changed = {term for term in terms if not torch.equal(terms[term], published[term])}
    assert changed == {"loss_mask", "loss_mask_0"}


@pytest.mark.parametrize("name", FORMULAE)
def test_gradient_is_that_of_finite_differences(name):
    strategy, pixel = FORMULAE[name]
    logits, targets, weights = made_up(1)
    variable = torch.tensor(logits, dtype=torch.float32, requires_grad=True)
    mask_loss(strategy, variable, *tensors(targets, weights)).sum().backward()
    step = 1e-5
    higher = [
        pixel(1 / (1 + np.exp(-x - step)), y)
        for x, y in zip(logits.flat, targets.flat, strict=True)
    ]
    lower = [
        pixel(1 / (1 + np.exp(-x + step)), y)
        for x, y in zip(logits.flat, targets.flat, strict=True)
    ]
    expected = np.subtract(higher, lower) / (2 * step) * weights.ravel() / np.prod(SHAPE[1:])
    np.testing.assert_allclose(variable.grad.numpy().ravel(), expected, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", FORMULAE)
def test_perfect_prediction_costs_nothing_and_a_wrong_one_keeps_finite_gradients(name):
    strategy, _ = FORMULAE[name]
    _, targets, _ = made_up(2)
    (targets,) = tensors(targets)
    confident = (2 * targets - 1) * 80
    torch.testing.assert_close(mask_loss(strategy, confident, targets, None), torch.zeros(SHAPE[0]))
    wrong = (-confident).requires_grad_()
    mask_loss(strategy, wrong, targets, None).sum().backward()
    assert torch.isfinite(wrong.grad).all()


@pytest.mark.parametrize("name", ["gce", "sce", "apl"])
def test_focal_and_dice_terms_stay_or_go_as_told(name):
    context = StepContext(labels(), predictions())
    published = published_terms(context)
    kind, options = STRATEGIES[name], STRATEGIES[name].Options
    beside = kind(options(focal="kept")).losses(context)
    term = kind.term
    assert beside.keys() == published.keys() | {term, f"{term}_0"}
    assert all(torch.equal(beside[key], published[key]) for key in published)
    alone = kind(options()).losses(context)
    assert torch.equal(beside[term], alone["loss_mask"])
    without = kind(options(dice=False)).losses(context)
    assert alone.keys() - without.keys() == {"loss_dice", "loss_dice_0"}
    plain = kind(options(weighted=False)).losses(context)
    unweighted = kind(options()).losses(StepContext(labels(), predictions(), use_weights=False))
    assert torch.equal(plain["loss_mask"], unweighted["loss_mask"])
    assert not torch.equal(plain["loss_mask"], alone["loss_mask"])


@given(st.floats(-8, 8), st.sampled_from([0.0, 1.0]))
def test_gce_tends_to_cross_entropy_and_ends_at_the_absolute_error(logit, y):
    logits, targets = torch.full((1, 1, 1, 1), logit), torch.full((1, 1, 1, 1), y)
    p = 1 / (1 + np.exp(-logit))
    near_zero = mask_loss(GCE(GCEOptions(1e-6)), logits, targets, None).item()
    assert near_zero == pytest.approx(cross_entropy(p, y), rel=1e-4, abs=1e-6)
    at_one = mask_loss(GCE(GCEOptions(1.0)), logits, targets, None).item()
    assert at_one == pytest.approx(abs(p - y), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "named", "value"),
    [
        (GCEOptions, "gce.q", 0.0),
        (GCEOptions, "gce.q", 1.2),
        (APLOptions, "apl.q", -1.0),
        (APLOptions, "apl.passive", -1.0),
        (SCEOptions, "sce.log_of_zero", 1.0),
    ],
)
def test_options_outside_their_range_are_refused(options, named, value):
    field = named.partition(".")[2]
    with pytest.raises(ActisegError, match=f"{named.replace('_', '-')} is {value}"):
        options(**{field: value})


@pytest.mark.parametrize("name", ["gce", "sce", "apl"])
def test_run_configures_its_strategy(name):
    kind = STRATEGIES[name]
    options = kind.Options() if name != "gce" else GCEOptions(0.5)
    config = TrainConfig(data=Path(), out=Path(), strategy=name, strategy_options=options)
    strategy = make_strategy(config)
    assert strategy.name == name
    assert strategy.options is options
    assert [key for key in FORMULAE if key in config.as_json()] == [name]
    default = TrainConfig(data=Path(), out=Path(), strategy=name)
    assert make_strategy(default).options == kind.Options()
