"""What the picture shows where the mask lies, as evidence that the object is active."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class EvidenceHead(nn.Module):
    """Adds to the positive logit what the features under the predicted mask say.

    Whether a hand uses an object shows at the object. A network from scratch takes long to learn
    to look there; pooling the features under its own mask looks there from the first step. The
    masks are detached, so the positive loss does not bend them.

    Args:
        width: Channels D of queries and features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(3 * width, width)
        self.out = nn.Linear(width, 1)

    def forward(self, queries: Tensor, logits: Tensor, masks: Tensor, features: Tensor) -> Tensor:
        """Judges each prompt.

        Args:
            queries: Decoder output, [P, T, Q, D].
            logits: Class logits, [P, T, Q, 1]; they say which query to believe.
            masks: Mask logits, [P, T, Q, h, w].
            features: Prompt-free features of the picture, [P, T, D, h, w].

        Returns:
            Logit to add, [P, 1].
        """
        cover = masks.detach().float().sigmoid().flatten(3)
        cover = cover / (cover.sum(-1, keepdim=True) + 1.0)
        flat = features.flatten(3)
        under = cover.to(flat.dtype) @ flat.transpose(2, 3)
        everywhere = flat.mean(3)[:, :, None].expand_as(under)
        believed = F.softmax(logits.detach().float(), dim=2).to(flat.dtype)
        seen = torch.cat([queries, under, everywhere], -1)
        answer = self.out(F.relu(self.hidden(seen)))
        return (answer * believed).sum(2).mean(1)
