"""NPN: labels and predictions are counted as candidates, and the counts say what to learn.

Partial labels, negative learning and agreement of two views (paper Sec. IV-A, Eqs. 2 and 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from training.config.strategies import NPNOptions
from training.files.errors import ActisegError
from training.losses.criterion import COEFFICIENTS, MaskLoss, focal_terms, valid_frames
from training.strategies.base import Matched
from training.strategies.photometric import strong_view
from training.strategies.pixelwise import clip_mean
from training.strategies.remembering import Remembering

if TYPE_CHECKING:
    from training.data.clips import Batch
    from training.model import Output

_LARGEST = 255
"""Largest count that the histories hold."""


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


class NPN(Remembering):
    """Replaces the focal mask term of the last layer by PLL + alpha NL, and adds beta CR.

    The count M1 of a pixel adds, once an epoch, the candidates for foreground; M0 is what is
    missing to the number of candidates, so only M1 is kept. In the first epochs, and in earlier
    layers, the loss is the focal loss on the given labels. All terms carry the action-guided
    weights.
    """

    name = "npn"
    dtype = "uint8"
    photometric_augmentation = False  # its first view is as it is, its second one distorted

    def __init__(self, options: NPNOptions) -> None:
        super().__init__(options)
        self.options: NPNOptions = options
        self.epoch = 0

    @property
    def mask_loss(self) -> MaskLoss:
        """Partial label loss and negative learning; updates the counts (not while warming up)."""
        return self._mask_loss

    @property
    def aux_mask_loss(self) -> MaskLoss:
        """The focal loss alone."""
        return self._focal_loss

    @property
    def _warming_up(self) -> bool:
        return self.epoch < self.options.warmup_epochs

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
        self.epoch = epoch

    def proxy(self, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Counts this epoch's candidates, and says what all counts so far speak for.

        Args:
            logits: float [P, T, h, w] of the matched queries.
            targets: 0 or 1, same shape.

        Returns:
            The proxy label y* = [M1 >= M0], 0 or 1, and its reliability max(M1, M0) / (M1 + M0) in
            [0.5, 1]; float [P, T, h, w] each.
        """
        foreground = (logits.detach().sigmoid() > 0.5).float()
        if self.options.count == "as_printed":
            foreground = foreground + targets
        size = (logits.shape[-2], logits.shape[-1])
        before = self.history.recall(self.batch, size, logits.device)
        now = self.history.update(self.batch, before.values + foreground)
        all_candidates = now.visits * self._candidates
        present, absent = now.values, all_candidates - now.values
        return (present >= absent).float(), torch.maximum(present, absent) / all_candidates

    def second_view(self, batch: Batch) -> Tensor | None:
        """The frames with other colours; None while warming up."""
        if self._warming_up or not self.options.beta:
            return None
        return strong_view(batch, (self.options.view_seed, self.epoch))

    def extra_losses(
        self, output: Output, batch: Batch, matched: Matched, second: Output | None
    ) -> Mapping[str, Tensor]:
        """Agreement of both views: cross entropy of the strong one with what the weak one says."""
        if second is None:
            return {}
        rows = torch.arange(len(matched.queries), device=matched.queries.device)
        strong = second.masks[rows, :, matched.queries].float()
        hard = (matched.logits.detach().sigmoid() > 0.5).float()
        terms = F.binary_cross_entropy_with_logits(strong, hard, reduction="none")
        value = clip_mean(terms, matched.weights).sum() / valid_frames(matched.valid)
        return {"loss_consistency": COEFFICIENTS["loss_mask"] * self.options.beta * value}

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        if self._warming_up:
            return self._focal_loss(logits, targets, pixel_weights)
        logits, targets = logits.float(), targets.float()
        proxy, reliability = self.proxy(logits, targets)
        terms = reliability * self._partial_terms(logits, proxy)
        terms = terms + self.options.alpha * negative_terms(logits, targets)
        return clip_mean(terms, pixel_weights)

    def _partial_terms(self, logits: Tensor, proxy: Tensor) -> Tensor:
        """Eq. 2 without the reliability."""
        if self.options.partial == "cross_entropy":
            return F.binary_cross_entropy_with_logits(logits, proxy, reduction="none")
        return self._focal_terms(logits, proxy)

    def _focal_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        return clip_mean(self._focal_terms(logits.float(), targets.float()), pixel_weights)

    def _focal_terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        options = self.options
        return focal_terms(logits, targets, alpha=options.focal_alpha, gamma=options.focal_gamma)
