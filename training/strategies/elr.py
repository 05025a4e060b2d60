"""ELR: predictions stay near their own average over the epochs (paper Sec. IV-A, Eq. 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from training.config.options import require
from training.config.run import Recipe, StrategyOptions
from training.losses.context import StepContext
from training.losses.criterion import (
    COEFFICIENTS,
    Terms,
    detection_terms,
    dice_loss,
    focal_terms,
)
from training.strategies.base import register
from training.strategies.support.history import Recalled
from training.strategies.support.history_strategy import HistoryStrategy
from training.strategies.support.pixelwise import clip_mean


@dataclass(frozen=True)
class ELROptions(StrategyOptions):
    """Early-learning regularisation."""

    beta: float = 0.9
    """Share of the history's average, in (0, 1) (paper: 0.9); of which side says
    `history_weight`."""
    history_weight: Literal["new_heavy", "old_heavy"] = "new_heavy"
    """`new_heavy`: s = (1 - beta) s + beta p, as the paper prints; `old_heavy`:
    s = beta s + (1 - beta) p, as the authors of ELR do."""
    initial: Literal["first_prediction", "zero"] = "first_prediction"
    """History before the first prediction: that prediction itself, or 0, which the authors of ELR
    start from and which pulls towards the background while epochs are few."""
    sign: Literal["official", "as_printed"] = "official"
    """`official`: R = log(1 - d + epsilon), which draws towards the history; `as_printed`: its
    negative, which drives away from it."""
    strength: float = 1.0
    """Lambda, weight of the regulariser, at least 0 (paper: 1)."""
    alpha: float = 0.5
    """Share of the foreground in the focal loss, in [0, 1] (paper: 0.5)."""
    gamma: float = 2.0
    """Exponent of the focal loss, at least 1 (paper: 2)."""
    history_dtype: Literal["float16", "float32"] = "float16"
    """Precision of the histories on disk, two or four bytes a pixel; the paper names none."""
    epsilon: float = 1e-6
    """Added inside the logarithm, above 0 unless predictions are clamped (paper: 1e-6)."""
    clamp: float = 1e-4
    """Predictions are kept this far from 0 and 1 in the regulariser, in [0, 0.5), as released and
    by the authors of ELR; the paper names none (0)."""

    agree_with: Literal["history", "label"] = "history"
    """What d compares the prediction with: its `history` as printed, or the given `label` (the
    released code keeps a history that nothing reads)."""
    layers: Literal["last", "all"] = "last"
    """Decoder layers that are regularised and update the history: the `last` one, once an epoch, or
    `all` in every step, one after the other into the same history (released)."""
    average: Literal["clip", "batch"] = "clip"
    """Mean of the regulariser: over each `clip`, weighted and divided by the frames as the mask
    term is, or over all pixels of the `batch` alike (released)."""
    history_of: Literal["frame", "sample"] = "frame"
    """Whether all samples with a frame share its history, or each `sample` has its own (released);
    frames must then be drawn once."""

    def __post_init__(self) -> None:
        require(0 < self.beta < 1, "elr.beta", self.beta, "in (0, 1)")
        require(self.strength >= 0, "elr.strength", self.strength, "at least 0")
        require(0 <= self.alpha <= 1, "elr.alpha", self.alpha, "in [0, 1]")
        require(self.gamma >= 1, "elr.gamma", self.gamma, "at least 1")
        require(0 <= self.clamp < 0.5, "elr.clamp", self.clamp, "in [0, 0.5)")
        least = "at least 0" if self.clamp else "above 0 where --elr.clamp is 0"
        allowed = self.epsilon >= 0 and self.epsilon + self.clamp > 0
        require(allowed, "elr.epsilon", self.epsilon, least)

    def recipe_changes(self, recipe: Recipe, *, published: bool) -> Mapping[str, Any]:
        """Pixels keep their places, and frames their samples."""
        return {"augmentation": "photometric", "redraw_frames": False}


def agreement(probability: Tensor, history: Tensor) -> Tensor:
    """Probability that draws from both agree: d = p s + (1 - p) (1 - s).

    Args:
        probability: p, float [...] in [0, 1].
        history: s, same shape, in [0, 1].

    Returns:
        float [...] in [0, 1].
    """
    return probability * history + (1 - probability) * (1 - history)


@register(
    "elr",
    "ELR",
    ELROptions,
    released={
        "alpha": 0.25,
        "strength": 5e-4,
        "beta": 0.99,
        "initial": "zero",
        "epsilon": 0.0,
        "agree_with": "label",
        "layers": "all",
        "average": "batch",
        "history_of": "sample",
        "history_dtype": "float32",
    },
    released_run={"action_weights": False, "augmentation": "none"},
)
class ELR(HistoryStrategy[ELROptions]):
    """Replaces the focal mask term of the last layer by a focal loss plus lambda R.

    The history s of a pixel is the average of its predictions over the epochs, updated before the
    loss and without gradient. R = log(1 - d + epsilon) falls when the prediction agrees with it;
    the paper prints the opposite sign, which drives it away. Both terms carry the action-guided
    weights. Earlier layers have the focal loss only.
    """

    def __init__(self, options: ELROptions) -> None:
        super().__init__(options)
        self.dtype = options.history_dtype
        self.of_samples = options.history_of == "sample"

    def losses(self, context: StepContext) -> Terms:
        """The published terms with ELR's focal loss, and lambda R in the last layer.

        Updates the histories of the batch.
        """
        options = self.options
        everywhere = options.layers == "all"
        history = self.history.recall(context.batch, context.size, context.labels.device)
        terms = detection_terms(context)
        for layer in (context.last, *context.earlier):
            focal = focal_terms(
                layer.logits, context.labels, alpha=options.alpha, gamma=options.gamma
            )
            terms[layer.name("loss_mask")] = clip_mean(focal, context.weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, context.labels)
            if not (layer.last or everywhere):
                continue
            p = layer.logits.sigmoid().clamp(options.clamp, 1 - options.clamp)
            history = self.averaged(history, p.detach())
            if not everywhere:  # once an epoch: what a frame had before it stays
                history = self.history.update(context.batch, history.values)
            agrees_with = history.values if options.agree_with == "history" else context.labels
            pixels = self.regulariser(p, agrees_with)
            terms[layer.name("loss_regulariser")] = (
                clip_mean(pixels, context.weights) if options.average == "clip" else pixels.mean()
            )
        if everywhere:
            self.history.update(context.batch, history.values, again=True)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """Lambda, at the published coefficient of mask terms."""
        return {"loss_regulariser": COEFFICIENTS["loss_mask"] * self.options.strength}

    def averaged(self, before: Recalled, probability: Tensor) -> Recalled:
        """The histories after another prediction.

        Args:
            before: The histories so far.
            probability: p, float [P, T, h, w], without gradient.
        """
        return Recalled(self.average(before, probability), before.visits + 1)

    def average(self, before: Recalled, probability: Tensor) -> Tensor:
        """The history after an epoch's prediction: s = (1 - beta) s + beta p.

        Args:
            before: The history so far.
            probability: p, float [P, T, h, w].
        """
        options = self.options
        share = options.beta if options.history_weight == "new_heavy" else 1 - options.beta
        average = (1 - share) * before.values + share * probability
        if options.initial == "first_prediction":
            return average.where(before.visits > 0, probability)
        return average

    def regulariser(self, probability: Tensor, history: Tensor) -> Tensor:
        """R of each pixel: log(1 - d + epsilon), or its negative as printed.

        Args:
            probability: p, float [...] in [0, 1].
            history: s, or what else p is to agree with, same shape.
        """
        value = (1 - agreement(probability, history) + self.options.epsilon).log()
        return value if self.options.sign == "official" else -value
