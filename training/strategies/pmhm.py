"""PMHM: a parallel mask head, and no labels where the prediction is uncertain (paper Sec. IV-B)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import StepContext, StepPosition, matched
from training.losses.criterion import Terms, detection_terms, dice_loss, focal_mask_loss
from training.model import ActionVOS, Output
from training.model.mask_head import DynamicMaskHead
from training.strategies.base import StepInputs, Strategy, register

if TYPE_CHECKING:
    from training.data.clips import Batch

Gradient = Literal["sobel", "central", "forward"]
"""See `squared_gradient`."""

SMALLEST = 1e-6
"""Probabilities in the divergences are clamped to [1e-6, 1 - 1e-6]."""


@dataclass(frozen=True)
class PMHMOptions(StrategyOptions):
    """Parallel mask head."""

    tau_m: float = 0.20
    """Half width of the margin around 0.5 where pixels are uncertain, in [0, 0.5] (paper: 0.20)."""
    tau_e: float = 0.85
    """Gradient above which pixels are uncertain, at least 0 (paper: 0.85)."""
    gradient: Literal["sobel", "central", "forward"] = "sobel"
    """Operator of the gradient on the grid of the masks; the paper names none. The plain `sobel`
    reaches 4.4; `central` differences stay below 0.71 and so never pass 0.85; `forward` ones
    reach 1.41."""
    lambda_head: float = 0.1
    """Weight of the agreement of both heads, at least 0 (paper: 0.1)."""
    lambda_layer: float = 0.1
    """Weight of the agreement of all decoder layers, at least 0 (paper: 0.1)."""
    detach_main: bool = False
    """Whether the main head's last layer is a constant in both agreements, so that only the
    auxiliary head and the earlier layers learn from them. As printed, both sides learn."""
    hard_dice: Literal["confident", "all"] = "confident"
    """Pixels of the Dice part of L_hard: `confident` leaves the uncertain ones out as the focal
    part does; `all` keeps the Dice loss of whole masks. The paper does not say."""
    dropout: float = 0.1
    """Dropout on the queries that the auxiliary head reads, in [0, 1); the paper gives no rate."""
    freeze: float = 0.5
    """Probability in [0, 1] that the auxiliary head does not learn from a batch, in the first
    epoch; it falls linearly to 0 in the last one. The paper gives no rate."""
    auxiliary_start: Literal["main", "random"] = "main"
    """First weights of the auxiliary head: the main head's, which may be pretrained, or random
    ones. The paper does not say."""

    def __post_init__(self) -> None:
        require(0 <= self.tau_m <= 0.5, "pmhm.tau_m", self.tau_m, "in [0, 0.5]")
        require(self.tau_e >= 0, "pmhm.tau_e", self.tau_e, "at least 0")
        require(self.lambda_head >= 0, "pmhm.lambda_head", self.lambda_head, "at least 0")
        require(self.lambda_layer >= 0, "pmhm.lambda_layer", self.lambda_layer, "at least 0")
        require(0 <= self.dropout < 1, "pmhm.dropout", self.dropout, "in [0, 1)")
        require(0 <= self.freeze <= 1, "pmhm.freeze", self.freeze, "in [0, 1]")


def squared_gradient(p: Tensor, gradient: Gradient) -> Tensor:
    """Squared Euclidean norm of the spatial gradient; maps continue beyond their border.

    Args:
        p: float [P, T, h, w].
        gradient: `sobel`: 3x3 Sobel, not divided by its weights, as the robot computes it;
            `central`: half of the difference of both neighbours; `forward`: the next pixel less
            this one.

    Returns:
        float [P, T, h, w].
    """
    padded = F.pad(p, (1, 1, 1, 1), mode="replicate")
    if gradient == "sobel":
        rows = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
        columns = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
        dx, dy = rows[..., 2:] - rows[..., :-2], columns[..., 2:, :] - columns[..., :-2, :]
    else:
        across, down = padded[..., 1:-1, :], padded[..., 1:-1]
        if gradient == "central":
            dx = (across[..., 2:] - across[..., :-2]) / 2
            dy = (down[..., 2:, :] - down[..., :-2, :]) / 2
        else:
            dx, dy = across[..., 2:] - p, down[..., 2:, :] - p
    return dx * dx + dy * dy


@torch.no_grad()
def uncertain_pixels(
    p: Tensor, tau_m: float = 0.20, tau_e: float = 0.85, gradient: Gradient = "sobel"
) -> Tensor:
    """Paper Eq. 4: near the decision boundary, or with a steep spatial gradient.

    With the Sobel operator it is the set that the robot finds
    (`actiseg_ros.gate.uncertainty.uncertain_pixels`).

    Args:
        p: float32 [P, T, h, w], probabilities of the main head at mask stride.
        tau_m: Half width of the margin around 0.5 (exclusive).
        tau_e: Limit of the gradient's norm (exclusive).
        gradient: See `squared_gradient`.

    Returns:
        bool [P, T, h, w], detached.
    """
    return ((p - 0.5).abs() < tau_m) | (squared_gradient(p, gradient) > tau_e**2)


def symmetric_divergence(first: Tensor, second: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p) of two Bernoulli distributions: (p - q) (logit p - logit q).

    Args:
        first: Logits of p, float32 [...].
        second: Logits of q, same shape.

    Returns:
        float32 [...], at least 0. Probabilities count as in [`SMALLEST`, 1 - `SMALLEST`].
    """
    limit = float(np.log((1 - SMALLEST) / SMALLEST))
    first, second = first.clamp(-limit, limit), second.clamp(-limit, limit)
    return (first.sigmoid() - second.sigmoid()) * (first - second)


def mean_inside(values: Tensor, chosen: Tensor) -> Tensor:
    """Mean of the chosen pixels of all frames of each clip; 0 if there are none.

    Args:
        values: float [P, T, h, w].
        chosen: bool [P, T, h, w].

    Returns:
        float [P].
    """
    count = chosen.flatten(1).sum(1)
    return (values * chosen).flatten(1).sum(1) / count.clamp(min=1)


def head_consistency(main: Tensor, auxiliary: Tensor, uncertain: Tensor) -> Tensor:
    """Paper Eq. 5, for each clip.

    Args:
        main: Logits of the main head, float32 [P, T, h, w].
        auxiliary: Logits of the auxiliary head, same shape.
        uncertain: U of Eq. 4, bool, same shape.

    Returns:
        float32 [P].
    """
    return mean_inside(symmetric_divergence(main, auxiliary), uncertain)


def layer_consistency(main: Tensor, earlier: Sequence[Tensor], uncertain: Tensor) -> Tensor:
    """Paper Eq. 6, for each clip; 0 if the decoder has one layer.

    Args:
        main: Logits of the last layer, float32 [P, T, h, w].
        earlier: Logits of layers 1 to L - 1, same shape each.
        uncertain: U of Eq. 4, bool, same shape.

    Returns:
        float32 [P].
    """
    if not earlier:
        return main.new_zeros(len(main))
    return torch.stack([head_consistency(main, layer, uncertain) for layer in earlier]).mean(0)


def hard_focal_loss(
    logits: Tensor, targets: Tensor, pixel_weights: Tensor | None, confident: Tensor
) -> Tensor:
    """The published mask term on confident pixels: their mean, as Eqs. 5 and 6 take theirs.

    Args:
        logits: float32 [P, T, h, w].
        targets: 0 or 1, same shape.
        pixel_weights: Action-guided weights, same shape, or None for 1.
        confident: Pixels that count, bool, same shape.

    Returns:
        float32 [P]; the published loss where all pixels are confident.
    """
    share = confident.flatten(1).float().mean(1).clamp(min=1 / confident[0].numel())
    counted = confident if pixel_weights is None else pixel_weights * confident
    return focal_mask_loss(logits, targets, counted.float()) / share


def hard_dice_loss(logits: Tensor, targets: Tensor, confident: Tensor) -> Tensor:
    """The published Dice loss as if a clip had its confident pixels only.

    Args:
        logits: float32 [P, T, h, w].
        targets: 0 or 1, same shape.
        confident: Pixels that count, bool, same shape.

    Returns:
        float32 [P] in [0, 1].
    """
    return dice_loss(logits.masked_fill(~confident, -torch.inf), targets * confident)


def confident_pixels(uncertain: Tensor, inside: Tensor) -> Tensor:
    """The pixels of L_hard: all but U, or all of a clip whose every pixel is in U.

    Args:
        uncertain: U, bool [P, T, h, w].
        inside: False on padding, same shape.
    """
    some = (inside & ~uncertain).flatten(1).any(1)
    return ~(uncertain & some[:, None, None, None])


def freeze_probability(start: float, epoch: int, epochs: int) -> float:
    """Falls linearly from `start` in the first epoch (0) to 0 in the last (`epochs` - 1)."""
    return start * (1 - epoch / max(1, epochs - 1))


class ParallelHeads(nn.Module):
    """A model with an auxiliary mask head: a controller of its own over shared decoder features.

    The auxiliary head draws the masks of the last decoder layer a second time, while training
    only. Its queries pass through dropout. While it is frozen its parameters get no gradient, but
    what it reads does.

    Args:
        model: The model, whose parts keep their names below `model`.
        dropout: Probability of the dropout.
        start: First weights of the auxiliary head, see `PMHMOptions.auxiliary_start`.
    """

    def __init__(self, model: ActionVOS, dropout: float, start: Literal["main", "random"]) -> None:
        super().__init__()
        self.model = model
        self.auxiliary = DynamicMaskHead(model.config)
        if start == "main":
            self.auxiliary.load_state_dict(model.mask_head.state_dict())
        self.dropout = nn.Dropout(dropout)
        self.frozen = False

    def forward(
        self,
        frames: Tensor,
        padding: Tensor | None,
        input_ids: Tensor,
        attention_mask: Tensor,
        sizes: Tensor,
        clip_of_prompt: Tensor | None = None,
        **options: Any,
    ) -> Output:
        """The model's output, in training with `extra_masks` [P, T, Q, h, w] of the auxiliary head.

        Arguments as of `ActionVOS.forward`.
        """
        output: Output = self.model(
            frames, padding, input_ids, attention_mask, sizes, clip_of_prompt, **options
        )
        if not self.training:
            return output
        masks: Tensor = functional_call(
            self.auxiliary,
            {
                name: parameter.detach() if self.frozen else parameter
                for name, parameter in self.auxiliary.named_parameters()
            },
            (
                self.dropout(output.hidden[-1]),
                output.references[-1][..., :2],
                output.mask_features,
                sizes if clip_of_prompt is None else sizes[clip_of_prompt],
            ),
        )
        if output.likeness is not None:
            masks = masks + output.likeness
        return dataclasses.replace(output, extra_masks=masks)


@register("pmhm", "PMHM", PMHMOptions)
class PMHM(Strategy[PMHMOptions]):
    """Labels where the main head is confident; elsewhere both heads and all layers agree.

    L_seg = L_hard + lambda_head L_head + lambda_layer L_layer (paper Eq. 7), where L_hard are the
    published focal and Dice terms of the last layer, restricted to the pixels outside of U (all
    pixels of a clip that has none outside). The earlier layers learn from all labels, as published:
    otherwise nothing would ever tell a pixel that became uncertain what it is. U is detached;
    gradients of Eqs. 5 and 6 reach both sides, as printed. All masks are those of the query that
    is matched in the last layer, and a clip is what the sums over t run over. Padding belongs to
    no image, so it is never in U.
    """

    rests_parameters = True  # those of the auxiliary head, while it is frozen

    def __init__(self, options: PMHMOptions) -> None:
        super().__init__(options)
        self._heads: ParallelHeads | None = None
        self._seed = 0
        self._batches = 0

    def extend(self, model: ActionVOS) -> nn.Module:
        """The model with an auxiliary head; freezing follows the seed in force here."""
        self._seed = torch.initial_seed()
        self._heads = ParallelHeads(model, self.options.dropout, self.options.auxiliary_start)
        return self._heads

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model without the auxiliary head."""
        return cast("ParallelHeads", network).model

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """Decides, for all processes alike, whether the auxiliary head learns from this batch."""
        freeze = freeze_probability(self.options.freeze, position.epoch, position.epochs)
        draw = np.random.default_rng((self._seed, self._batches)).random()
        cast("ParallelHeads", self._heads).frozen = bool(draw < freeze)
        self._batches += 1
        return StepInputs(batch)

    def losses(self, context: StepContext) -> Terms:
        """Eq. 7 in the last layer, the published terms in the earlier ones.

        Logs the share |U| / |I| of uncertain pixels.
        """
        main, labels, weights = context.last.logits, context.labels, context.weights
        uncertain = self.uncertain(main, context.inside)
        confident = confident_pixels(uncertain, context.inside)
        everywhere = torch.ones_like(confident)
        dice_pixels = everywhere if self.options.hard_dice == "all" else confident

        terms = detection_terms(context)
        terms["loss_mask"] = hard_focal_loss(main, labels, weights, confident)
        terms["loss_dice"] = hard_dice_loss(main, labels, dice_pixels)
        for layer in context.earlier:
            terms[layer.name("loss_mask")] = focal_mask_loss(layer.logits, labels, weights)
            terms[layer.name("loss_dice")] = dice_loss(layer.logits, labels)

        auxiliary = matched(cast("Tensor", context.output.extra_masks), context.last.queries)
        earlier = [matched(layer.output.masks, context.last.queries) for layer in context.earlier]
        agreeing = main.detach() if self.options.detach_main else main
        terms["loss_head"] = head_consistency(agreeing, auxiliary.float(), uncertain)
        terms["loss_layer"] = layer_consistency(
            agreeing, [masks.float() for masks in earlier], uncertain
        )
        context.log["uncertain_pixels"] = uncertain.sum() / context.inside.sum().clamp(min=1)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """Lambda_head and lambda_layer."""
        return {"loss_head": self.options.lambda_head, "loss_layer": self.options.lambda_layer}

    def uncertain(self, logits: Tensor, inside: Tensor) -> Tensor:
        """U of Eq. 4 (see `uncertain_pixels`) without padding, bool [P, T, h, w]."""
        options = self.options
        p = logits.detach().float().sigmoid()
        return uncertain_pixels(p, options.tau_m, options.tau_e, options.gradient) & inside

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been drawn for; the auxiliary head is part of the network."""
        return {"batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with the draws."""
        self._batches = state["batches"]
