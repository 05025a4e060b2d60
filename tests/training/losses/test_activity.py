"""The two cues of activity: their losses, and the head that starts from the larger of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from training.losses.activity import activity_loss, narrated_loss
from training.model.evidence import Evidence, EvidenceHead


def literal_activity_loss(
    logits: np.ndarray, masks: np.ndarray, positive: np.ndarray, clip_of_prompt: np.ndarray
) -> float:
    """Mean over the visible objects of the mean cross entropy of their cells."""
    total, seen = 0.0, 0
    for prompt, clip in enumerate(clip_of_prompt):
        for time in range(masks.shape[1]):
            cells = [
                logits[clip, time, row, column]
                for row in range(logits.shape[2])
                for column in range(logits.shape[3])
                if masks[prompt, time, 4 * row + 2, 4 * column + 2]
            ]
            if cells:
                probability = 1 / (1 + np.exp(-np.array(cells)))
                said = probability if positive[prompt, time] else 1 - probability
                total += float(-np.log(said).mean())
                seen += 1
    return total / max(1, seen)


def test_activity_loss_is_the_mean_over_objects() -> None:
    random = np.random.default_rng(0)
    logits = random.normal(size=(2, 2, 5, 6))
    masks = random.random((4, 2, 20, 24)) < 0.2
    masks[3, 1] = False  # not seen in this frame
    positive = np.array([[1, 1], [0, 0], [1, 1], [0, 0]])
    clip_of_prompt = np.array([0, 0, 1, 1])
    loss = activity_loss(
        torch.tensor(logits),
        torch.tensor(masks),
        torch.tensor(positive),
        torch.tensor(clip_of_prompt),
    )
    wanted = literal_activity_loss(logits, masks, positive, clip_of_prompt)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)


def test_activity_loss_without_any_object_is_zero() -> None:
    loss = activity_loss(
        torch.zeros(1, 1, 2, 2),
        torch.zeros(1, 1, 8, 8, dtype=torch.bool),
        torch.zeros(1, 1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    )
    assert loss.item() == 0


def test_pixels_outside_objects_do_not_teach() -> None:
    logits = torch.zeros(1, 1, 2, 2, requires_grad=True)
    masks = torch.zeros(1, 1, 8, 8, dtype=torch.bool)
    masks[..., 2, 2] = True
    activity_loss(
        logits,
        masks,
        torch.ones(1, 1, dtype=torch.int64),
        torch.zeros(1, dtype=torch.int64),
    ).backward()
    assert logits.grad is not None
    assert logits.grad.flatten().tolist() == pytest.approx([-0.5, 0, 0, 0])


def test_narrated_loss_is_cross_entropy() -> None:
    loss = narrated_loss(torch.tensor([[2.0], [-1.0]]), torch.tensor([1.0, 1.0]))
    wanted = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("said", [-3.0, 3.0])
@pytest.mark.parametrize("shown", [-2.0, 2.0])
def test_the_evidence_starts_from_the_larger_cue(said: float, shown: float) -> None:
    head = EvidenceHead(4)
    with torch.no_grad():
        head.out.weight.zero_()
        head.out.bias.zero_()
    masks = torch.full((1, 1, 2, 3, 3), -30.0)
    masks[..., 1, 1] = 30.0  # only this cell is covered
    activity = torch.full((1, 1, 3, 3), 9.0)
    activity[..., 1, 1] = 2 * shown  # the cover of one cell counts half, by its norm
    evidence = head(
        torch.zeros(1, 1, 2, 4),
        torch.zeros(1, 1, 2, 1),
        masks,
        Evidence(torch.zeros(1, 1, 4, 3, 3), activity, activity, torch.tensor([[said]])),
    )
    assert evidence.item() == pytest.approx(max(said, shown), abs=1e-4)
