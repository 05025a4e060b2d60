"""NPN against a literal transcription of the paper's formulas, pixel by pixel in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from actiseg_ros.errors import ActisegError
from tests.training.step_contexts import context_of
from tests.training.strategies.pixel_batches import batch_of
from training.losses.context import StepPosition
from training.model.config import IMAGENET_MEAN, IMAGENET_STD
from training.strategies.npn import NPN, NPNOptions, counts_of, negative_terms
from training.strategies.support.colour_view import distorted_view, strong_view

CELLS = (2, 2, 2, 3)
"""Two prompts of two frames of 8 x 12 pixels."""
BATCH = batch_of([("a", 1, ["x", "y"]), ("b", 2, ["x", "z"])], [(8, 12), (8, 12)])
EPOCHS, WARM = 5, 1
FOCAL = {"focal_alpha": 0.5}


def made_up(seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(0, 2, (EPOCHS, *CELLS))
    targets = (random.random(CELLS) < 0.4).astype(float)
    weights = random.choice([1.0, 2.0, 5.0], CELLS)
    return logits, targets, weights


def cross_entropy(p, y):
    return -(y * np.log(p) + (1 - y) * np.log(1 - p))


def focal(p, y):
    return 0.5 * (y * (1 - p) ** 2 + (1 - y) * p**2) * cross_entropy(p, y)


def literal(logits, targets, weights, count, partial):
    """Loss of each clip, M1, M0, y* and w of each pixel, in each epoch."""
    losses = np.zeros((EPOCHS, CELLS[0]))
    counts = np.zeros((EPOCHS, 2, *CELLS))
    for pixel in np.ndindex(CELLS):
        y, m1, m0 = targets[pixel], 0, 0
        for n in range(EPOCHS):
            p = 1 / (1 + np.exp(-logits[n][pixel]))
            if n < WARM:
                losses[n, pixel[0]] += focal(p, y) * weights[pixel]
                continue
            a1, a0 = y + (p > 0.5), (1 - y) + (p <= 0.5)
            m1 += a1 if count == "as_printed" else p > 0.5
            m0 += a0 if count == "as_printed" else p <= 0.5
            counts[(n, slice(None), *pixel)] = m1, m0
            proxy, reliability = float(m1 >= m0), max(m1, m0) / (m1 + m0)
            pll = reliability * (focal if partial == "focal" else cross_entropy)(p, proxy)
            nl = -(1 - (a1 >= 1)) * np.log(1 - p) - (1 - (a0 >= 1)) * np.log(p)
            losses[n, pixel[0]] += (pll + 0.1 * nl) * weights[pixel]
    return losses / np.prod(CELLS[1:]), counts


def strategy(folder: Path, **options) -> NPN:
    made = NPN(NPNOptions(**options))
    made.open(folder, resume=False)
    return made


def losses(npn: NPN, logits, targets, weights=None, epoch: int = 0, **views):
    """All terms of a step on `BATCH`."""
    return npn.losses(context_of(logits, targets, weights, batch=BATCH, epoch=epoch, **views))


def proxy(npn: NPN, logits, targets):
    """What is learned after this step's candidates were counted."""
    losses(npn, logits, targets)
    return npn.proxy(npn.history.recall(BATCH, CELLS[-2:], torch.device("cpu")).values)


@pytest.mark.parametrize("count", ["as_printed", "predicted_only"])
@pytest.mark.parametrize("partial", ["focal", "cross_entropy"])
def test_losses_and_counts_over_the_epochs_are_the_formulas(tmp_path, count, partial):
    logits, targets, weights = made_up()
    expected, counts = literal(logits, targets, weights, count, partial)
    npn = strategy(tmp_path, count=count, partial=partial, **FOCAL, warmup_epochs=WARM)
    targets, weights = (torch.tensor(values).float() for values in (targets, weights))
    for epoch in range(EPOCHS):
        npn.begin_epoch(epoch, EPOCHS)
        now = torch.tensor(logits[epoch]).float()
        loss = losses(npn, now, targets, weights, epoch)["loss_mask"]
        np.testing.assert_allclose(loss.numpy(), expected[epoch], rtol=2e-5)
        found = npn.history.recall(BATCH, CELLS[-2:], torch.device("cpu"))
        for kept, expected_count in zip(counts_of(found.values), counts[epoch], strict=True):
            np.testing.assert_array_equal(kept, expected_count)


@pytest.mark.parametrize(("count", "expected"), [("as_printed", 1.0), ("predicted_only", 1.0)])
def test_a_tie_is_foreground(tmp_path, count, expected):
    """A background label against constant foreground predictions."""
    npn = strategy(tmp_path, count=count, warmup_epochs=0)
    for epoch in range(3):
        npn.begin_epoch(epoch, 3)
        found, reliability = proxy(npn, torch.full(CELLS, 2.0), torch.zeros(CELLS))
        assert found.unique().tolist() == [expected]
        assert reliability.unique().tolist() == [0.5 if count == "as_printed" else 1.0]


def test_a_foreground_label_never_loses_as_printed_but_does_by_predictions(tmp_path):
    for count, expected in (("as_printed", 1.0), ("predicted_only", 0.0)):
        npn = strategy(tmp_path, count=count, warmup_epochs=0)
        npn.begin_epoch(0, 1)
        found, _ = proxy(npn, torch.full(CELLS, -2.0), torch.ones(CELLS))
        assert found.unique().tolist() == [expected]


def test_negative_learning_acts_only_where_label_and_prediction_agree():
    logits, targets, _ = made_up(1)
    logits, targets = torch.tensor(logits[0]), torch.tensor(targets)
    agree = (logits > 0) == (targets > 0)
    foreground = targets + (logits > 0)
    background = 1 - targets + (logits <= 0)
    terms = negative_terms(logits, foreground, background)
    assert (terms[~agree] == 0).all()
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, targets, reduction="none"
    )
    torch.testing.assert_close(terms[agree], entropy[agree])


def test_gradient_is_that_of_finite_differences(tmp_path: Path) -> None:
    logits, targets, weights = made_up(3)
    npn = strategy(tmp_path, warmup_epochs=0, **FOCAL)
    npn.begin_epoch(0, 1)
    variable = torch.tensor(logits[0]).float().requires_grad_()
    tensors = [torch.tensor(values).float() for values in (targets, weights)]
    losses(npn, variable, *tensors)["loss_mask"].sum().backward()
    y, w = proxy(npn, variable, tensors[0])  # this epoch has been counted: unchanged
    y, w = y.numpy(), w.double().numpy()

    def per_pixel(z):
        p = 1 / (1 + np.exp(-z))
        agreed = (logits[0] > 0) == (targets > 0)
        return w * focal(p, y) + 0.1 * agreed * cross_entropy(p, targets)

    step = 1e-5
    slope = (per_pixel(logits[0] + step) - per_pixel(logits[0] - step)) / (2 * step)
    expected = slope * weights / np.prod(CELLS[1:])
    np.testing.assert_allclose(variable.grad.numpy(), expected, rtol=1e-3, atol=1e-7)


def test_perfect_prediction_costs_nothing(tmp_path: Path) -> None:
    targets = torch.tensor(made_up(2)[1]).float()
    sure = ((2 * targets - 1) * 60).requires_grad_()
    npn = strategy(tmp_path, warmup_epochs=0)
    npn.begin_epoch(0, 1)
    loss = losses(npn, sure, targets)["loss_mask"]
    torch.testing.assert_close(loss, torch.zeros(2))
    (loss + losses(npn, -sure, targets)["loss_mask"]).sum().backward()
    assert sure.grad is not None
    assert torch.isfinite(sure.grad).all()


def test_consistency_is_cross_entropy_with_the_hard_weak_view(tmp_path: Path) -> None:
    """At the published coefficient of mask terms, beta 0.2; no gradient into the weak view."""
    random = np.random.default_rng(4)
    weak = torch.tensor(random.normal(0, 2, CELLS)).float().requires_grad_()
    strong = torch.tensor(random.normal(0, 2, (2, 2, 3, 2, 3))).float().requires_grad_()
    weights = torch.tensor(random.choice([0.0, 1.0, 5.0], CELLS)).float()
    queries = torch.tensor([2, 0])
    masks = torch.zeros(2, 2, 3, 2, 3)
    chosen = torch.nn.functional.one_hot(queries, 3).bool()[:, None, :, None, None]
    masks = torch.where(chosen, weak[:, :, None], masks)
    npn = strategy(tmp_path, warmup_epochs=0)
    npn.begin_epoch(0, 1)
    context = context_of(
        masks, torch.zeros(CELLS), weights, batch=BATCH, queries=queries, second_view=strong
    )
    value = npn.coefficients["loss_consistency"] * npn.losses(context)["loss_consistency"].sum() / 4
    expected = 0.0
    for prompt in range(2):
        q = 1 / (1 + np.exp(-strong[prompt, :, queries[prompt]].detach().double().numpy()))
        hard = weak[prompt].detach().numpy() > 0
        expected += (cross_entropy(q, hard) * weights[prompt].numpy()).mean()
    assert value.item() == pytest.approx(2.0 * 0.2 * expected / 4, rel=1e-5)
    value.backward()
    assert weak.grad is None
    assert strong.grad is not None
    assert "loss_consistency" not in losses(npn, weak, torch.zeros(CELLS), weights)


def test_second_view_changes_colours_only_and_depends_on_the_frame_alone() -> None:
    prompts = [("a", 1, ["x", "y"]), ("b", 2, ["x", "z"])]
    batch = batch_of(prompts, [(8, 12), (12, 8)])
    view = strong_view(batch, (0, 1))
    assert torch.equal(view, strong_view(batch, (0, 1)))
    assert not torch.equal(view, strong_view(batch, (0, 2)))
    assert (view.movedim(2, -1)[batch.padding] == 0).all()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    shown = (view * std + mean).movedim(2, -1)[~batch.padding]
    assert shown.min() > -1e-5
    assert shown.max() < 1 + 1e-5
    alone = batch_of(prompts[1:], [(12, 8)])
    alone.frames.copy_(batch.frames[1:, :, :, :, :8])
    torch.testing.assert_close(strong_view(alone, (0, 1)), view[1:, :, :, :, :8])
    grey = batch_of(prompts[:1], [(8, 12)])
    grey.frames.copy_(((torch.full((3, 1, 1), 0.5) - mean) / std).expand(grey.frames.shape))
    seen = strong_view(grey, (0, 1)) * std + mean
    torch.testing.assert_close(seen[:, :, 0], seen[:, :, 1])
    assert (seen[0, 0] - seen[0, 1]).abs().max() > 1e-3, "each frame has its own draw"


def test_warm_up_has_one_view_and_remembers_nothing(tmp_path: Path) -> None:
    npn = strategy(tmp_path)
    npn.begin_epoch(0, 3)
    losses(npn, torch.zeros(CELLS), torch.zeros(CELLS))
    assert npn.inputs(BATCH, StepPosition(0, 3), 0) == (BATCH, None)
    assert not npn.history.recall(BATCH, CELLS[-2:], torch.device("cpu")).visits.any()
    npn.begin_epoch(2, 3)
    assert npn.inputs(BATCH, StepPosition(2, 3), 0).second_view is not None


def test_counts_of_a_frame_of_many_samples_stay_within_their_limit(tmp_path: Path) -> None:
    """Where every step counts, no number of epochs bounds them; none spills into the other."""
    npn = strategy(tmp_path, layers="all", beta=0.0, warmup_epochs=0)
    npn.begin_epoch(0, 1)
    labels = torch.zeros(CELLS)
    labels[:, :, 0] = 1
    for _ in range(130):  # 260 of either kind
        losses(npn, torch.where(labels > 0, 2.0, -2.0), labels)
    kept = npn.history.recall(BATCH, CELLS[-2:], torch.device("cpu")).values
    present, absent = counts_of(kept)
    assert torch.equal(present > 0, labels > 0) and torch.equal(absent > 0, labels < 1)
    assert max(present.max(), absent.max()) <= 255
    found, reliability = npn.proxy(kept)
    assert torch.equal(found, labels) and reliability.unique().tolist() == [1.0]


@pytest.mark.parametrize(
    ("before", "after"),
    [((253, 254), (255, 254)), ((254, 255), (128, 127)), ((255, 100), (129, 50)), ((0, 9), (2, 9))],
)
def test_counts_beyond_the_limit_are_halved_and_others_stay(
    tmp_path: Path, before: tuple[int, int], after: tuple[int, int]
) -> None:
    npn = strategy(tmp_path)  # label and prediction speak for the foreground: 2 more
    counts = torch.full(CELLS, 256.0 * before[0] + before[1])
    found = npn.counted(counts, torch.full(CELLS, 2.0), torch.ones(CELLS), warm=False)
    assert tuple(part.unique().item() for part in counts_of(found)) == after


def test_options_outside_their_range_are_refused(tmp_path: Path) -> None:
    wrong = {"alpha": -1.0, "beta": -0.1, "focal_alpha": 2.0, "focal_gamma": 0.5}
    wrong |= {"threshold": 1.0, "logit_scale": 0.0, "clamp": 0.5}
    for name, value in wrong.items():
        flag = name.replace("_", "-")
        with pytest.raises(ActisegError, match=rf"--npn\.{flag} is {value}"):
            NPNOptions(**{name: value})
    with pytest.raises(ActisegError, match="--epochs is 130; the counts of npn hold at most 129"):
        strategy(tmp_path).begin_epoch(0, 130)


def test_published_distortion_is_that_of_the_loader_and_keeps_padding() -> None:
    batch = batch_of([("a", 1, ["x", "y"]), ("b", 2, ["x", "z"])], [(8, 12), (12, 8)])
    view = distorted_view(batch, (0, 1))
    assert torch.equal(view, distorted_view(batch, (0, 1)))
    assert (view.movedim(2, -1)[batch.padding] == 0).all()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    values = ((view * std + mean) * 255).movedim(2, -1)[~batch.padding]
    torch.testing.assert_close(values, values.round(), atol=1e-3, rtol=0)
    assert not torch.equal(view, distorted_view(batch, (0, 2)))
