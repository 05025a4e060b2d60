from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.training.prompts_batch import labels, predictions
from training.losses.matching import (
    corners,
    generalized_iou,
    match,
    matching_costs,
    sample_at_stride,
)

fraction = st.floats(0, 1, width=32)
box = st.tuples(fraction, fraction, fraction, fraction)


def test_the_query_that_equals_the_target_is_matched():
    output, targets = predictions(), labels()
    for prompt, query in enumerate((4, 0, 2)):
        output.logits[prompt, :, query] = 6.0
        output.boxes[prompt, :, query] = targets.boxes[prompt]
        sampled = sample_at_stride(targets.masks[prompt], (6, 8)).float()
        output.masks[prompt, :, query] = 20 * sampled - 10
    assert match([output], targets)[0].tolist() == [4, 0, 2]


def test_every_prompt_is_matched_as_if_it_were_alone():
    output, targets = predictions(prompts=4), labels(prompts=4)
    together = matching_costs(output, targets)
    alone = [
        matching_costs(output.of(slice(i, i + 1)), targets.of(slice(i, i + 1))) for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone))


def test_pixel_weights_do_not_change_the_matching():
    output, targets = predictions(), labels()
    unweighted = replace(targets, weights=None)
    assert torch.equal(matching_costs(output, targets), matching_costs(output, unweighted))


def test_class_cost_ignores_invalid_frames_but_boxes_do_not():
    output, targets = predictions(), labels()
    targets.valid[:, 1] = 0
    costs = matching_costs(output, targets)
    output.logits[:, 1] = 9.0
    assert torch.equal(matching_costs(output, targets), costs)
    output.boxes[:, 1] = 0.1
    assert not torch.equal(matching_costs(output, targets), costs)


def test_a_clip_without_any_valid_frame_has_finite_costs():
    output, targets = predictions(), labels()
    targets.valid[:] = 0
    assert matching_costs(output, targets).isfinite().all()


def test_half_precision_outputs_are_matched_in_float32():
    output, targets = predictions(), labels()
    half = replace(output, logits=output.logits.bfloat16(), masks=output.masks.bfloat16(), aux=())
    assert matching_costs(half, targets).dtype == torch.float32


def test_targets_are_sampled_at_pixels_2_6_10():
    maps = torch.arange(8 * 12).reshape(8, 12)
    assert sample_at_stride(maps, (2, 3)).tolist() == [[26, 30, 34], [74, 78, 82]]


def test_a_map_that_ends_within_a_cell_is_continued_with_zeros():
    maps = torch.ones(6, 9)  # rows 2 and 6: row 6 is outside; columns 2, 6, 10: 10 is outside
    assert sample_at_stride(maps, (2, 3)).tolist() == [[1, 1, 0], [0, 0, 0]]


def test_mask_map_of_another_size_is_refused():
    with pytest.raises(ValueError, match="6x9 do not belong to targets of 24x32"):
        sample_at_stride(torch.zeros(24, 32), (6, 9))


@given(box, box)
def test_generalized_iou_is_bounded_and_symmetric(first, second):
    a, b = corners(torch.tensor(first)), corners(torch.tensor(second))
    value = generalized_iou(a, b)
    assert -1.001 <= value <= 1.001
    torch.testing.assert_close(value, generalized_iou(b, a))


@given(box)
def test_generalized_iou_with_itself_is_almost_one(values):
    # Almost: the smoothed hull term of an exact fit is 1e-6 / (hull + 1e-6).
    corner = corners(torch.tensor(values))
    area = float((corner[2:] - corner[:2]).prod())
    expected = 1 - 1e-6 / (area + 1e-6)
    assert float(generalized_iou(corner, corner)) == pytest.approx(expected, abs=2e-2 / (1 + area))


def test_empty_target_box_has_a_finite_gradient():
    predicted = torch.tensor([0.5, 0.5, 0.0, 0.0], requires_grad=True)
    generalized_iou(corners(predicted), torch.zeros(4)).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
