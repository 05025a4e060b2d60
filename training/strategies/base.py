"""What a learning strategy may change, and nothing else.

The engine owns the loop, the optimiser, mixed precision, processes and checkpoints; the matcher,
boxes, classes and the positive head stay as they are. A strategy may change the network
(an auxiliary head), how many networks there are, the mask terms, terms beside them, which samples
count, what it remembers for each pixel, and the augmentation it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from training.losses.criterion import MaskLoss, focal_mask_loss
from training.losses.matching import sample_at_stride

if TYPE_CHECKING:
    from training.config.run import TrainConfig
    from training.data.clips import Batch
    from training.model import ActionVOS, Output


@dataclass(frozen=True)
class Matched:
    """What the matched query of each prompt says, and its labels, at the stride of the masks."""

    queries: Tensor
    """Matched query of the last decoder layer, int64 [P]."""
    logits: Tensor
    """Mask logits of that query, float32 [P, T, h, w]."""
    masks: Tensor
    """0 or 1, the (noisy) labels sampled at the stride, float32 [P, T, h, w]."""
    weights: Tensor
    """Action-guided pixel weights, 0 on padding, float32 [P, T, h, w]."""
    valid: Tensor
    """1 where the frame counts, int64 [P, T]."""

    @classmethod
    def of(cls, output: Output, batch: Batch, queries: Tensor) -> Matched:
        """Takes the queries' logits from the last layer and samples the labels.

        Args:
            output: Predictions for the P prompts of `batch`.
            batch: Labels on the model input.
            queries: Matched query of each prompt, int64 [P].
        """
        rows = torch.arange(len(queries), device=queries.device)
        size = (output.masks.shape[-2], output.masks.shape[-1])
        return cls(
            queries=queries,
            logits=output.masks[rows, :, queries].float(),
            masks=sample_at_stride(batch.masks, size).float(),
            weights=sample_at_stride(batch.weights, size).float(),
            valid=batch.valid,
        )


class Strategy:
    """The published training, and the places where a subclass departs from it.

    Args:
        options: The strategy's own dataclass (see ``training.config.strategies``), if it has one.
    """

    name: ClassVar[str]
    networks: ClassVar[int] = 1
    """Networks that are trained together; the first is validated and exported."""
    window: int = 0
    """Samples of each process that `keep` sees together; those of one step if these are more."""
    spatial_augmentation: ClassVar[bool] = True
    """False for strategies that remember single pixels between epochs."""
    photometric_augmentation: ClassVar[bool] = True
    """False for strategies that compare frames as they are with distorted ones of their own."""

    def __init__(self, options: Any = None) -> None:
        self.options = options

    @classmethod
    def from_config(cls, config: TrainConfig) -> Strategy:
        """The strategy of a run, with its options."""
        options = config.strategy_options()
        return cls() if options is None else cls(options)

    @property
    def mask_loss(self) -> MaskLoss:
        """The mask term of the last decoder layer."""
        return focal_mask_loss

    @property
    def aux_mask_loss(self) -> MaskLoss:
        """The mask term of the earlier decoder layers."""
        return self.mask_loss

    @property
    def dice_term(self) -> MaskLoss | None:
        """The Dice term of the last decoder layer; None for the published one."""
        return None

    def extend(self, model: ActionVOS) -> nn.Module:
        """The network that is trained, e.g. the model with an auxiliary head; same `forward`."""
        return model

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model that is validated and exported: without what only training needs."""
        return cast("ActionVOS", network)

    def open(self, folder: Path, *, resume: bool) -> None:
        """Told the run's folder before training, where histories may live.

        Every process of a distributed run calls this, before `load_state_dict`.

        Args:
            folder: Folder of the run; it exists.
            resume: Whether a checkpoint is continued; otherwise what is left there is stale.
        """

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Told before each epoch (counted from 0) of how many; again when a run resumes in it."""

    def begin_batch(self, batch: Batch) -> None:
        """Told of the batch whose losses come next; it names every prompt's pixels.

        A pixel history is keyed by (sequence, object id, frame), which the batch carries.
        """

    def second_view(self, batch: Batch) -> Tensor | None:
        """Frames of another view, normalised, float32 [N, T, 3, H, W]; None if there is none.

        The network runs on them too, with the same prompts and padding.
        """
        return None

    def extra_losses(
        self, output: Output, batch: Batch, matched: Matched, second: Output | None
    ) -> Mapping[str, Tensor]:
        """Scalars that are added to the total as they are, already weighted.

        Args:
            output: Predictions on the batch's frames.
            batch: The batch, on the training device.
            matched: The matched queries of the last layer, and their labels.
            second: Predictions on `second_view`, if there was one.
        """
        return {}

    def keep(self, losses: Sequence[Tensor], epoch: int) -> Sequence[Tensor]:
        """Chooses the samples that each network trains on; asked only with several networks.

        Args:
            losses: For each network, the total loss of each sample (prompt), float32 [S].
            epoch: Counted from 0.

        Returns:
            For each network, bool [S].
        """
        return [torch.ones_like(values, dtype=torch.bool) for values in losses]

    def log(self) -> Mapping[str, float]:
        """Numbers about the last step, written beside the losses."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the network: tensors and plain values only.

        Every process calls this when a checkpoint is written (the place to flush files); the first
        process's answer is stored.
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
