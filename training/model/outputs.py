"""What the network gives: features of pictures, and predictions."""

from __future__ import annotations

import dataclasses

from torch import Tensor

MASK_STRIDE = 4
"""Pixels of the model input for each cell of the predicted mask maps."""
Trace = dict[str, Tensor]
"""Intermediate tensors by name, for comparisons with other implementations."""


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """What does not depend on the prompt, for N clips of T frames.

    Attributes:
        levels: Features at strides 8, 16, 32, 64, [N, T, D, h, w] each.
        fine: Stride-4 features, [N, T, D, h, w]: after the clip's self-attention, or, if no level
            of the mask pyramid reads words, the mask features themselves.
        paddings: Padding at strides 4, 8, 16, 32, 64, bool [N, T, h, w] each, or None.
        embedding: Pooled backbone statistics of each frame, [N, T, E].
    """

    levels: tuple[Tensor, ...]
    fine: Tensor
    paddings: tuple[Tensor, ...] | None
    embedding: Tensor


@dataclasses.dataclass(frozen=True)
class LayerOutput:
    """Predictions after one decoder layer, as logits.

    Attributes:
        logits: Class logit of each query, [P, T, Q, 1].
        boxes: (cx, cy, w, h) in fractions of the clip's unpadded size, [P, T, Q, 4].
        masks: Mask logits at stride 4, [P, T, Q, h, w].
        positives: Logit that the object is active in the clip, [P, 1].
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    positives: Tensor


@dataclasses.dataclass(frozen=True)
class Output(LayerOutput):
    """Predictions of the last layer, of the earlier ones, and what further heads need.

    Attributes:
        aux: Earlier layers, first to last; empty unless asked for.
        hidden: Decoder outputs, [layers, P, T, Q, D].
        references: Boxes refined by each layer, [layers, P, T, Q, 4].
        initial_references: First reference points, [P, T, Q, 2].
        mask_features: [P, T, D, h, w].
        embedding: Mean image statistics of each clip, [N, E].
        likeness: Mask logits that all queries and layers share, [P, T, 1, h, w]; None without them.
        activity: Logits that what lies at a pixel is in use, whatever the prompt, [N, T, h, w];
            None without `mask_evidence`.
        narrated: Logit for prompts without a picture that the narration speaks of the object,
            [K, 1]; None unless asked for.
        extra: What heads that a learning strategy adds say, in its own order and shapes.
    """

    aux: tuple[LayerOutput, ...]
    hidden: Tensor
    references: Tensor
    initial_references: Tensor
    mask_features: Tensor
    embedding: Tensor
    likeness: Tensor | None = None
    activity: Tensor | None = None
    narrated: Tensor | None = None
    extra: tuple[Tensor, ...] = ()

    @property
    def reference_points(self) -> Tensor:
        """Box centres that the last layer started from, [P, T, Q, 2]."""
        if len(self.references) == 1:
            return self.initial_references
        return self.references[-2][..., :2]
