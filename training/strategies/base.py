"""What a learning strategy may change, and nothing else.

The engine owns the loop, the optimiser, mixed precision, processes and checkpoints; the matcher,
boxes, classes, Dice and the positive head stay as they are. A strategy may change the network
(an auxiliary head), the mask term, terms beside it, what it remembers for each pixel, and the
augmentation it needs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn

from training.losses import MaskLoss, focal_mask_loss

if TYPE_CHECKING:
    from training.data.clips import Batch
    from training.model import ActionVOS, Output


class Strategy:
    """The published training, and the places where a subclass departs from it."""

    name: ClassVar[str]
    spatial_augmentation: ClassVar[bool] = True
    """False for strategies that remember single pixels between epochs."""

    @property
    def mask_loss(self) -> MaskLoss:
        """The mask term of the last decoder layer."""
        return focal_mask_loss

    @property
    def aux_mask_loss(self) -> MaskLoss:
        """The mask term of the earlier decoder layers."""
        return self.mask_loss

    def extend(self, model: ActionVOS) -> nn.Module:
        """The network that is trained, e.g. the model with an auxiliary head; same `forward`."""
        return model

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model that is validated and exported: without what only training needs."""
        return cast("ActionVOS", network)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Told before each epoch (counted from 0) of how many."""

    def begin_batch(self, batch: Batch) -> None:
        """Told of the batch whose losses come next; it names every prompt's pixels.

        A pixel history is keyed by (sequence, object id, frame), which the batch carries.
        """

    def extra_losses(self, output: Output, batch: Batch) -> Mapping[str, Tensor]:
        """Scalars that are added to the total as they are."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run needs besides the network: tensors and plain values only."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
