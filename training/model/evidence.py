"""Evidence that an object is active: what the narration says and what the picture shows.

A network from scratch takes long to find, by the activity of objects alone, that both the words
and the hands matter. Here each has a head and a loss of its own (`training/losses/activity.py`),
and the positive head adds what they say.
"""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.per_prompt import times_shared


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What evidence heads judge by, for P prompts of N clips.

    Attributes:
        features: Prompt-free features of each prompt's picture, [P, T, D, h, w]; if all prompts
            share one, [1, T, D, h, w].
        activity: Logits that what lies at a pixel is in use, of each clip, [N, T, h, w].
        activity_of_prompts: The same for each prompt, [P, T, h, w]; or shared, [1, T, h, w].
        narrated: Logit that the narration speaks of the object, [P, 1].
        shared: Whether all prompts share one picture.
    """

    features: Tensor
    activity: Tensor
    activity_of_prompts: Tensor
    narrated: Tensor
    shared: bool = False


class ActivityMap(nn.Module):
    """Judges for every pixel, without any prompt, whether what lies there is in use.

    Args:
        width: Channels D of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Conv2d(width, width // 2, 3, padding=1)
        self.out = nn.Conv2d(width // 2, 1, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Maps stride-4 features [N, T, D, h, w] to logits [N, T, h, w]."""
        flat = features.flatten(0, 1)
        return self.out(F.relu(self.hidden(flat)))[:, 0].unflatten(0, features.shape[:2])


def silence(part: nn.Module) -> None:
    """Makes an evidence part answer 0, neither yes nor no, and takes it out of training."""
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.zero_()
    part.requires_grad_(False)


class EvidenceHead(nn.Module):
    """Adds to the positive logit what the words say and what the picture shows under the mask.

    An object is active if it is narrated or if a hand uses it (ActionVOS, Sec. 3), so the larger
    of both cues is where this head starts from. Masks and cues are detached: the positive loss
    bends neither.

    Args:
        width: Channels D of queries and features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, 1)
        self.cues = nn.Linear(3, 1)
        with torch.no_grad():
            self.cues.weight.copy_(torch.tensor([[0.0, 0.0, 1.0]]))
            self.cues.bias.zero_()

    def forward(
        self,
        queries: Tensor,
        logits: Tensor,
        masks: Tensor,
        evidence: Evidence,
    ) -> Tensor:
        """Judges each prompt.

        Args:
            queries: Decoder output, [P, T, Q, D].
            logits: Class logits, [P, T, Q, 1]; they say which query to believe.
            masks: Mask logits, [P, T, Q, h, w].
            evidence: What picture and narration say.

        Returns:
            Logit to add, [P, 1].
        """
        cover = masks.detach().float().sigmoid().flatten(3)
        cover = cover / (cover.sum(-1, keepdim=True) + 1.0)
        flat = evidence.features.flatten(3)
        active = evidence.activity_of_prompts.detach().float().flatten(2)[..., None]
        times = times_shared if evidence.shared else torch.matmul
        under = times(cover.to(flat.dtype), flat.transpose(2, 3))
        everywhere = flat.mean(3)[:, :, None].expand_as(under)
        shown = times(cover, active)
        said = evidence.narrated.detach().float()[:, None, None].expand_as(shown)
        cues = torch.cat([said, shown, torch.maximum(said, shown)], -1)
        answer = self.out(F.relu(self.hidden(torch.cat([queries, under, everywhere], -1))))
        answer = answer + self.cues(cues)
        believed = F.softmax(logits.detach().float(), dim=2).to(answer.dtype)
        return (answer * believed).sum(2).mean(1)
