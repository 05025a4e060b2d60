"""ELR: predictions stay near their own average over the epochs (paper Sec. IV-A, Eq. 1)."""

from __future__ import annotations

from torch import Tensor

from training.config.strategies import ELROptions
from training.losses.criterion import MaskLoss, focal_terms
from training.strategies.history import Recalled
from training.strategies.pixelwise import clip_mean
from training.strategies.remembering import Remembering


def agreement(probability: Tensor, history: Tensor) -> Tensor:
    """Probability that draws from both agree: d = p s + (1 - p) (1 - s).

    Args:
        probability: p, float [...] in [0, 1].
        history: s, same shape, in [0, 1].

    Returns:
        float [...] in [0, 1].
    """
    return probability * history + (1 - probability) * (1 - history)


class ELR(Remembering):
    """Replaces the focal mask term of the last layer by a focal loss plus lambda R.

    The history s of a pixel is the average of its predictions over the epochs, updated before the
    loss and without gradient. R = log(1 - d + epsilon) falls when the prediction agrees with it;
    the paper prints the opposite sign, which drives it away. Both terms carry the action-guided
    weights. Earlier layers have the focal loss only.
    """

    name = "elr"

    def __init__(self, options: ELROptions) -> None:
        super().__init__(options)
        self.options: ELROptions = options
        self.dtype = options.history_dtype

    @property
    def mask_loss(self) -> MaskLoss:
        """Focal loss plus the regulariser; updates the histories of the batch."""
        return self._mask_loss

    @property
    def aux_mask_loss(self) -> MaskLoss:
        """The focal loss alone."""
        return self._focal_loss

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
            history: s, same shape.
        """
        value = (1 - agreement(probability, history) + self.options.epsilon).log()
        return value if self.options.sign == "official" else -value

    def _mask_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        options = self.options
        probability = logits.float().sigmoid().clamp(options.clamp, 1 - options.clamp)
        before = self.history.recall(
            self.batch, (logits.shape[-2], logits.shape[-1]), logits.device
        )
        now = self.history.update(self.batch, self.average(before, probability.detach()))
        terms = self._focal_terms(logits, targets)
        terms = terms + options.strength * self.regulariser(probability, now.values)
        return clip_mean(terms, pixel_weights)

    def _focal_loss(self, logits: Tensor, targets: Tensor, pixel_weights: Tensor | None) -> Tensor:
        return clip_mean(self._focal_terms(logits, targets), pixel_weights)

    def _focal_terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        return focal_terms(
            logits.float(), targets.float(), alpha=self.options.alpha, gamma=self.options.gamma
        )
