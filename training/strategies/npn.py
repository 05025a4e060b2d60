"""NPN: labels and predictions are counted as candidates, and the counts say what to learn.

Partial labels, negative learning and agreement of two views (paper Sec. IV-A, Eqs. 2 and 3).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from actiseg_ros.errors import ActisegError
from training.config.options import require
from training.config.run import Recipe, StrategyOptions
from training.losses.context import MatchedLayer, StepContext, StepPosition, matched
from training.losses.criterion import (
    COEFFICIENTS,
    Terms,
    detection_terms,
    dice_loss,
    focal_terms,
)
from training.strategies.base import StepInputs, register
from training.strategies.support.colour_view import distorted_view, strong_view
from training.strategies.support.history_strategy import HistoryStrategy
from training.strategies.support.pixelwise import clip_mean

if TYPE_CHECKING:
    from training.data.clips import Batch

_LARGEST = 255
"""Largest count that the histories hold."""
_MOST_LAYERS = 4
"""Decoder layers of the largest network, each of which may count."""


@dataclass(frozen=True)
class NPNOptions(StrategyOptions):
    """Partial labels, negative learning and agreement of two views."""

    alpha: float = 0.1
    """Weight of negative learning, at least 0 (paper: 0.1)."""
    beta: float = 0.2
    """Weight of the agreement of both views, at least 0; 0 saves the second view (paper: 0.2)."""
    threshold: float = 0.5
    """A prediction counts where the larger of p and 1 - p is above this, in [0.5, 1) (paper: 0.5,
    all count; released: 0.7)."""
    count: Literal["as_printed", "predicted_only", "once"] = "as_printed"
    """`as_printed`: label and prediction count as candidates in every epoch, so a label can never
    lose by more than a tie; `predicted_only`: only the prediction, as the authors of NPN do;
    `once`: what both name counts once (released)."""
    tie: Literal["foreground", "background"] = "foreground"
    """What equal counts speak for (paper: foreground; released: background)."""
    warmup_epochs: int = 2
    """Epochs of focal loss on the given labels before the counts are used, at least 0 (released: 2;
    the paper names none)."""
    warmup_counts: bool = False
    """Count while warming up too: the label's count is set to 1, whatever it was, and a prediction
    is added (released)."""
    partial: Literal["focal", "cross_entropy"] = "focal"
    """Form of the partial label loss: `focal` as Sec. V-B says, `cross_entropy` as Eq. 2 prints."""
    logit_scale: float = 1.0
    """Factor of the logits in the cross entropies of partial labels and of both views, above 0;
    the released code takes 2, as it compares z with -z where it means z with 0."""
    clamp: float = 0.0
    """Predictions are at least this in negative learning, in [0, 0.5) (released: 1e-4)."""
    layers: Literal["last", "all"] = "last"
    """Decoder layers that learn so and count: the `last` one, once an epoch, or `all` in every
    step, one after the other into the same counts (released)."""
    average: Literal["clip", "batch"] = "clip"
    """Mean of all three terms: over each `clip`, weighted and divided by the frames as the mask
    term is, or over all pixels of the `batch` alike (released)."""
    agreement: Literal["all", "confident"] = "all"
    """Pixels whose views are to agree: all, or those whose weak view is above the threshold
    (released)."""
    history_of: Literal["frame", "sample"] = "frame"
    """Whether all samples with a frame share its counts, or each `sample` has its own (released);
    frames must then be drawn once."""
    strong_view: Literal["colours", "published"] = "colours"
    """Second view: other `colours` in every frame, or the `published` photometric distortion, which
    leaves each of its parts out half of the time (released)."""
    focal_alpha: float = 0.25
    """Share of the foreground in the focal loss, in [0, 1] (released: 0.25; the paper names 0.5 for
    ELR)."""
    focal_gamma: float = 2.0
    """Exponent of the focal loss, at least 1 (paper, for ELR: 2)."""
    view_seed: int = 0
    """Seed of the colours of the second view, at least 0."""

    def __post_init__(self) -> None:
        require(self.alpha >= 0, "npn.alpha", self.alpha, "at least 0")
        require(self.beta >= 0, "npn.beta", self.beta, "at least 0")
        require(0.5 <= self.threshold < 1, "npn.threshold", self.threshold, "in [0.5, 1)")
        require(self.warmup_epochs >= 0, "npn.warmup_epochs", self.warmup_epochs, "at least 0")
        require(self.logit_scale > 0, "npn.logit_scale", self.logit_scale, "above 0")
        require(0 <= self.clamp < 0.5, "npn.clamp", self.clamp, "in [0, 0.5)")
        require(0 <= self.focal_alpha <= 1, "npn.focal_alpha", self.focal_alpha, "in [0, 1]")
        require(self.focal_gamma >= 1, "npn.focal_gamma", self.focal_gamma, "at least 1")
        require(self.view_seed >= 0, "npn.view_seed", self.view_seed, "at least 0")

    def recipe_changes(self, recipe: Recipe, *, published: bool) -> Mapping[str, Any]:
        """The first view is as it is, the second one distorted; frames keep their samples."""
        return {"augmentation": "none", "redraw_frames": False}


def counts_of(values: Tensor) -> tuple[Tensor, Tensor]:
    """M1 and M0, float32 each, of what a history holds: 256 M1 + M0."""
    present = torch.div(values, _LARGEST + 1, rounding_mode="floor")
    return present, values - (_LARGEST + 1) * present


def _fitting(count: Tensor, other: Tensor) -> Tensor:
    """Half a count where it or the other would not fit the history any more.

    Where samples share a frame's counts and every step counts, no number of epochs bounds them.
    Halved, both still speak for the same with the same reliability, and what comes then still
    counts, as it would not beside a count that stays at its limit. The larger one is rounded up, so
    that no tie arises; counts that fit stay.
    """
    full = torch.maximum(count, other) > _LARGEST
    half = torch.div(count + (count > other), 2, rounding_mode="floor")
    return torch.where(full, half, count)


def negative_terms(
    logits: Tensor, foreground: Tensor, background: Tensor, clamp: float = 0.0
) -> Tensor:
    """Negative learning of each pixel (paper Eq. 3): away from what nothing speaks for.

    With two classes something is left over only where no candidate contradicts another, so this is
    the cross entropy there.

    Args:
        logits: float [...].
        foreground: Candidates for the foreground, A1, same shape.
        background: Candidates for the background, A0, same shape.
        clamp: Predictions count as at least this; 0 leaves them.

    Returns:
        float [...], at least 0.
    """
    if clamp:
        logits = logits.clamp(min=math.log(clamp / (1 - clamp)))
    log_present, log_absent = F.logsigmoid(logits), F.logsigmoid(-logits)
    return -(foreground < 1).float() * log_absent - (background < 1).float() * log_present


@register(
    "npn",
    "NPN",
    NPNOptions,
    released={
        "threshold": 0.7,
        "count": "once",
        "tie": "background",
        "warmup_counts": True,
        "partial": "cross_entropy",
        "logit_scale": 2.0,
        "clamp": 1e-4,
        "layers": "all",
        "average": "batch",
        "agreement": "confident",
        "history_of": "sample",
        "strong_view": "published",
    },
    released_run={"action_weights": False},
)
class NPN(HistoryStrategy[NPNOptions]):
    """Replaces the focal mask term of the last layer by PLL + alpha NL, and adds beta CR.

    The counts M1 and M0 of a pixel add, once an epoch, the candidates for foreground and
    background. In the first epochs, and in earlier layers, the loss is the focal loss on the given
    labels. All terms carry the action-guided weights.
    """

    dtype = "uint16"

    def __init__(self, options: NPNOptions) -> None:
        super().__init__(options)
        self.of_samples = options.history_of == "sample"

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Takes in what the former epoch counted.

        Raises:
            ActisegError: If so many epochs do not fit the counts.
        """
        options = self.options
        each = 2 if options.count == "as_printed" else 1
        most = _LARGEST // (each * (_MOST_LAYERS if options.layers == "all" else 1))
        if not options.warmup_counts:
            most += options.warmup_epochs
        if epochs > most:
            raise ActisegError(f"--epochs is {epochs}; the counts of npn hold at most {most}")
        super().begin_epoch(epoch, epochs)

    def warming_up(self, position: StepPosition) -> bool:
        """Whether labels are still learned as they are."""
        return position.epoch < self.options.warmup_epochs

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """The frames as they are and, after the warm-up, with other colours."""
        if self.warming_up(position) or not self.options.beta:
            return StepInputs(batch)
        view = strong_view if self.options.strong_view == "colours" else distorted_view
        return StepInputs(batch, view(batch, (self.options.view_seed, position.epoch)))

    def losses(self, context: StepContext) -> Terms:
        """PLL + alpha NL and beta CR in the last layer (Eqs. 2 and 3), focal loss in the others.

        Updates the counts.
        """
        options = self.options
        warm, everywhere = self.warming_up(context.position), options.layers == "all"
        counted = not warm or options.warmup_counts
        counts = torch.zeros_like(context.labels)
        if counted:
            counts = self.history.recall(context.batch, context.size, counts.device).values
        terms = detection_terms(context)
        for layer in (context.last, *context.earlier):
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
            robust = layer.last or everywhere
            if robust and counted:
                counts = self.counted(counts, layer.logits, context.labels, warm=warm)
                if not everywhere:  # once an epoch: what a frame had before it stays
                    counts = self.history.update(context.batch, counts).values
            if warm or not robust:
                focal = self._focal_terms(layer.logits, context.labels)
                terms[layer.name("loss_mask")] = clip_mean(focal, context.weights)
                continue
            proxy, reliability = self.proxy(counts)
            pixels = reliability * self._partial_terms(layer.logits, proxy)
            pixels = pixels + options.alpha * self._negative_terms(layer.logits, context.labels)
            everything = torch.ones_like(pixels)
            terms[layer.name("loss_mask")] = self._mean(pixels, everything, context)
            if context.second_view is not None:
                agreement = self._agreement(layer, context)
                terms[layer.name("loss_consistency")] = agreement
        if everywhere and counted:
            self.history.update(context.batch, counts, again=True)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """Beta, at the published coefficient of mask terms."""
        return {"loss_consistency": COEFFICIENTS["loss_mask"] * self.options.beta}

    def guess(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """What the predictions say for foreground and for background, 0 or 1, same shape each."""
        p = logits.detach().sigmoid()
        if self.options.threshold == 0.5:
            return (p > 0.5).float(), (p <= 0.5).float()
        return (p > self.options.threshold).float(), (1 - p > self.options.threshold).float()

    def candidates(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """A1 and A0 of each pixel: how many of label and prediction speak for either.

        Args:
            logits: float [P, T, h, w].
            labels: 0 or 1, same shape.
        """
        foreground, background = self.guess(logits)
        return foreground + labels, background + (1 - labels)

    def counted(self, counts: Tensor, logits: Tensor, labels: Tensor, *, warm: bool) -> Tensor:
        """The counts after another prediction, at most 255 each.

        Args:
            counts: 256 M1 + M0 so far, float [P, T, h, w].
            logits: float [P, T, h, w].
            labels: 0 or 1, same shape.
            warm: Whether this is the warm-up, which sets the label's count.
        """
        present, absent = counts_of(counts)
        foreground, background = self.guess(logits)
        if warm:
            present, absent = present.where(labels < 1, 1), absent.where(labels > 0, 1)
        elif self.options.count != "predicted_only":
            foreground, background = self.candidates(logits, labels)
        if self.options.count == "once":
            foreground, background = foreground.clamp(max=1), background.clamp(max=1)
        present, absent = present + foreground, absent + background
        return (_LARGEST + 1) * _fitting(present, absent) + _fitting(absent, present)

    def proxy(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """What the counts speak for.

        Args:
            counts: 256 M1 + M0, float [P, T, h, w].

        Returns:
            The proxy label y* = [M1 >= M0] (or >), 0 or 1, and its reliability
            max(M1, M0) / (M1 + M0) in [0.5, 1], 0 without any; float [P, T, h, w] each.
        """
        present, absent = counts_of(counts)
        speaks = present >= absent if self.options.tie == "foreground" else present > absent
        return speaks.float(), torch.maximum(present, absent) / (present + absent).clamp(min=1)

    def _negative_terms(self, logits: Tensor, labels: Tensor) -> Tensor:
        return negative_terms(logits, *self.candidates(logits, labels), self.options.clamp)

    def _agreement(self, layer: MatchedLayer, context: StepContext) -> Tensor:
        """CR: cross entropy of the strong view with what the weak one says."""
        assert context.second_view is not None
        views = [*context.second_view.aux, context.second_view]
        strong = matched(views[layer.index].masks, layer.queries).float()
        weak = (layer.logits.detach().sigmoid() > 0.5).float()
        counts = torch.ones_like(weak)
        if self.options.agreement == "confident":
            counts = torch.stack(self.guess(layer.logits)).amax(0)
        scaled = self.options.logit_scale * strong
        pixels = F.binary_cross_entropy_with_logits(scaled, weak, reduction="none")
        return self._mean(pixels, counts, context)

    def _mean(self, pixels: Tensor, counts: Tensor, context: StepContext) -> Tensor:
        """As `average` says, over the pixels that count (0 without any)."""
        if self.options.average == "batch":
            return (pixels * counts).sum() / counts.sum().clamp(min=1)
        shares = counts.flatten(1).mean(1).clamp(min=1 / counts[0].numel())
        return clip_mean(pixels * counts, context.weights) / shares

    def _partial_terms(self, logits: Tensor, proxy: Tensor) -> Tensor:
        """Eq. 2 without the reliability."""
        if self.options.partial == "cross_entropy":
            scaled = self.options.logit_scale * logits
            return F.binary_cross_entropy_with_logits(scaled, proxy, reduction="none")
        return self._focal_terms(logits, proxy)

    def _focal_terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        options = self.options
        return focal_terms(logits, targets, alpha=options.focal_alpha, gamma=options.focal_gamma)
