from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from training.data.pictures import normalise
from training.evaluation.inference import (
    Answer,
    average,
    choose_query,
    clips_of,
    is_active,
    label_maps,
    predict_clip,
    resize_for_model,
    trained_threshold,
)
from training.model import PRESETS, build_model, tokenize, train_tokenizer

EXPRESSIONS = [f"{name} used in the action of cut pepper" for name in ("knife", "pepper", "pan")]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    tokenizer = train_tokenizer(EXPRESSIONS, 300)
    config = PRESETS["tiny"]
    small = replace(config, input_height=72, input_width=128)
    return build_model(small).eval(), lambda texts: tokenize(tokenizer, texts, 32)


def frames(count: int, height: int = 90, width: int = 160) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return list(rng.integers(0, 256, (count, height, width, 3), np.uint8))


@given(st.integers(20, 300), st.integers(20, 300))
def test_shorter_side_is_as_asked_and_longer_side_truncated(height, width):
    small = resize_for_model(Image.new("RGB", (width, height)), 36)
    longer = int(36 * max(height, width) / min(height, width))
    assert small.size == ((36, longer) if width < height else (longer, 36))


def test_resize_averages_what_it_shrinks():
    stripes = np.zeros((400, 400, 3), np.uint8)
    stripes[::2] = 255
    shrunk = np.asarray(resize_for_model(Image.fromarray(stripes), 40))
    assert abs(shrunk[5:-5].astype(int) - 127).max() <= 8


def test_normalisation_is_by_channel():
    pictures = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    white = normalise(pictures, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    assert white.shape == (1, 3, 2, 2)
    assert white[0, :, 0, 0].tolist() == [1.0, 3.0, 0.5]


def test_query_is_chosen_by_its_mean_score_over_frames():
    # Query 1 is best in one frame, query 2 on average; averaging logits would prefer query 0.
    logits = torch.tensor([[[8.0, 2.0, 1.0], [-1.5, -1.0, 0.9]]])[..., None]
    assert logits.mean(1).argmax() == 0
    assert choose_query(logits).tolist() == [2]


def test_equal_queries_give_the_first():
    assert choose_query(torch.zeros(2, 3, 5, 1)).tolist() == [0, 0]


def test_objects_strictly_below_the_threshold_are_removed():
    logits = torch.tensor([[0.0], [-1e-3], [4.0]])
    assert is_active(logits, 0.5).tolist() == [True, False, True]
    assert is_active(logits, None).tolist() == [True, True, True]


def test_labels_keep_the_place_of_removed_objects():
    masks = torch.full((3, 2, 4, 4), -9.0)
    masks[0], masks[2, 1] = 9.0, 5.0
    labels = label_maps(masks, torch.tensor([False, True, True]), (8, 8))
    assert labels.shape == (2, 8, 8)
    assert labels[0].max() == 0
    assert (labels[1] == 3).all()


def test_first_of_saturated_objects_wins():
    masks = torch.stack([torch.full((1, 4, 4), 40.0), torch.full((1, 4, 4), 90.0)])
    assert (label_maps(masks, torch.ones(2, dtype=torch.bool), (4, 4)) == 1).all()


def test_no_active_object_gives_background():
    labels = label_maps(torch.full((1, 2, 3, 3), 9.0), torch.tensor([False]), (6, 6))
    assert labels.dtype == np.uint8
    assert not labels.any()


def test_more_expressions_than_labels_are_refused():
    with pytest.raises(ValueError, match="256 expressions"):
        label_maps(torch.zeros(256, 1, 1, 1), torch.ones(256, dtype=torch.bool), (1, 1))


@given(st.integers(0, 200), st.integers(1, 50))
def test_clips_cover_every_frame_once(count, length):
    parts = [list(range(count))[part] for part in clips_of(count, length)]
    assert [frame for part in parts for frame in part] == list(range(count))
    assert all(len(part) == length for part in parts[:-1])


def test_backbone_runs_once_for_all_expressions(network):
    model, tokenizer = network
    calls = []
    handle = model.backbone.register_forward_hook(lambda *_: calls.append(1))
    try:
        labels = predict_clip(model, tokenizer, frames(2), EXPRESSIONS, pixels_per_pass=1)
    finally:
        handle.remove()
    assert len(calls) == 1
    assert labels.shape == (2, 90, 160)


def test_decoding_in_parts_changes_nothing(network):
    model, tokenizer = network
    with torch.no_grad():
        for head in model.positive_heads:
            head.bias.fill_(3.0)
    whole = predict_clip(model, tokenizer, frames(2), EXPRESSIONS)
    parts = predict_clip(model, tokenizer, frames(2), EXPRESSIONS, pixels_per_pass=1)
    assert (whole != parts).mean() < 1e-3


def test_no_expression_gives_background(network):
    model, tokenizer = network
    labels = predict_clip(model, tokenizer, frames(1), [])
    assert labels.shape == (1, 90, 160)
    assert not labels.any()


def test_peers_answer_with_the_mean_of_probabilities():
    def answer(masks: float, positive: float) -> Answer:
        return Answer(torch.full((1, 1, 2, 2), masks), torch.full((1, 1), positive))

    sure, unsure = answer(4.0, 6.0), answer(-1.0, -2.0)
    masks, positives = average([sure, unsure])
    # (0.982014 + 0.268941) / 2 and (0.997527 + 0.119203) / 2
    assert masks.sigmoid().numpy() == pytest.approx(np.full((1, 1, 2, 2), 0.625478), abs=1e-5)
    assert float(positives.sigmoid()) == pytest.approx(0.558365, abs=1e-5)
    assert average([sure]) is sure
    # A probability that rounds to 1 must not become infinite.
    assert average([answer(90.0, 90.0), answer(90.0, 90.0)]).masks.isfinite().all()


def test_a_network_is_its_own_best_peer(network):
    model, tokenizer = network
    alone = predict_clip(model, tokenizer, frames(2), EXPRESSIONS, threshold=None)
    together = predict_clip(model, tokenizer, frames(2), EXPRESSIONS, peers=[model], threshold=None)
    assert (alone != together).mean() < 1e-3


def test_threshold_of_a_checkpoint_is_its_runs_own():
    assert trained_threshold({}) == 0.75
    assert trained_threshold({"provenance": '{"run": {"positive_threshold": 0.375}}'}) == 0.375
