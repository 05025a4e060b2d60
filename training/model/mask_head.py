"""Dynamic mask head: every query brings the weights of its own small network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.model.attention import MLP
from training.model.config import ModelConfig
from training.model.outputs import MASK_STRIDE
from training.model.per_prompt import times_shared


class DynamicMaskHead(nn.Module):
    """Three 1x1 layers (D + 2, c, c, 1) whose 2153 parameters (r101) come from the query.

    The parameters are laid out as the weights of layers 1, 2, 3, then their biases. The layers are
    matrix products, so that prompts, frames and queries are one batch and any exporter sees plain
    operators. A second instance can share the features of a model (as PMHM's auxiliary head does).
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.features = config.width
        self.inner = config.mask_channels
        self.coordinate_scale = config.coordinate_scale
        c = self.inner
        self.sizes = (c * (self.features + 2), c * c, c, c, c, 1)
        self.controller = MLP(config.width, config.width, sum(self.sizes), 3)
        for layer in self.controller.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)

    def coordinates(self, centres: Tensor, sizes: Tensor, shape: tuple[int, int]) -> Tensor:
        """Query centre minus cell centre, in pixels of the model input times the scale.

        Args:
            centres: (x, y) in fractions of the clip's unpadded size, [P, T, Q, 2].
            sizes: Unpadded height and width of each prompt's clip in pixels, [P or 1, 2].
            shape: (h, w) of the mask features.

        Returns:
            [P, T, Q, 2, h * w], x before y.
        """
        h, w = shape
        centres = centres * sizes.flip(-1)[:, None, None].to(centres.dtype)
        y = torch.arange(h, dtype=centres.dtype, device=centres.device)
        x = torch.arange(w, dtype=centres.dtype, device=centres.device)
        half = MASK_STRIDE // 2
        rows, columns = torch.meshgrid(
            y * MASK_STRIDE + half, x * MASK_STRIDE + half, indexing="ij"
        )
        cells = torch.stack((columns, rows)).reshape(2, h * w)
        return (centres[..., None] - cells) * self.coordinate_scale

    def forward(
        self,
        hidden: Tensor,
        centres: Tensor,
        mask_features: Tensor,
        sizes: Tensor,
        trace: dict[str, Tensor] | None = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """Draws one mask per query.

        Args:
            hidden: Decoder output, [P, T, Q, D].
            centres: Refined box centres (x, y), fractions, [P, T, Q, 2].
            mask_features: [P, T, D, h, w]; [1, T, D, h, w] if all prompts share them.
            sizes: Unpadded (height, width) of each clip in pixels, [P or 1, 2].
            trace: Receives the parameters as `controller`, if given.
            shared: Whether all prompts share the mask features.

        Returns:
            Mask logits [P, T, Q, h, w].
        """
        shape = (mask_features.shape[-2], mask_features.shape[-1])
        parameters = self.controller(hidden)
        if trace is not None:
            trace["controller"] = parameters
        w1, w2, w3, b1, b2, b3 = parameters.split(self.sizes, -1)
        c, queries = self.inner, hidden.shape[2]
        w1 = w1.unflatten(-1, (c, self.features + 2))
        # The product with the features runs over all queries at once and never repeats them.
        kernels = w1[..., : self.features].flatten(2, 3)
        flat = mask_features.flatten(3)
        x = times_shared(kernels, flat) if shared else kernels @ flat
        x = x.unflatten(2, (queries, c))
        x = x + w1[..., self.features :] @ self.coordinates(centres, sizes, shape)
        x = F.relu(x + b1[..., None])
        x = F.relu(w2.unflatten(-1, (c, c)) @ x + b2[..., None])
        x = w3[..., None, :] @ x + b3[..., None]
        return x.squeeze(3).unflatten(-1, shape)


def likeness_masks(kernels: Tensor, features: Tensor, *, shared: bool = False) -> Tensor:
    """Mask logits by how much each pixel looks like the sentence.

    Args:
        kernels: What to look for and how much of it, made from the sentences, [P, D + 1].
        features: [P, T, D, h, w]; [1, T, D, h, w] if all prompts share them.
        shared: Whether they do.

    Returns:
        [P, T, 1, h, w].
    """
    kernels = kernels[:, None, None].expand(-1, features.shape[1], -1, -1)
    flat, wanted = features.flatten(3), kernels[..., :-1]
    looks = times_shared(wanted, flat) if shared else wanted @ flat
    looks = looks / features.shape[2] ** 0.5
    return (looks + kernels[..., -1:]).unflatten(-1, features.shape[-2:])
