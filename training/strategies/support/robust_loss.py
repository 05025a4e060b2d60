"""What the noise-robust pixel losses share: where they stand among the published terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeVar

from torch import Tensor

from training.config.run import StrategyOptions
from training.losses.context import StepContext
from training.losses.criterion import (
    COEFFICIENTS,
    Terms,
    detection_terms,
    dice_loss,
    focal_mask_loss,
)
from training.strategies.base import Strategy
from training.strategies.support.pixelwise import clip_mean


@dataclass(frozen=True, kw_only=True)
class RobustOptions(StrategyOptions):
    """Place of a robust loss; the paper says nothing about it."""

    focal: Literal["replaced", "kept"] = "replaced"
    """The published focal mask term: `replaced` by the robust loss, or `kept` beside it, at the
    same coefficient (the released commands)."""
    weighted: bool = True
    """Weigh the robust loss by the action-guided weights; a focal term that is kept always has
    them."""
    dice: bool = True
    """Keep the published Dice term."""


R_co = TypeVar("R_co", bound=RobustOptions, covariant=True)


class RobustLoss(Strategy[R_co]):
    """A robust loss of single pixels in every layer; classes, boxes and positive head stay."""

    term: ClassVar[str]
    """Name of the robust term beside a focal one."""

    def pixels(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The loss of each pixel.

        Args:
            logits: float32 [P, T, h, w].
            labels: 0 or 1, same shape.

        Returns:
            float32 [P, T, h, w].
        """
        raise NotImplementedError

    def losses(self, context: StepContext) -> Terms:
        """The published terms, with the robust one for the focal one or beside it."""
        options = self.options
        weights = context.weights if options.weighted else None
        terms = detection_terms(context)
        for layer in context.layers:
            robust = clip_mean(self.pixels(layer.logits, context.labels), weights)
            if options.focal == "kept":
                focal = focal_mask_loss(layer.logits, context.labels, context.weights)
                terms[layer.name("loss_mask")] = focal
                terms[layer.name(self.term)] = robust
            else:
                terms[layer.name("loss_mask")] = robust
            if options.dice:
                terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """That of the mask term."""
        return {self.term: COEFFICIENTS["loss_mask"]}
