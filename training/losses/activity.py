"""Losses that teach a network from scratch the two cues of activity: words and hands.

Networks that start from published weights have neither head and need neither loss.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from training.losses.matching import sample_at_stride


def narrated_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Whether narrations speak of names, from prompts without pictures.

    Args:
        logits: float [K, 1].
        labels: 0 or 1, float [K].

    Returns:
        Mean cross entropy, a scalar.
    """
    return F.binary_cross_entropy_with_logits(logits[:, 0].float(), labels)


def activity_loss(
    logits: Tensor, masks: Tensor, positive: Tensor, clip_of_prompt: Tensor
) -> Tensor:
    """Whether objects are in use, asked at each of their pixels without a prompt.

    Objects count alike, whatever their size; pixels of no object do not count. An object that is
    active by its name alone cannot be recognised here, so a map that knows the hands answers with
    the share of such objects where no hand is.

    Args:
        logits: `Output.activity`, float [N, T, h, w].
        masks: Masks of all objects, active or not, bool [P, T, H, W].
        positive: 1 if the object is active, int64 [P, T].
        clip_of_prompt: Index of each prompt's clip, int64 [P].

    Returns:
        Mean cross entropy over the objects that are seen, a scalar.
    """
    inside = sample_at_stride(masks, (logits.shape[-2], logits.shape[-1])).float().flatten(2)
    labels = positive.float()[..., None].expand_as(inside)
    own = logits.float().flatten(2)[clip_of_prompt]
    entropy = F.binary_cross_entropy_with_logits(own, labels, reduction="none")
    area = inside.sum(-1)
    of_object = (entropy * inside).sum(-1) / area.clamp(min=1)
    return of_object.sum() / (area > 0).sum().clamp(min=1)
