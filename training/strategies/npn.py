"""NPN: labels and predictions are counted as candidates, and the counts say what to learn.

Partial labels, negative learning and agreement of two views (paper Sec. IV-A, Eqs. 2 and 3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config.options import require
from training.config.run import StrategyOptions
from training.files.errors import ActisegError
from training.losses.context import StepContext, StepPosition, matched
from training.losses.criterion import (
    COEFFICIENTS,
    Terms,
    detection_terms,
    dice_loss,
    focal_terms,
)
from training.strategies.base import StepInputs, register
from training.strategies.support.colour_view import strong_view
from training.strategies.support.history_strategy import HistoryStrategy
from training.strategies.support.pixelwise import clip_mean

if TYPE_CHECKING:
    from training.data.clips import Batch

_LARGEST = 255
"""Largest count that the histories hold."""


@dataclass(frozen=True)
class NPNOptions(StrategyOptions):
    """Partial labels, negative learning and agreement of two views."""

    alpha: float = 0.1
    """Weight of negative learning, at least 0 (paper: 0.1)."""
    beta: float = 0.2
    """Weight of the agreement of both views, at least 0; 0 saves the second view (paper: 0.2)."""
    count: Literal["as_printed", "predicted_only"] = "as_printed"
    """`as_printed`: label and prediction count as candidates in every epoch, so a label can never
    lose by more than a tie; `predicted_only`: only the prediction, as the authors of NPN do."""
    warmup_epochs: int = 1
    """Epochs of focal loss on the given labels before anything is counted, at least 0 (the paper
    names none)."""
    partial: Literal["focal", "cross_entropy"] = "focal"
    """Form of the partial label loss: `focal` as Sec. V-B says, `cross_entropy` as Eq. 2 prints."""
    focal_alpha: float = 0.5
    """Share of the foreground in the focal loss, in [0, 1] (paper, for ELR: 0.5)."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss, at least 1 (paper, for ELR: 2)."""
    view_seed: int = 0
    """Seed of the colours of the second view, at least 0."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "npn.alpha", self.alpha, "at least 0")
        require(self.beta >= 0, "npn.beta", self.beta, "at least 0")
        require(self.warmup_epochs >= 0, "npn.warmup_epochs", self.warmup_epochs, "at least 0")
        require(0 <= self.focal_alpha <= 1, "npn.focal_alpha", self.focal_alpha, "in [0, 1]")
        require(self.focal_gamma >= 1, "npn.focal_gamma", self.focal_gamma, "at least 1")
        require(self.view_seed >= 0, "npn.view_seed", self.view_seed, "at least 0")


def negative_terms(logits: Tensor, targets: Tensor) -> Tensor:
    """Negative learning of each pixel (paper Eq. 3): away from what nothing speaks for.

    A candidate is what the label or the prediction says. With two classes something is left over
    only where both say the same, so this is the cross entropy there.

    Args:
        logits: float [...].
        targets: 0 or 1, same shape.

    Returns:
        float [...], at least 0.
    """
    foreground = targets + (logits.sigmoid() > 0.5)
    background = 1 - targets + (logits.sigmoid() <= 0.5)
    log_present, log_absent = F.logsigmoid(logits), F.logsigmoid(-logits)
    return -(foreground < 1).float() * log_absent - (background < 1).float() * log_present


@register("npn", "NPN", NPNOptions)
class NPN(HistoryStrategy[NPNOptions]):
    """Replaces the focal mask term of the last layer by PLL + alpha NL, and adds beta CR.

    The count M1 of a pixel adds, once an epoch, the candidates for foreground; M0 is what is
    missing to the number of candidates, so only M1 is kept. In the first epochs, and in earlier
    layers, the loss is the focal loss on the given labels. All terms carry the action-guided
    weights.
    """

    dtype = "uint8"
    photometric_augmentation = False  # its first view is as it is, its second one distorted

    @property
    def _candidates(self) -> int:
        """Candidates that each epoch counts for a pixel."""
        return 2 if self.options.count == "as_printed" else 1

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Takes in what the former epoch counted.

        Raises:
            ActisegError: If so many epochs do not fit the counts.
        """
        most = _LARGEST // self._candidates + self.options.warmup_epochs
        if epochs > most:
            raise ActisegError(f"--epochs is {epochs}; the counts of npn hold at most {most}")
        super().begin_epoch(epoch, epochs)

    def warming_up(self, position: StepPosition) -> bool:
        """Whether labels are learned as they are, and nothing is counted yet."""
        return position.epoch < self.options.warmup_epochs

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """The frames as they are and, after the warm-up, with other colours."""
        if self.warming_up(position) or not self.options.beta:
            return StepInputs(batch)
        return StepInputs(batch, strong_view(batch, (self.options.view_seed, position.epoch)))

    def losses(self, context: StepContext) -> Terms:
        """PLL + alpha NL and beta CR in the last layer (Eqs. 2 and 3), focal loss in the others.

        Updates the counts (not while warming up).
        """
        options = self.options
        terms = detection_terms(context)
        for layer in context.layers:
            if layer.last and not self.warming_up(context.position):
                proxy, reliability = self.proxy(context)
                pixels = reliability * self._partial_terms(layer.logits, proxy)
                pixels = pixels + options.alpha * negative_terms(layer.logits, context.labels)
            else:
                pixels = self._focal_terms(layer.logits, context.labels)
            terms[layer.name("loss_mask")] = clip_mean(pixels, context.weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
        if context.second_view is not None:
            strong = matched(context.second_view.masks, context.last.queries).float()
            weak = (context.last.logits.detach().sigmoid() > 0.5).float()
            pixels = F.binary_cross_entropy_with_logits(strong, weak, reduction="none")
            terms["loss_consistency"] = clip_mean(pixels, context.weights)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """Beta, at the published coefficient of mask terms."""
        return {"loss_consistency": COEFFICIENTS["loss_mask"] * self.options.beta}

    def proxy(self, context: StepContext) -> tuple[Tensor, Tensor]:
        """Counts this epoch's candidates, and says what all counts so far speak for.

        Args:
            context: The last layer's matched logits and the labels are the candidates.

        Returns:
            The proxy label y* = [M1 >= M0], 0 or 1, and its reliability max(M1, M0) / (M1 + M0) in
            [0.5, 1]; float [P, T, h, w] each.
        """
        logits = context.last.logits.detach()
        foreground = (logits.sigmoid() > 0.5).float()
        if self.options.count == "as_printed":
            foreground = foreground + context.labels
        before = self.history.recall(context.batch, context.size, logits.device)
        now = self.history.update(context.batch, before.values + foreground)
        all_candidates = now.visits * self._candidates
        present, absent = now.values, all_candidates - now.values
        return (present >= absent).float(), torch.maximum(present, absent) / all_candidates

    def _partial_terms(self, logits: Tensor, proxy: Tensor) -> Tensor:
        """Eq. 2 without the reliability."""
        if self.options.partial == "cross_entropy":
            return F.binary_cross_entropy_with_logits(logits, proxy, reduction="none")
        return self._focal_terms(logits, proxy)

    def _focal_terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        options = self.options
        return focal_terms(logits, targets, alpha=options.focal_alpha, gamma=options.focal_gamma)
