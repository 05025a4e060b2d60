from dataclasses import replace

import pytest
import torch

from tests.training.prompts_batch import labels, predictions, weight_dict
from training.losses.context import StepContext
from training.losses.criterion import (
    COEFFICIENTS,
    of_prompts,
    published_terms,
    reduced,
    total,
    weigh_samples,
)
from training.losses.matching import match


def terms_of(output, targets, matches=None, use_weights=True):
    return published_terms(StepContext(targets, output, matches=matches, use_weights=use_weights))


def losses_of(output, targets, matches=None, kept=None, use_weights=True):
    context = StepContext(targets, output, matches=matches, use_weights=use_weights)
    return reduced(published_terms(context), context, kept)


def values(losses):
    return {name: float(value) for name, value in losses.items()}


def repeated(record, names):
    """The same frames three times."""
    return replace(
        record, **{name: getattr(record, name).repeat_interleave(3, 1) for name in names}
    )


def test_terms_have_the_published_names_and_coefficients():
    losses = losses_of(predictions(layers=4), labels())
    assert set(losses) == set(weight_dict(3))
    assert weight_dict(3)["loss_dice_2"] == 5
    assert len(losses) == 24


def test_batch_is_the_mean_over_its_prompts():
    # Query terms are divided by all valid frames; the positive term by the prompts.
    output, targets = predictions(prompts=4), labels(prompts=4)
    together = values(losses_of(output, targets))
    alone = [
        values(losses_of(output.of(slice(i, i + 1)), targets.of(slice(i, i + 1)))) for i in range(4)
    ]
    for name, value in together.items():
        assert value == pytest.approx(sum(part[name] for part in alone) / 4, rel=1e-5)


def test_kept_prompts_count_as_if_the_others_were_not_there():
    output, targets = predictions(prompts=4), labels(prompts=4)
    kept = torch.tensor([False, True, True, False])
    some = values(losses_of(output, targets, kept=kept))
    alone = values(losses_of(output.of(slice(1, 3)), targets.of(slice(1, 3))))
    assert some == pytest.approx(alone, rel=1e-5)
    none = losses_of(output, targets, kept=torch.zeros(4, dtype=torch.bool))
    assert set(values(none).values()) == {0.0}


def test_losses_of_prompts_average_to_those_of_the_batch():
    output, targets = predictions(prompts=4), labels(prompts=4)
    alone = of_prompts(terms_of(output, targets), targets.valid)
    means = {name: term.mean() for name, term in alone.items()}
    assert values(means) == pytest.approx(values(losses_of(output, targets)), rel=1e-5)
    assert total(alone).shape == (4,)


def test_mask_terms_shrink_with_the_number_of_frames_and_others_do_not():
    output, targets = predictions(frames=1), labels(frames=1)
    tripled = repeated(replace(output, aux=()), ("logits", "boxes", "masks"))
    longer = repeated(targets, ("masks", "weights", "boxes", "valid", "positive"))
    once = values(losses_of(replace(output, aux=()), targets))
    thrice = values(losses_of(tripled, longer))
    assert thrice["loss_mask"] == pytest.approx(once["loss_mask"] / 3, rel=1e-5)
    for name in ("loss_ce", "loss_bbox", "loss_giou", "loss_positive_labels"):
        assert thrice[name] == pytest.approx(once[name], rel=1e-5)


def test_invalid_frames_are_background_for_the_class_term_only():
    output, targets = predictions(), labels()
    matches = match([*output.aux, output], targets)
    before = values(losses_of(output, targets, matches))
    half = replace(targets, valid=torch.tensor([[1, 0]] * 3))
    after = values(losses_of(output, half, matches))
    # Half as many valid frames: everything that is not the class term doubles.
    for name in ("loss_bbox", "loss_giou", "loss_mask", "loss_dice"):
        assert after[name] == pytest.approx(2 * before[name], rel=1e-5)
    assert after["loss_ce"] != pytest.approx(2 * before["loss_ce"], rel=1e-3)


def test_negative_objects_are_told_to_the_positive_head_only():
    output, targets = predictions(), labels()
    matches = match([*output.aux, output], targets)
    before = values(losses_of(output, targets, matches))
    flipped = replace(targets, positive=1 - targets.positive)
    after = values(losses_of(output, flipped, matches))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"loss_positive_labels", "loss_positive_labels_0"}


def test_one_positive_frame_makes_the_clip_positive():
    output, targets = predictions(), labels()
    partly = replace(targets, positive=targets.positive * torch.tensor([0, 1]))
    assert values(losses_of(output, targets)) == values(losses_of(output, partly))


def test_weights_change_the_mask_term_only():
    output, targets = predictions(), labels()
    weighted, plain = (
        values(losses_of(output, targets, use_weights=flag)) for flag in (True, False)
    )
    changed = {name for name in plain if plain[name] != weighted[name]}
    assert changed == {"loss_mask", "loss_mask_0"}


def test_the_mean_is_over_pixels_not_over_weights():
    output, targets = predictions(layers=1), labels()
    doubled = replace(targets, weights=2 * targets.weights)
    once, twice = (values(losses_of(output, t))["loss_mask"] for t in (targets, doubled))
    assert twice == pytest.approx(2 * once, rel=1e-5)


def test_padding_counts_only_without_weights():
    output, targets = predictions(layers=1), labels()
    targets.weights[..., 16:] = 0  # as the collate function leaves the padding
    targets.masks[..., 16:] = False
    matches = match([*output.aux, output], targets)
    noisy = replace(output, masks=output.masks.clone())
    noisy.masks[..., 4:] += 3
    mask = {
        flag: [
            values(losses_of(o, targets, matches, use_weights=flag))["loss_mask"]
            for o in (output, noisy)
        ]
        for flag in (True, False)
    }
    assert mask[True][0] == mask[True][1]
    assert mask[False][0] != mask[False][1]


def test_missing_weights_are_refused():
    with pytest.raises(ValueError, match="no pixel weights"):
        losses_of(predictions(), replace(labels(), weights=None))


def test_terms_of_prompts_are_summed_over_frames_and_scalars_stay():
    output, targets = predictions(layers=1), labels()
    context = StepContext(targets, output)
    terms = {"loss_mask": torch.full((3,), 6.0), "loss_batch": torch.tensor(5.0)}
    assert values(reduced(terms, context)) == {"loss_mask": 3 * 6.0 / 6, "loss_batch": 5.0}
    kept = torch.tensor([True, False, False])
    assert values(reduced(terms, context, kept)) == {"loss_mask": 3.0, "loss_batch": 5.0}
    assert set(of_prompts(terms, targets.valid)) == {"loss_mask"}


def test_samples_can_be_weighed_one_by_one():
    output, targets = predictions(prompts=4), labels(prompts=4)
    terms = terms_of(output, targets)
    kept = torch.tensor([False, True, True, False])
    weighed = of_prompts(weigh_samples(terms, 2.0 * kept), targets.valid)
    for name, plain in of_prompts(terms, targets.valid).items():
        torch.testing.assert_close(weighed[name], 2 * plain * kept)


def test_new_labels_are_matched_anew_and_leave_the_former_ones():
    output, targets = predictions(), labels()
    context = StepContext(targets, output)
    before = context.labels.clone()
    other = context.relabelled(masks=~targets.masks)
    assert torch.equal(other.labels, 1 - before)
    assert torch.equal(context.labels, before)
    expected = match([*output.aux, output], replace(targets, masks=~targets.masks))
    assert torch.equal(other.last.queries, expected[-1])
    assert torch.equal(other.earlier[0].queries, expected[0])


def test_total_weighs_every_layer_alike():
    losses = losses_of(predictions(layers=3), labels())
    expected = sum(
        COEFFICIENTS[name.removesuffix("_0").removesuffix("_1")] * float(value)
        for name, value in losses.items()
    )
    assert float(total(losses)) == pytest.approx(expected, rel=1e-5)


def test_total_refuses_a_term_that_it_does_not_know():
    with pytest.raises(KeyError):
        total({"loss_unknown": torch.tensor(1.0)})


def test_only_the_matched_query_gets_a_mask_gradient():
    output, targets = predictions(layers=1), labels()
    output.masks.requires_grad_()
    matched = match([*output.aux, output], targets)[0]
    total(losses_of(output, targets)).backward()
    touched = output.masks.grad.abs().sum((1, 3, 4)) > 0
    assert touched.long().argmax(1).tolist() == matched.tolist()
    assert touched.sum(1).tolist() == [1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_extreme_logits_give_finite_losses_and_gradients(dtype):
    output, targets = predictions(layers=1), labels()
    leaves = [
        getattr(output, name).mul(sign * 1e4).to(dtype).requires_grad_()
        for name, sign in (("logits", 1), ("masks", -1), ("positives", 1))
    ]
    extreme = replace(output, logits=leaves[0], masks=leaves[1], positives=leaves[2])
    targets.valid[:] = 0
    loss = total(losses_of(extreme, targets))
    loss.backward()
    assert loss.isfinite()
    assert all(leaf.grad.isfinite().all() for leaf in leaves)
