"""PMHM against a literal transcription of paper Eqs. 4-7, and what must not matter to it."""

from __future__ import annotations

import io
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from actiseg_ros.errors import ActisegError
from actiseg_ros.gate import uncertainty
from tests.training.model.micro import MICRO, MICRO_PUBLISHED, make, prompts
from tests.training.prompts_batch import labels, predictions
from tests.training.step_contexts import context_of
from training.losses.context import StepContext, StepPosition
from training.losses.criterion import dice_loss, focal_mask_loss, reduced
from training.losses.matching import match
from training.strategies.pmhm import (
    PMHM,
    ParallelHeads,
    PMHMOptions,
    confident_pixels,
    hard_dice_loss,
    hard_focal_loss,
    linear,
    mean_consistency,
    perturbed,
    quantile_regions,
    symmetric_divergence,
    tversky_loss,
    uncertain_pixels,
)

PROMPTS, FRAMES, QUERIES, LAYERS, SIZE = 3, 2, 4, 3, (6, 8)
SHAPE = (PROMPTS, FRAMES, *SIZE)
FREEZE = {"freeze": 0.5, "freeze_end": 0.0}
GRADIENTS = ("sobel", "central", "forward")
# Multiples of 1/64, with which every operator is exact in float32.
PROBABILITIES = arrays(np.int64, (5, 7), elements=st.integers(0, 64)).map(
    lambda steps: (steps / 64).astype(np.float32)
)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def smooth(random: np.random.Generator, *shape: int) -> np.ndarray:
    """Logits with confident areas and uncertain borders, like those of masks."""
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    centre = random.uniform(0, 1, (*shape[:-2], 2, 1, 1)) * np.array(shape[-2:])[:, None, None]
    distance = np.hypot(rows - centre[..., 0, :, :], columns - centre[..., 1, :, :])
    return 3 * (2.5 - distance) + random.normal(0, 0.3, shape)


class Case:
    """Predictions and labels of a batch; `weights` is 0 on padding at the right."""

    def __init__(self, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.queries = random.integers(0, QUERIES, PROMPTS)
        self.main = smooth(random, *SHAPE)
        # Other queries say something else, so that a wrong index shows.
        self.auxiliary = random.normal(0, 3, (PROMPTS, FRAMES, QUERIES, *SIZE))
        self.earlier = random.normal(0, 3, (LAYERS - 1, PROMPTS, FRAMES, QUERIES, *SIZE))
        self.masks = (random.random(SHAPE) < 0.4).astype(float)
        self.weights = random.choice([1.0, 2.0, 5.0], SHAPE)
        self.weights[0, :, :, -2:] = 0
        self.valid = np.array([[1, 1], [1, 0], [1, 1]])

    def context(self, main: Tensor | None = None, auxiliary: Tensor | None = None) -> StepContext:
        return context_of(
            self.all_queries(tensor(self.main) if main is None else main),
            tensor(self.masks),
            tensor(self.weights),
            padding=tensor(self.weights == 0),
            valid=torch.tensor(self.valid),
            queries=torch.tensor(self.queries),
            earlier=[tensor(masks) for masks in self.earlier],
            extra=(tensor(self.auxiliary) if auxiliary is None else auxiliary,),
        )

    def all_queries(self, main: Tensor) -> Tensor:
        """Masks of every query, of which the matched ones say `main`."""
        chosen = torch.nn.functional.one_hot(torch.tensor(self.queries), QUERIES).bool()
        return torch.where(chosen[:, None, :, None, None], main[:, :, None], 7.0)

    def of_matched(self, masks: np.ndarray) -> np.ndarray:
        return np.stack([masks[i, :, q] for i, q in enumerate(self.queries)])

    def extra(self, strategy: PMHM) -> dict[str, float]:
        """The consistency terms as they enter the total."""
        context = self.context()
        losses = reduced(strategy.losses(context), context)
        weights = strategy.coefficients
        return {name: float(losses[name]) * weights[name] for name in ("loss_head", "loss_layer")}

    def hard(self, strategy: PMHM) -> np.ndarray:
        terms = strategy.losses(self.context())
        return np.stack([terms["loss_mask"], terms["loss_dice"]])

    def labelled(self) -> tuple[Tensor, Tensor, Tensor]:
        return tensor(self.main), tensor(self.masks), tensor(self.weights)


def uncertain_of(strategy: PMHM, logits: Tensor, inside: Tensor) -> Tensor:
    options = strategy.options
    p = logits.detach().sigmoid()
    return uncertain_pixels(p, options.tau_m, options.tau_e, options.gradient) & inside


def tensor(array: np.ndarray) -> Tensor:
    return torch.tensor(array, dtype=torch.float32)


def literal_uncertain(p: np.ndarray, options: PMHMOptions) -> np.ndarray:
    """Eq. 4, pixel by pixel, of one frame."""
    height, width = p.shape
    found = np.zeros(p.shape, bool)
    for y, x in np.ndindex(height, width):

        def at(down: int, right: int, y: int = y, x: int = x) -> float:
            return p[min(max(y + down, 0), height - 1), min(max(x + right, 0), width - 1)]

        if options.gradient == "sobel":
            dx = sum(k * (at(i, 1) - at(i, -1)) for i, k in ((-1, 1), (0, 2), (1, 1)))
            dy = sum(k * (at(1, i) - at(-1, i)) for i, k in ((-1, 1), (0, 2), (1, 1)))
        elif options.gradient == "central":
            dx, dy = (at(0, 1) - at(0, -1)) / 2, (at(1, 0) - at(-1, 0)) / 2
        else:
            dx, dy = at(0, 1) - at(0, 0), at(1, 0) - at(0, 0)
        margin = abs(p[y, x] - 0.5) < options.tau_m
        found[y, x] = margin or np.sqrt(dx**2 + dy**2) > options.tau_e
    return found


def literal_kl(p: float, q: float) -> float:
    p, q = np.clip([p, q], 1e-6, 1 - 1e-6)
    return p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))


def literal_losses(case: Case, options: PMHMOptions) -> dict[str, np.ndarray]:
    """Eqs. 5 to 7 of each prompt, from probabilities in float64; sums over U, and its size."""
    p_m, p_a = sigmoid(case.main), sigmoid(case.of_matched(case.auxiliary))
    p_l = [sigmoid(case.of_matched(masks)) for masks in case.earlier]
    names = ("head", "layer", "uncertain", "focal", "dice")
    result: dict[str, list[float]] = {name: [] for name in names}
    for clip in range(PROMPTS):
        image = [index for index in np.ndindex(SHAPE[1:]) if case.weights[clip][index] > 0]
        frames = np.stack([literal_uncertain(p, options) for p in p_m[clip]])
        uncertain = [index for index in image if frames[index]]
        head = layer = 0.0
        for index in uncertain:
            m, a = p_m[clip][index], p_a[clip][index]
            head += literal_kl(m, a) + literal_kl(a, m)
            for early in p_l:
                e = early[clip][index]
                layer += (literal_kl(m, e) + literal_kl(e, m)) / (LAYERS - 1)
        result["head"].append(head)
        result["layer"].append(layer)
        result["uncertain"].append(len(uncertain))
        known = [index for index in np.ndindex(SHAPE[1:]) if index not in set(uncertain)]
        focal, overlap, area = 0.0, 0.0, 0.0
        for index in known:
            p, y, w = p_m[clip][index], case.masks[clip][index], case.weights[clip][index]
            r = p if y else 1 - p
            focal += w * (0.25 if y else 0.75) * (1 - r) ** 2 * -np.log(r)
            overlap += 2 * p * y
            area += p + y
        result["focal"].append(focal / len(known))
        result["dice"].append(1 - (overlap + 1) / (area + 1))
    return {name: np.array(values) for name, values in result.items()}


@pytest.mark.parametrize("gradient", GRADIENTS)
def test_losses_are_the_formulae(gradient: Any) -> None:
    case, options = Case(), PMHMOptions(gradient=gradient, lambda_head=0.3, tau_e=0.6)
    expected = literal_losses(case, options)
    assert (expected["head"] > 0).all()
    extra, hard = case.extra(PMHM(options)), case.hard(PMHM(options))
    uncertain = expected["uncertain"]
    for name, weight in (("head", 0.3), ("layer", 0.1)):
        mean = expected[name].sum() / uncertain.sum()
        assert extra[f"loss_{name}"] == pytest.approx(weight * mean, rel=1e-4)
        # As the mask term: the sum over clips by the number of valid frames.
        each = (expected[name] / uncertain).sum() / 5
        of_clips = case.extra(PMHM(replace(options, consistency="clip")))
        assert of_clips[f"loss_{name}"] == pytest.approx(weight * each, rel=1e-4)
    np.testing.assert_allclose(hard, [expected["focal"], expected["dice"]], rtol=1e-4)


@settings(max_examples=40, deadline=None)
@given(PROBABILITIES, st.sampled_from(GRADIENTS))
def test_uncertain_pixels_are_those_of_equation_4(p: np.ndarray, gradient: Any) -> None:
    found = uncertain_pixels(torch.tensor(p)[None, None], gradient=gradient)[0, 0].numpy()
    expected = literal_uncertain(p.astype(np.float64), PMHMOptions(gradient=gradient))
    assert (found == expected).all()


@settings(max_examples=40, deadline=None)
@given(PROBABILITIES)
def test_training_and_robot_agree_on_what_is_uncertain(p: np.ndarray) -> None:
    ours = uncertain_pixels(torch.tensor(p)[None, None])[0, 0].numpy()
    assert (ours == uncertainty.uncertain_pixels(p)).all()
    options = PMHMOptions()
    assert (ours == uncertainty.uncertain_pixels(p, options.tau_m, options.tau_e)).all()


@settings(max_examples=40, deadline=None)
@given(PROBABILITIES)
def test_uncertainty_has_no_preferred_label_or_direction(p: np.ndarray) -> None:
    def uncertain(p: np.ndarray, **options: Any) -> np.ndarray:
        return uncertain_pixels(torch.tensor(p.copy())[None, None], **options)[0, 0].numpy()

    found = uncertain(p)
    assert (found == uncertain(1 - p)).all()
    assert (found == uncertain(p[::-1])[::-1]).all()
    assert (found == uncertain(p.T).T).all()
    assert (found <= uncertain(p, tau_m=0.3)).all(), "a wider margin keeps what was uncertain"
    assert (found <= uncertain(p, tau_e=0.5)).all(), "and so does a lower limit of the gradient"


def test_a_step_edge_is_uncertain_with_sobel_and_never_with_central_differences() -> None:
    step = torch.zeros(1, 1, 6, 8)
    step[..., 4:] = 1
    columns = {g: uncertain_pixels(step, gradient=g)[0, 0].any(0).tolist() for g in GRADIENTS}
    assert columns["sobel"] == [False] * 3 + [True] * 2 + [False] * 3
    assert columns["forward"] == [False] * 3 + [True] + [False] * 4
    assert not any(columns["central"])
    corners = torch.tensor([[0.0, 0, 0], [0, 0, 1], [0, 1, 1]]).expand(1, 1, 3, 3)
    assert not uncertain_pixels(corners, tau_m=0, gradient="central").any()


@settings(max_examples=40, deadline=None)
@given(st.floats(-40, 40), st.floats(-40, 40))
def test_divergence_is_symmetric_and_zero_for_equals_only(x: float, y: float) -> None:
    a, b = torch.tensor([x]), torch.tensor([y])
    value = symmetric_divergence(a, b)
    assert value >= 0
    assert value == symmetric_divergence(b, a)
    assert symmetric_divergence(a, a) == 0
    p, q = sigmoid(x), sigmoid(y)
    # Near the clamp, float64 probabilities themselves are rough: 1 - p has few digits.
    assert float(value) == pytest.approx(literal_kl(p, q) + literal_kl(q, p), rel=1e-3, abs=1e-6)


def other_pixels(case: Case, inside: bool, *names: str) -> tuple[Case, Case]:
    """The case twice, with other values at all pixels in or out of U in one of them."""
    strategy = PMHM(PMHMOptions())
    chosen = uncertain_of(strategy, tensor(case.main), tensor(case.weights) > 0).numpy() == inside
    other = Case()
    random = np.random.default_rng(9)
    for name in names:
        values = getattr(case, name)
        mask = chosen if values.ndim == 4 else chosen[:, :, None]
        noise = random.normal(0, 5, values.shape)
        new = 1 - values if name == "masks" else values + noise
        setattr(other, name, np.where(mask, new, values))
    return case, other


def test_hard_loss_is_blind_to_labels_where_the_prediction_is_uncertain() -> None:
    strategy = PMHM(PMHMOptions())
    case, inside = other_pixels(Case(), True, "masks")
    np.testing.assert_array_equal(case.hard(strategy), inside.hard(strategy))
    case, outside = other_pixels(Case(), False, "masks")
    assert (case.hard(strategy) != outside.hard(strategy)).all()


def test_labels_are_left_out_in_the_last_layer_alone() -> None:
    strategy = PMHM(PMHMOptions())
    masks = tensor(smooth(np.random.default_rng(2), PROMPTS, FRAMES, 5, *SIZE))
    output, targets = replace(predictions(layers=3), masks=masks), labels()
    queries = match([*output.aux, output], targets)
    output = SimpleNamespace(**vars(output), extra=(masks,))

    def losses(targets: Any) -> dict[str, Tensor]:
        return strategy.losses(StepContext(targets, output, matches=queries))  # type: ignore[arg-type]

    chosen = masks[torch.arange(PROMPTS), :, queries[-1]]
    uncertain = uncertain_of(strategy, chosen, torch.ones_like(chosen).bool())
    cells = uncertain.repeat_interleave(4, -1).repeat_interleave(4, -2)
    before = losses(targets)
    after = losses(replace(targets, masks=targets.masks ^ cells))
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed == {"loss_mask_0", "loss_mask_1", "loss_dice_0", "loss_dice_1"}


def test_consistency_is_blind_where_the_prediction_is_certain() -> None:
    strategy = PMHM(PMHMOptions())
    case, outside = other_pixels(Case(), False, "auxiliary", "earlier", "masks")
    assert case.extra(strategy) == outside.extra(strategy)
    case, labels = other_pixels(Case(), True, "masks")
    assert case.extra(strategy) == labels.extra(strategy), "it never sees a label"
    for name, loss in (("auxiliary", "loss_head"), ("earlier", "loss_layer")):
        case, inside = other_pixels(Case(), True, name)
        assert case.extra(strategy)[loss] != inside.extra(strategy)[loss]


def test_gradients_of_the_main_head_stay_on_their_side() -> None:
    case, strategy = Case(), PMHM(PMHMOptions())
    uncertain = uncertain_of(strategy, tensor(case.main), tensor(case.weights) > 0)
    main = tensor(case.main).requires_grad_()
    terms = strategy.losses(case.context(main))
    hard = terms["loss_mask"].sum() + terms["loss_dice"].sum()
    (gradient,) = torch.autograd.grad(hard, main, retain_graph=True)
    assert (gradient[uncertain] == 0).all()
    assert gradient[~uncertain].abs().min() > 0
    agreement = terms["loss_head"].sum() + terms["loss_layer"].sum()
    (gradient,) = torch.autograd.grad(agreement, main)
    assert (gradient[~uncertain] == 0).all()
    assert gradient[uncertain].abs().min() > 0, "no side of a divergence is detached"


def test_a_detached_main_head_learns_from_labels_alone() -> None:
    case, strategy = Case(), PMHM(PMHMOptions(detach_main=True))
    assert case.extra(strategy) == case.extra(PMHM(PMHMOptions()))
    main = tensor(case.main).requires_grad_()
    auxiliary = tensor(case.auxiliary).requires_grad_()
    terms = strategy.losses(case.context(main, auxiliary))
    (terms["loss_head"].sum() + terms["loss_layer"].sum()).backward()
    assert main.grad is None
    assert auxiliary.grad is not None


def test_dice_of_whole_masks_can_be_kept() -> None:
    case, strategy = Case(), PMHM(PMHMOptions(hard_dice="all"))
    logits, masks, _ = case.labelled()
    focal, dice = case.hard(strategy)
    np.testing.assert_array_equal(dice, dice_loss(logits, masks))
    np.testing.assert_array_equal(focal, case.hard(PMHM(PMHMOptions()))[0])


def test_gradients_are_those_of_finite_differences() -> None:
    """Of Eq. 7, to the main head, the auxiliary head and the earlier layers."""
    case, strategy = Case(3), PMHM(PMHMOptions())
    targets, weights = torch.tensor(case.masks), torch.tensor(case.weights)

    def whole(main: Tensor, auxiliary: Tensor, *earlier: Tensor) -> Tensor:
        uncertain = uncertain_of(strategy, main, weights > 0)
        confident = confident_pixels(uncertain, weights > 0)
        hard = hard_focal_loss(main, targets, weights, confident)
        hard = hard + hard_dice_loss(main, targets, confident)
        head = mean_consistency(main, [auxiliary], uncertain)
        return (hard + head + mean_consistency(main, earlier, uncertain)).sum()

    random = np.random.default_rng(4)
    start = [case.main, *random.normal(0, 2, (LAYERS, *SHAPE))]
    assert torch.autograd.gradcheck(
        whole, [torch.tensor(values, requires_grad=True) for values in start], fast_mode=True
    )


def test_without_uncertain_pixels_it_is_the_published_loss() -> None:
    case, strategy = Case(), PMHM(PMHMOptions(tau_m=0, tau_e=5))
    logits, masks, weights = case.labelled()
    assert set(case.extra(strategy).values()) == {0.0}
    focal, dice = focal_mask_loss(logits, masks, weights), dice_loss(logits, masks)
    np.testing.assert_array_equal(case.hard(strategy), np.stack([focal, dice]))


def test_a_clip_that_is_uncertain_everywhere_learns_from_all_labels() -> None:
    case, strategy = Case(), PMHM(PMHMOptions())
    case.main[1] = 0.1
    logits, masks, weights = case.labelled()
    focal, dice = focal_mask_loss(logits, masks, weights), dice_loss(logits, masks)
    np.testing.assert_allclose(case.hard(strategy)[:, 1], [focal[1], dice[1]], rtol=1e-6)
    assert (case.hard(strategy)[:, 0] != np.stack([focal, dice])[:, 0]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [("tau_m", 0.6), ("tau_e", -0.1), ("lambda_head", -1), ("lambda_layer", -1), ("dropout", 1),
     ("freeze", 1.5)],
)  # fmt: skip
def test_options_outside_their_range_are_refused(name: str, value: float) -> None:
    with pytest.raises(ActisegError, match=f"--pmhm.{name.replace('_', '-')} is {value}; it must"):
        PMHMOptions(**{name: value})


def run_network(network: torch.nn.Module, prompts_of_clip: int = 2) -> Any:
    """Two clips of two frames with as many prompts each."""
    generator = torch.Generator().manual_seed(3)
    frames = torch.randn(2, 2, 3, 32, 48, generator=generator)
    ids, mask = prompts(2 * prompts_of_clip)
    sizes = torch.tensor([[32.0, 48.0], [30.0, 40.0]])
    clips = torch.arange(2).repeat_interleave(prompts_of_clip)
    return network(frames, None, ids, mask, sizes, clips)


@pytest.mark.parametrize("config", [MICRO, MICRO_PUBLISHED])
def test_auxiliary_head_starts_as_a_twin_and_leaves_no_trace(config: Any) -> None:
    model = make(config)
    names, alone = list(model.state_dict()), run_network(model)
    strategy = PMHM(PMHMOptions(dropout=0))
    network = strategy.extend(model)
    assert run_network(network.eval()).extra == ()
    network.training = True
    output = run_network(network)
    torch.testing.assert_close(output.extra[0], output.masks)
    torch.testing.assert_close(output.masks, alone.masks)
    assert strategy.exported(network) is model
    assert list(model.state_dict()) == names


def heads(**options: Any) -> tuple[PMHM, ParallelHeads]:
    torch.manual_seed(11)
    strategy = PMHM(PMHMOptions(**options))
    network = strategy.extend(make())
    assert isinstance(network, ParallelHeads)
    return strategy, network.train()


def test_a_frozen_head_passes_gradients_on_and_keeps_none() -> None:
    _, network = heads()
    for frozen in (False, True):
        network.frozen = frozen
        network.zero_grad()
        run_network(network).extra[0].sum().backward()
        gradients = [p.grad for p in network.auxiliary.parameters() if p.grad is not None]
        assert len(gradients) == len([*network.auxiliary.parameters()]), "DDP waits for all"
        assert any(gradient.any() for gradient in gradients) != frozen
        assert network.model.decoder.layers[-1].norm_cross.weight.grad.abs().sum() > 0
        assert all(p.grad is None for p in network.model.mask_head.parameters())


@pytest.mark.parametrize("unit", ["queries", "channels", "frames"])
def test_dropout_tells_the_heads_apart(unit: str) -> None:
    _, network = heads(dropout=0.5, dropout_of=unit)
    (masks,) = run_network(network).extra
    assert not torch.allclose(masks, run_network(network).masks, atol=1e-2)


def test_features_lose_whole_frames_or_channels_and_gain_noise() -> None:
    features = torch.ones(2, 3, 4, 5, 6)
    frames = torch.tensor([[1.0, 0, 1], [0, 1, 1]])[:, :, None, None, None]
    dropped = perturbed(features, frames, features, 0.5, 0.0)
    torch.testing.assert_close(dropped, 2 * features * frames)
    noise, given = torch.randn(features.shape), torch.randn(features.shape)
    spread = given.flatten(2).std(2)[..., None, None, None]
    noisy = perturbed(given, torch.ones(()), noise, 0.0, 0.2)
    torch.testing.assert_close(noisy, given + 0.2 * spread * noise, atol=1e-5, rtol=1e-5)


def test_several_heads_vote_and_are_averaged() -> None:
    _, network = heads(heads=2, auxiliary_start="random")
    first, second = run_network(network).extra
    assert not torch.allclose(first, second)
    case = Case()
    one = case.context()
    both = replace(one, output=copied(one.output, extra=(tensor(case.auxiliary),) * 2))
    strategy = PMHM(PMHMOptions(heads=2))
    alone, twice = strategy.losses(one), strategy.losses(both)
    torch.testing.assert_close(alone["loss_head"], twice["loss_head"])
    none = replace(one, output=copied(one.output, extra=()))
    assert strategy.losses(none)["loss_head"] == 0


def copied(record: Any, **changes: Any) -> Any:
    return SimpleNamespace(**vars(record) | changes)


def test_quantiles_cut_the_shares_they_name() -> None:
    masks = torch.randn(2, 3, 4, 6, 8, generator=torch.Generator().manual_seed(1))
    options = PMHMOptions(regions="quantiles", tau_m=0.2, tau_e=1.0, tau_h=0.6, votes=1)
    found = [quantile_regions(masks, (), torch.full((2,), query), options) for query in range(4)]
    for field, share in (("uncertain", 0.2), ("confident", 0.4)):
        pixels = torch.stack([getattr(regions, field) for regions in found], 2).float()
        torch.testing.assert_close(
            pixels.flatten(1).mean(1), torch.full((2,), share), atol=0.01, rtol=0
        )
    # Two heads that never agree leave nothing that is known.
    apart = quantile_regions(masks, (-masks,), torch.zeros(2).long(), replace(options, votes=2))
    assert not apart.confident.any()


def test_tversky_counts_uncertain_pixels_of_the_batch_alone() -> None:
    logits = torch.tensor([[[[20.0, 20, -20, -20]]], [[[20, 20, 20, 20]]]])
    labels = torch.tensor([[[[1.0, 0, 1, 0]]], [[[0, 0, 0, 0]]]])
    uncertain = torch.tensor([True, False]).view(2, 1, 1, 1).expand_as(labels)
    value = tversky_loss(logits, labels, uncertain, 0.7, 0.5)
    assert value.item() == pytest.approx(1 - 1 / (1 + 0.7 + 0.5), abs=1e-5)
    assert tversky_loss(logits, labels, torch.zeros_like(uncertain), 0.7, 0.5) == 0


def draws(strategy: PMHM, network: ParallelHeads, count: int, epoch: int = 0) -> list[bool]:
    found = []
    for _ in range(count):
        strategy.inputs(None, StepPosition(epoch, 6), 0)  # type: ignore[arg-type]
        found.append(network.frozen)
    return found


def test_freezing_decays_and_goes_on_where_it_stopped() -> None:
    assert [linear(0.5, 0, epoch, 6) for epoch in (0, 1, 5)] == [0.5, 0.4, 0.0]
    assert linear(0.5, 0, 0, 1) == 0.5
    strategy, network = heads(**FREEZE)
    first = draws(strategy, network, 300)
    assert 0.4 < np.mean(first) < 0.6
    again, other = heads(**FREEZE)
    assert draws(again, other, 100) == first[:100]
    stored = again.state_dict()
    resumed, other = heads(**FREEZE)
    resumed.load_state_dict(stored)
    assert draws(resumed, other, 200) == first[100:]
    assert not any(draws(strategy, network, 50, epoch=5))


def learn(strategy: PMHM, network: ParallelHeads, optimizer: Any, steps: range) -> None:
    for step in steps:
        strategy.inputs(None, StepPosition(step // 3, 3), 0)  # type: ignore[arg-type]
        output = run_network(network)
        optimizer.zero_grad(set_to_none=True)
        symmetric_divergence(output.masks, output.extra[0]).mean().backward()
        for own in strategy.resting(network):
            own.grad = None
        optimizer.step()


def test_a_frozen_head_rests_unless_some_batch_of_the_step_teaches_it() -> None:
    strategy, network = heads()
    auxiliary = [*network.auxiliary.parameters()]
    for freezes, rests in (([1.0], True), ([1.0, 0.0], False), ([0.0, 1.0], False), ([1.0], True)):
        for freeze in freezes:
            strategy.options = replace(strategy.options, freeze=freeze, freeze_end=freeze)
            strategy.inputs(None, StepPosition(), 0)  # type: ignore[arg-type]
            assert network.frozen == bool(freeze)
        assert [*strategy.resting(network)] == (auxiliary if rests else [])


def test_resumed_run_ends_in_the_same_weights() -> None:
    """With freezing and dropout, cut in the middle of an epoch."""

    def fresh(**options: Any) -> tuple[PMHM, ParallelHeads, Any]:
        strategy, network = heads(dropout=0.3, auxiliary_start="random", **FREEZE, **options)
        return strategy, network, torch.optim.AdamW(network.parameters(), 1e-2)

    whole = fresh()
    learn(*whole, range(8))
    assert whole[1].auxiliary[0].controller.last.weight.grad is not None, (
        "the last epoch never freezes"
    )
    cut = fresh()
    learn(*cut, range(4))
    stored = io.BytesIO()
    torch.save([part.state_dict() for part in cut] + [torch.get_rng_state()], stored)
    resumed = fresh()
    torch.rand(7)
    *states, random_state = torch.load(io.BytesIO(stored.getvalue()), weights_only=True)
    for part, state in zip(resumed, states, strict=True):
        part.load_state_dict(state)
    torch.set_rng_state(random_state)
    learn(*resumed, range(4, 8))
    expected = whole[1].state_dict()
    assert all(
        torch.equal(value, expected[name]) for name, value in resumed[1].state_dict().items()
    )
    assert resumed[0].state_dict() == whole[0].state_dict()
