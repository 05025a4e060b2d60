"""The late prompt decoder: prompts of one clip, of several clips, with and without padding."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from training.model import ModelConfig, build_model, preset
from training.model.late import mask_centres
from training.model.network import ActionVOS


@pytest.fixture(scope="module")
def model() -> ActionVOS:
    torch.manual_seed(0)
    small = dataclasses.replace(preset("small"), backbone="small", queries=2)
    return build_model(small).eval()


def _text(prompts: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(4, 900, (prompts, 6), generator=torch.Generator().manual_seed(prompts))
    return ids, torch.ones_like(ids)


@torch.no_grad()
def test_prompts_do_not_influence_each_other(model: ActionVOS) -> None:
    frames = torch.randn(1, 2, 3, 64, 96)
    ids, mask = _text(3)
    sizes = torch.tensor([[64, 96]])
    together = model(frames, None, ids, mask, sizes)
    for index in range(3):
        alone = model(frames, None, ids[index : index + 1], mask[index : index + 1], sizes)
        torch.testing.assert_close(together.masks[index], alone.masks[0], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(together.boxes[index], alone.boxes[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("padded", [False, True])
def test_clips_of_a_batch_are_those_of_single_clips(model: ActionVOS, padded: bool) -> None:
    frames = torch.randn(2, 1, 3, 64, 96)
    padding = torch.zeros(2, 1, 64, 96, dtype=torch.bool)
    if padded:
        padding[1, :, 48:] = True
        frames[1, :, :, 48:] = 0
    ids, mask = _text(3)
    sizes = torch.tensor([[64, 96], [48 if padded else 64, 96]])
    owners = torch.tensor([0, 1, 1])
    given = padding if padded else None
    batch = model(frames, given, ids, mask, sizes, owners)
    for clip in range(2):
        own = owners == clip
        alone = model(
            frames[clip : clip + 1],
            padding[clip : clip + 1] if padded else None,
            ids[own],
            mask[own],
            sizes[clip : clip + 1],
        )
        torch.testing.assert_close(batch.masks[own], alone.masks, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(batch.positives[own], alone.positives, atol=1e-4, rtol=1e-4)


def test_every_parameter_learns(model: ActionVOS) -> None:
    ids, mask = _text(2)
    output = model(
        torch.randn(1, 1, 3, 64, 96), None, ids, mask, torch.tensor([[64, 96]]), pairs=(ids, mask)
    )
    values = [
        value
        for layer in (*output.aux, output)
        for value in (layer.logits, layer.boxes, layer.masks, layer.positives)
    ]
    values += [value for value in (output.activity, output.narrated) if value is not None]
    torch.stack([value.sum() for value in values]).sum().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None] == []
    model.zero_grad()


def test_masks_lie_where_their_cells_are() -> None:
    """With the middle of the picture as one more cell."""
    masks = torch.full((2, 1, 1, 4, 8), -30.0)
    masks[0, 0, 0, 1, 6] = masks[1, 0, 0, 2:4, 2:4] = 30
    spot = [(6.5 / 8 + 0.5) / 2, (1.5 / 4 + 0.5) / 2]
    square = [(4 * 3 / 8 + 0.5) / 5, (4 * 3 / 4 + 0.5) / 5]
    centres = mask_centres(masks, None)[:, 0, 0]
    torch.testing.assert_close(centres, torch.tensor([spot, square]))
    padding = torch.zeros(2, 1, 4, 8, dtype=torch.bool)
    padding[1, :, 3] = padding[1, :, :, 4:] = True
    half = [(2 * 3 / 4 + 0.5) / 3, (2 * 2.5 / 3 + 0.5) / 3]
    centres = mask_centres(masks, padding)[:, 0, 0]
    torch.testing.assert_close(centres, torch.tensor([spot, half]))


def test_early_and_late_words_exclude_each_other() -> None:
    with pytest.raises(ValueError, match="late_words"):
        ModelConfig(late_words=True)
