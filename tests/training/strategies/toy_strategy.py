"""A strategy that uses every place a strategy may act at; the tests drop it into the package."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import StepContext, StepPosition, matched
from training.losses.criterion import (
    Terms,
    detection_terms,
    dice_loss,
    focal_mask_loss,
    weigh_samples,
)
from training.strategies.base import StepInputs, Strategy, register

if TYPE_CHECKING:
    from training.data.clips import Batch


@dataclass(frozen=True)
class ToyOptions(StrategyOptions):
    """A toy."""

    prompts: bool = True
    """Ask for something else."""
    labels: bool = True
    """Learn the masks that the teacher sees, and match by them."""
    samples: float = 0.5
    """Weight of every second sample, at least 0."""
    pixels: float = 3.0
    """Weight of pixels that the peer is unsure of, at least 0."""
    agreement: float = 0.1
    """Weight of the distance from the teacher, at least 0."""

    def __post_init__(self) -> None:
        require(self.samples >= 0, "toy.samples", self.samples, "at least 0")


@register("toy", "Toy", ToyOptions)
class Toy(Strategy[ToyOptions]):
    """Two networks with a teacher each, other prompts and labels, and weights for what is odd."""

    networks = 2
    teacher_decay = 0.5

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """Asks for a thing, whatever it is called."""
        if not self.options.prompts:
            return StepInputs(batch)
        captions = [f"thing {caption.partition(' used ')[2]}" for caption in batch.captions]
        return StepInputs(replace(batch, captions=captions))

    def losses(self, context: StepContext) -> Terms:
        """The published terms on labels, samples and pixels of its own."""
        options = self.options
        teacher, (peer,) = context.teacher, context.peers
        if options.labels:
            seen = matched(teacher.masks, context.last.queries) > 0
            whole = torch.nn.functional.interpolate(seen.float(), context.batch.masks.shape[-2:])
            context = context.relabelled(masks=whole > 0.5)
        unsure = matched(peer.masks, context.last.queries).float().sigmoid().sub(0.5).abs() < 0.2
        assert context.weights is not None
        pixels = context.weights * (1 + (options.pixels - 1) * unsure)

        terms = detection_terms(context)
        for layer in context.layers:
            terms[layer.name("loss_mask")] = focal_mask_loss(layer.logits, context.labels, pixels)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        taught = matched(teacher.masks, context.last.queries).float()
        apart = context.last.logits.sigmoid() - taught.sigmoid()
        terms["loss_agreement"] = apart.square().flatten(1).mean(1)
        context.log["unsure"] = unsure.float().mean()
        every_second = torch.arange(len(context.labels), device=unsure.device) % 2 == 1
        return weigh_samples(terms, torch.where(every_second, options.samples, 1.0))

    @property
    def coefficients(self) -> dict[str, float]:
        """Of the agreement with the teacher."""
        return {"loss_agreement": self.options.agreement}
