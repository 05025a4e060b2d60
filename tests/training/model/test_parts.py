"""The parts against slow, direct forms of the same formulae."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.training.model.micro import MICRO
from training.model.attention import MultiheadAttention
from training.model.backbones import pooled_statistics
from training.model.backbones.residual import FrozenBatchNorm2d
from training.model.deformable_attention import (
    DeformableAttention,
    sample_by_gather,
    sample_by_grid,
)
from training.model.mask_head import DynamicMaskHead
from training.model.positional import (
    map_encoding,
    resize_padding,
    unpadded_map_encoding,
    word_encoding,
)
from training.model.transformer import inverse_sigmoid

sizes = st.integers(1, 9)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.integers(0, 10_000))
def test_both_samplers_agree_inside_and_outside_the_map(h: int, w: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(2, 3, h, w, generator=generator)
    locations = torch.rand(2, 5, 4, 2, generator=generator) * 1.6 - 0.3
    torch.testing.assert_close(
        sample_by_gather(values, locations), sample_by_grid(values, locations), atol=1e-5, rtol=1e-4
    )


def test_samplers_read_cell_centres() -> None:
    values = torch.arange(6.0).reshape(1, 1, 2, 3)
    centres = torch.tensor([[(x + 0.5) / 3, (y + 0.5) / 2] for y in range(2) for x in range(3)])
    for sample in (sample_by_grid, sample_by_gather):
        read = sample(values, centres[None, :, None])
        torch.testing.assert_close(read.flatten(), torch.arange(6.0))


@torch.no_grad()
def test_deformable_attention_is_the_weighted_mean_of_values_it_points_at() -> None:
    attention = DeformableAttention(8, 2, 2, 1)
    nn.init.zeros_(attention.sampling_offsets.bias)
    shapes = ((2, 2), (1, 1))
    source = torch.randn(1, 5, 8)
    references = torch.tensor([0.25, 0.75]).expand(1, 1, 2, 2)  # left column, bottom row
    got = attention(torch.randn(1, 1, 8), references, source, shapes)
    values = attention.value_proj(source)
    # The second level has one cell; half a cell away bilinear reading with zeros outside keeps
    # three quarters in each direction.
    mean = (values[:, 2] + values[:, 4] * 0.75 * 0.75) / 2
    torch.testing.assert_close(got[:, 0], attention.output_proj(mean))


@torch.no_grad()
def test_offsets_count_cells_for_points_and_half_boxes_for_boxes() -> None:
    attention = DeformableAttention(8, 2, 1, 4)
    query = torch.zeros(1, 1, 8)
    offset = attention.sampling_offsets.bias.reshape(2, 1, 4, 2)
    point = attention.locations(query, torch.full((1, 1, 1, 2), 0.5), [(10, 20)])
    torch.testing.assert_close(point[0, 0], 0.5 + offset / torch.tensor([20.0, 10.0]))
    box = attention.locations(
        query, torch.tensor([0.5, 0.5, 0.2, 0.4]).expand(1, 1, 1, 4), [(10, 20)]
    )
    expected = 0.5 + offset / 4 * torch.tensor([0.2, 0.4]) * 0.5
    torch.testing.assert_close(box[0, 0], expected)


@torch.no_grad()
def test_attention_agrees_with_pytorch() -> None:
    ours = MultiheadAttention(16, 4, dropout=0.0).eval()
    nn.init.normal_(ours.in_proj_bias)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True).eval()
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(2, 3, 16), torch.randn(2, 5, 16), torch.randn(2, 5, 16)
    padding = torch.tensor([[False] * 5, [False, False, False, True, True]])
    expected = theirs(query, key, value, key_padding_mask=padding)[0]
    torch.testing.assert_close(ours(query, key, value, padding), expected)


@torch.no_grad()
def test_frozen_batch_norm_agrees_with_pytorch_in_evaluation() -> None:
    theirs = nn.BatchNorm2d(3).eval()
    for tensor in (theirs.weight, theirs.bias, theirs.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(theirs.running_var, 0.5, 2)
    ours = FrozenBatchNorm2d(3)
    state = {k: v for k, v in theirs.state_dict().items() if k != "num_batches_tracked"}
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(ours(x), theirs(x))
    assert not list(ours.parameters())


@settings(max_examples=30, deadline=None)
@given(sizes, sizes)
def test_encoding_without_padding_is_that_of_an_empty_mask(h: int, w: int) -> None:
    empty = map_encoding(torch.zeros(1, h, w, dtype=torch.bool), 16)
    torch.testing.assert_close(unpadded_map_encoding((h, w), 16, torch.device("cpu")), empty)


def test_encoding_is_normalised_to_the_unpadded_size() -> None:
    padding = torch.ones(1, 6, 8, dtype=torch.bool)
    padding[:, :4, :5] = False
    padded = map_encoding(padding, 16)[:, :, :4, :5]
    torch.testing.assert_close(padded, unpadded_map_encoding((4, 5), 16, torch.device("cpu")))
    # y first, then x; the first channel is the sine of the undivided angle
    angle = (torch.arange(4) + 0.5) / 4 * 2 * math.pi
    torch.testing.assert_close(padded[0, 0, :, 0], angle.sin(), atol=1e-5, rtol=1e-5)
    assert (padded[0, 0] == padded[0, 0, :, :1]).all()
    assert (padded[0, 8] == padded[0, 8, :1]).all()


def test_word_encoding_counts_from_one_and_ends_at_two_pi() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0]])
    encoding = word_encoding(mask, 8)
    angle = torch.arange(1, 5) / 4 * 2 * math.pi
    torch.testing.assert_close(encoding[0, :4, 0], angle.sin(), atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(4, 70), st.integers(1, 3))
def test_padding_is_sampled_at_the_floor(length: int, stride: int) -> None:
    padding = torch.arange(length)[None, None] % 3 == 0
    small = -(-length // 2**stride)
    got = resize_padding(padding, (1, small))
    index = [i * length // small for i in range(small)]
    assert got.flatten().tolist() == padding.flatten()[index].tolist()


@torch.no_grad()
def test_mask_head_is_three_convolutions_on_features_and_pixel_offsets() -> None:
    head = DynamicMaskHead(MICRO)
    nn.init.normal_(head.controller.last.bias, std=0.1)
    hidden, centres = torch.randn(2, 2, 3, 16), torch.rand(2, 2, 3, 2)
    features, size = torch.randn(2, 2, 16, 4, 6), torch.tensor([[16, 24], [14, 20]])
    got = head(hidden, centres, features, size)
    parameters = head.controller(hidden)
    for p in range(2):
        for t in range(2):
            for q in range(3):
                x = torch.cat([features[p, t], torch.empty(2, 4, 6)])
                for i in range(4):
                    for j in range(6):
                        x[16, i, j] = (centres[p, t, q, 0] * size[p, 1] - (4 * j + 2)) / 64
                        x[17, i, j] = (centres[p, t, q, 1] * size[p, 0] - (4 * i + 2)) / 64
                w1, w2, w3, b1, b2, b3 = parameters[p, t, q].split([144, 64, 8, 8, 8, 1])
                x = F.conv2d(x[None], w1.view(8, 18, 1, 1), b1).relu()
                x = F.conv2d(x, w2.view(8, 8, 1, 1), b2).relu()
                x = F.conv2d(x, w3.view(1, 8, 1, 1), b3)
                torch.testing.assert_close(got[p, t, q], x[0, 0], atol=1e-4, rtol=1e-4)


def test_published_mask_head_has_2153_parameters() -> None:
    from training.model import PRESETS

    assert sum(DynamicMaskHead(PRESETS["r101"]).sizes) == 2153


def test_inverse_sigmoid_is_finite_at_the_ends() -> None:
    x = torch.tensor([0.0, 0.3, 1.0])
    y = inverse_sigmoid(x)
    assert y.isfinite().all()
    assert y[1].sigmoid().item() == pytest.approx(0.3)


def test_pooled_statistics_are_means_then_deviations_of_each_stage() -> None:
    a, b = torch.randn(2, 3, 4, 5), torch.randn(2, 2, 2, 2)
    got = pooled_statistics([a, b])
    expected = [a.mean((2, 3)), a.std((2, 3), correction=0)]
    expected += [b.mean((2, 3)), b.std((2, 3), correction=0)]
    torch.testing.assert_close(got, torch.cat(expected, 1))
