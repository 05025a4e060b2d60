"""PMHM: a parallel mask head, and no labels where the prediction is uncertain (paper Sec. IV-B)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from training.config.options import require
from training.config.run import StrategyOptions
from training.losses.context import MatchedLayer, StepContext, StepPosition, matched
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
    border: Literal["replicate", "zeros"] = "replicate"
    """How maps continue beyond their border for the gradient: with their own values, as the robot
    computes it, or with zeros (released)."""
    regions: Literal["absolute", "quantiles"] = "absolute"
    """How pixels are told apart. `absolute`: U as Eq. 4 prints, confident is what is outside of U.
    `quantiles`: tau_m and tau_e are shares of the values of all queries in a clip, padding
    included, and confident is where |p - 0.5| is above its share tau_h and `votes` heads are on the
    same side, so that pixels may be both or neither (released)."""
    tau_h: float = 0.60
    """Share of |p - 0.5| above which `quantiles` calls pixels confident, in [0, 1]."""
    votes: int = 2
    """Heads that must be on one side there, at least 1; a layer without an auxiliary head has
    one."""
    lambda_head: float = 0.1
    """Weight of the agreement of both heads, at least 0 (paper: 0.1)."""
    lambda_layer: float = 0.1
    """Weight of the agreement of all decoder layers, at least 0 (paper: 0.1)."""
    detach_main: bool = False
    """Whether the main head's last layer is a constant in both agreements, so that only the
    auxiliary head and the earlier layers learn from them. As printed, both sides learn."""
    consistency: Literal["batch", "clip"] = "batch"
    """Mean of both agreements: over the uncertain pixels of the whole `batch` (released; Eqs. 5 and
    6 for one clip), or over those of each `clip`, divided by the frames as the mask term is."""
    hard_focal: Literal["confident", "all"] = "confident"
    """What the focal part of L_hard is divided by: the `confident` pixels, or `all` (released)."""
    hard_dice: Literal["confident", "all", "half"] = "confident"
    """Pixels of the Dice part of L_hard: `confident` leaves the uncertain ones out as the focal
    part does; `all` keeps the Dice loss of whole masks; with `half` the others count as p = 0.5
    without a label (released). The paper does not say."""
    hard_layers: Literal["last", "all"] = "last"
    """Decoder layers that L_hard stands for; earlier ones learn from all labels otherwise."""
    weighted: bool = True
    """Weigh the focal part by the action-guided weights (released: no)."""
    lambda_tversky: float = 0.0
    """Weight of a Tversky loss on the uncertain pixels of each such layer, at least 0 (released:
    0.3; the paper has none)."""
    tversky_alpha: float = 0.7
    """Its weight of false positives, at least 0."""
    tversky_alpha_end: float = 0.7
    """That weight in the last epoch; the released code means 0.5 but stays at 0.7."""
    tversky_beta: float = 0.5
    """Its weight of false negatives, at least 0."""
    heads: int = 1
    """Auxiliary heads, at least 0."""
    dropout: float = 0.2
    """Rate of the auxiliary head's dropout, in [0, 1) (released: 0.2; the paper gives none)."""
    dropout_of: Literal["channels", "frames", "queries"] = "channels"
    """What it drops: `channels` of the mask features, whole `frames` of them (released, by a slip),
    or values of the queries."""
    feature_noise: float = 0.0
    """Noise on its mask features, as a share of each frame's standard deviation, at least 0
    (released: 0.2; the paper has none)."""
    freeze: float = 0.3
    """Probability in [0, 1] that the auxiliary head does not learn from a batch, in the first
    epoch (the paper gives none; released: 0.3 where it decays)."""
    freeze_end: float = 0.1
    """That probability in the last epoch; it changes linearly (released: 0.1)."""
    auxiliary_start: Literal["main", "random"] = "main"
    """First weights of the auxiliary head: the main head's, which may be pretrained (what the
    released code means), or random ones (what it does). The paper does not say."""

    def __post_init__(self) -> None:
        require(0 <= self.tau_m <= 0.5, "pmhm.tau_m", self.tau_m, "in [0, 0.5]")
        require(self.tau_e >= 0, "pmhm.tau_e", self.tau_e, "at least 0")
        require(self.lambda_head >= 0, "pmhm.lambda_head", self.lambda_head, "at least 0")
        require(self.lambda_layer >= 0, "pmhm.lambda_layer", self.lambda_layer, "at least 0")
        require(0 <= self.tau_h <= 1, "pmhm.tau_h", self.tau_h, "in [0, 1]")
        if self.regions == "quantiles":
            require(self.tau_e <= 1, "pmhm.tau_e", self.tau_e, "in [0, 1] with quantiles")
        for name, least in (("votes", 1), ("heads", 0), ("feature_noise", 0)):
            value = getattr(self, name)
            require(value >= least, f"pmhm.{name}", value, f"at least {least}")
        for name in ("lambda_tversky", "tversky_alpha", "tversky_alpha_end", "tversky_beta"):
            require(getattr(self, name) >= 0, f"pmhm.{name}", getattr(self, name), "at least 0")
        require(0 <= self.dropout < 1, "pmhm.dropout", self.dropout, "in [0, 1)")
        require(0 <= self.freeze <= 1, "pmhm.freeze", self.freeze, "in [0, 1]")
        require(0 <= self.freeze_end <= 1, "pmhm.freeze_end", self.freeze_end, "in [0, 1]")


def squared_gradient(
    p: Tensor, gradient: Gradient, border: Literal["replicate", "zeros"] = "replicate"
) -> Tensor:
    """Squared Euclidean norm of the spatial gradient.

    Args:
        p: float [P, T, h, w].
        gradient: `sobel`: 3x3 Sobel, not divided by its weights, as the robot computes it;
            `central`: half of the difference of both neighbours; `forward`: the next pixel less
            this one.
        border: Whether maps continue beyond their border with their own values or with zeros.

    Returns:
        float [P, T, h, w].
    """
    padded = F.pad(p, (1, 1, 1, 1), mode="constant" if border == "zeros" else border)
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
    p: Tensor,
    tau_m: float = 0.20,
    tau_e: float = 0.85,
    gradient: Gradient = "sobel",
    border: Literal["replicate", "zeros"] = "replicate",
) -> Tensor:
    """Paper Eq. 4: near the decision boundary, or with a steep spatial gradient.

    With the Sobel operator it is the set that the robot finds
    (`actiseg_ros.gate.uncertainty.uncertain_pixels`).

    Args:
        p: float32 [P, T, h, w], probabilities of the main head at mask stride.
        tau_m: Half width of the margin around 0.5 (exclusive).
        tau_e: Limit of the gradient's norm (exclusive).
        gradient: See `squared_gradient`.
        border: See `squared_gradient`.

    Returns:
        bool [P, T, h, w], detached.
    """
    return ((p - 0.5).abs() < tau_m) | (squared_gradient(p, gradient, border) > tau_e**2)


class Regions(NamedTuple):
    """Pixels by what is known of them, bool [P, T, h, w] each."""

    uncertain: Tensor
    """U of Eq. 4: where heads and layers are to agree."""
    confident: Tensor
    """Where L_hard learns from labels."""


@torch.no_grad()
def quantile_regions(
    main: Tensor, auxiliary: Sequence[Tensor], queries: Tensor, options: PMHMOptions
) -> Regions:
    """The regions with `PMHMOptions.regions` at `quantiles`.

    Args:
        main: Mask logits of all queries of a layer, [P, T, Q, h, w].
        auxiliary: Those of each auxiliary head of this layer, same shape.
        queries: Query of each prompt whose regions are wanted, int64 [P].
        options: Shares and votes.
    """
    p = main.float().sigmoid()
    margin = (p - 0.5).abs()
    steepness = squared_gradient(p.flatten(1, 2), options.gradient, options.border)
    steepness = steepness.view_as(p).sqrt()

    def share(values: Tensor, quantile: float) -> Tensor:
        found = torch.quantile(values.flatten(1).double(), quantile, dim=1)
        return found.view(-1, 1, 1, 1, 1)

    uncertain = (margin < share(margin, options.tau_m)) | (
        steepness > share(steepness, options.tau_e)
    )
    sides = torch.stack([head.float() > 0 for head in (main, *auxiliary)]).sum(0)
    heads = 1 + len(auxiliary)
    needed = min(options.votes, heads)
    agreed = (sides >= needed) | (heads - sides >= needed)
    confident = (margin >= share(margin, options.tau_h)) & agreed
    return Regions(matched(uncertain, queries), matched(confident, queries))


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


def mean_consistency(main: Tensor, others: Sequence[Tensor], uncertain: Tensor) -> Tensor:
    """Paper Eq. 5 (the auxiliary head) or Eq. 6 (all earlier layers), for each clip.

    Args:
        main: Logits of the main head's last layer, float32 [P, T, h, w].
        others: Logits of each head or layer that is to agree with it, same shape each.
        uncertain: U of Eq. 4, bool, same shape.

    Returns:
        float32 [P]; 0 if there are no others.
    """
    if not others:
        return main.new_zeros(len(main))
    means = [mean_inside(symmetric_divergence(main, other), uncertain) for other in others]
    return torch.stack(means).mean(0)


def hard_focal_loss(
    logits: Tensor,
    targets: Tensor,
    pixel_weights: Tensor | None,
    confident: Tensor,
    mean: Literal["confident", "all"] = "confident",
) -> Tensor:
    """The published mask term on confident pixels.

    Args:
        logits: float32 [P, T, h, w].
        targets: 0 or 1, same shape.
        pixel_weights: Action-guided weights, same shape, or None for 1.
        confident: Pixels that count, bool, same shape.
        mean: Whether it is their mean, as Eqs. 5 and 6 take theirs, or that over all pixels.

    Returns:
        float32 [P]; the published loss where all pixels are confident.
    """
    counted = confident if pixel_weights is None else pixel_weights * confident
    value = focal_mask_loss(logits, targets, counted.float())
    if mean == "all":
        return value
    return value / confident.flatten(1).float().mean(1).clamp(min=1 / confident[0].numel())


def hard_dice_loss(
    logits: Tensor,
    targets: Tensor,
    confident: Tensor,
    others: Literal["left_out", "half"] = "left_out",
) -> Tensor:
    """The published Dice loss as if a clip had its confident pixels only.

    Args:
        logits: float32 [P, T, h, w].
        targets: 0 or 1, same shape.
        confident: Pixels that count, bool, same shape.
        others: The other pixels are left out, or are there with p = 0.5 and no label.

    Returns:
        float32 [P] in [0, 1].
    """
    elsewhere = -torch.inf if others == "left_out" else 0.0
    return dice_loss(logits.masked_fill(~confident, elsewhere), targets * confident)


def tversky_loss(
    logits: Tensor, targets: Tensor, uncertain: Tensor, alpha: float, beta: float
) -> Tensor:
    """1 - (tp + e) / (tp + alpha fp + beta fn + e) over the uncertain pixels of the batch.

    Args:
        logits: float32 [P, T, h, w].
        targets: 0 or 1, same shape.
        uncertain: Pixels that count, bool, same shape.
        alpha: Weight of false positives.
        beta: Weight of false negatives.

    Returns:
        A scalar in [0, 1], 0 without uncertain pixels; e is `SMALLEST`.
    """
    p, y = logits.sigmoid() * uncertain, targets * uncertain
    found = (p * y).sum()
    wrong = alpha * (p.sum() - found) + beta * (y.sum() - found)
    return 1 - (found + SMALLEST) / (found + wrong + SMALLEST)


def confident_pixels(uncertain: Tensor, inside: Tensor) -> Tensor:
    """The pixels of L_hard: all but U, or all of a clip whose every pixel is in U.

    Args:
        uncertain: U, bool [P, T, h, w].
        inside: False on padding, same shape.
    """
    some = (inside & ~uncertain).flatten(1).any(1)
    return ~(uncertain & some[:, None, None, None])


def linear(start: float, end: float, epoch: int, epochs: int) -> float:
    """From `start` in the first epoch (0) to `end` in the last (`epochs` - 1)."""
    return start + (end - start) * epoch / max(1, epochs - 1)


def perturbed(features: Tensor, kept: Tensor, noise: Tensor, rate: float, share: float) -> Tensor:
    """Mask features after dropout and noise.

    Args:
        features: float [P, T, D, h, w].
        kept: 1 where dropout keeps them, broadcastable to the same shape.
        noise: Standard normal draws, same shape as the features.
        rate: Of the dropout, in [0, 1).
        share: Of the noise in the standard deviation of each frame's features, at least 0.

    Returns:
        float, same shape.
    """
    dropped = features * kept / (1 - rate)
    if not share:
        return dropped
    spread = dropped.detach().flatten(2).std(2) + SMALLEST
    return dropped + noise * share * spread[..., None, None, None]


class ParallelHeads(nn.Module):
    """A model with auxiliary mask heads: controllers of their own over shared decoder features.

    The auxiliary heads draw the masks of the last decoder layer again, while training only. What
    they read passes through dropout and noise. While they are frozen their parameters get no
    gradient, but what they read does.

    Args:
        model: The model, whose parts keep their names below `model`.
        options: How many heads there are, how they start and what disturbs them.
    """

    def __init__(self, model: ActionVOS, options: PMHMOptions) -> None:
        super().__init__()
        self.model, self.options = model, options
        self.auxiliary = nn.ModuleList(DynamicMaskHead(model.config) for _ in range(options.heads))
        if options.auxiliary_start == "main":
            for head in self.auxiliary:
                head.load_state_dict(model.mask_head.state_dict())
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
        """The model's output, in training with the auxiliary heads' masks as `extra`.

        Arguments as of `ActionVOS.forward`.
        """
        output: Output = self.model(
            frames, padding, input_ids, attention_mask, sizes, clip_of_prompt, **options
        )
        if not self.training:
            return output
        of_prompts = sizes if clip_of_prompt is None else sizes[clip_of_prompt]
        masks = [self._masks(head, output, of_prompts) for head in self.auxiliary]
        return dataclasses.replace(output, extra=tuple(masks))

    def _masks(self, head: nn.Module, output: Output, sizes: Tensor) -> Tensor:
        """The masks [P, T, Q, h, w] of one auxiliary head."""
        parameters = {
            # Frozen, it has a gradient of 0: processes wait for one of every parameter.
            name: parameter.detach() + 0 * parameter if self.frozen else parameter
            for name, parameter in head.named_parameters()
        }
        queries, features = output.hidden[-1], self._disturbed(output.mask_features)
        if self.options.dropout_of == "queries":
            queries = F.dropout(queries, self.options.dropout)
        points = output.references[-1][..., :2]
        masks: Tensor = functional_call(head, parameters, (queries, points, features, sizes))
        return masks if output.likeness is None else masks + output.likeness

    def _disturbed(self, features: Tensor) -> Tensor:
        """Mask features [P, T, D, h, w] as an auxiliary head sees them."""
        rate, share = self.options.dropout, self.options.feature_noise
        if self.options.dropout_of == "queries":
            rate = 0.0
        if not rate and not share:
            return features
        unit = (
            features[:, :, :, :1, :1]
            if self.options.dropout_of != "frames"
            else features[:, :, :1, :1, :1]
        )
        kept = torch.empty_like(unit).bernoulli_(1 - rate)
        noise = torch.randn_like(features) if share else features
        return perturbed(features, kept, noise, rate, share)


@register(
    "pmhm",
    "PMHM",
    PMHMOptions,
    released={
        "border": "zeros",
        "regions": "quantiles",
        "hard_focal": "all",
        "hard_dice": "half",
        "hard_layers": "all",
        "weighted": False,
        "lambda_tversky": 0.3,
        "dropout_of": "frames",
        "feature_noise": 0.2,
        "freeze": 0.2,
        "freeze_end": 0.2,
        "auxiliary_start": "random",
    },
)
class PMHM(Strategy[PMHMOptions]):
    """Labels where the main head is confident; elsewhere both heads and all layers agree.

    L_seg = L_hard + lambda_head L_head + lambda_layer L_layer (paper Eq. 7), where L_hard are the
    published focal and Dice terms of the last layer, restricted to the pixels outside of U (all
    pixels of a clip that has none outside). The earlier layers learn from all labels, as published:
    otherwise nothing would ever tell a pixel that became uncertain what it is. U is detached;
    gradients of Eqs. 5 and 6 reach both sides, as printed. All masks of these are those of the
    query that is matched in the last layer, and a clip is what the sums over t run over. Padding
    belongs to no image, so it is never in U.
    """

    def __init__(self, options: PMHMOptions) -> None:
        super().__init__(options)
        self._heads: ParallelHeads | None = None
        self._seed = 0
        self._batches = 0
        self._learned = False

    def extend(self, model: ActionVOS) -> nn.Module:
        """The model with auxiliary heads; freezing follows the seed in force here."""
        self._seed = torch.initial_seed()
        self._heads = ParallelHeads(model, self.options)
        return self._heads

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model without the auxiliary head."""
        return cast("ParallelHeads", network).model

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """Decides, for all processes alike, whether the auxiliary head learns from this batch."""
        freeze = self._scheduled(self.options.freeze, self.options.freeze_end, position)
        draw = np.random.default_rng((self._seed, self._batches)).random()
        frozen = bool(draw < freeze)
        cast("ParallelHeads", self._heads).frozen = frozen
        self._batches += 1
        self._learned |= not frozen
        return StepInputs(batch)

    def resting(self, network: nn.Module) -> Iterable[nn.Parameter]:
        """The auxiliary heads, if they were frozen in all batches of the step."""
        learned, self._learned = self._learned, False
        return () if learned else cast("ParallelHeads", network).auxiliary.parameters()

    def losses(self, context: StepContext) -> Terms:
        """Eq. 7 in the last layer, the published terms in the earlier ones.

        Logs the share |U| / |I| of uncertain pixels.
        """
        options, labels = self.options, context.labels
        weights = context.weights if options.weighted else None
        regions = self.regions(context.last, context)
        terms = detection_terms(context)
        for layer in context.layers:
            if layer.last or options.hard_layers == "all":
                own = regions if layer.last else self.regions(layer, context)
                terms |= self._hard_terms(layer, own, context)
            else:
                terms[layer.name("loss_mask")] = focal_mask_loss(layer.logits, labels, weights)
                terms[layer.name("loss_dice")] = dice_loss(layer.logits, labels)

        main, uncertain, queries = context.last.logits, regions.uncertain, context.last.queries
        agreeing = main.detach() if options.detach_main else main
        heads = [matched(masks, queries).float() for masks in context.output.extra]
        earlier = [matched(layer.output.masks, queries).float() for layer in context.earlier]
        terms["loss_head"] = self._consistency(agreeing, heads, uncertain)
        terms["loss_layer"] = self._consistency(agreeing, earlier, uncertain)
        context.log["uncertain_pixels"] = uncertain.sum() / context.inside.sum().clamp(min=1)
        return terms

    @property
    def coefficients(self) -> dict[str, float]:
        """Lambda_head, lambda_layer and that of the Tversky term."""
        options = self.options
        return {
            "loss_head": options.lambda_head,
            "loss_layer": options.lambda_layer,
            "loss_tversky": options.lambda_tversky,
        }

    def regions(self, layer: MatchedLayer, context: StepContext) -> Regions:
        """U and the confident pixels of a layer's matched queries."""
        options = self.options
        if options.regions == "quantiles":
            heads = context.output.extra if layer.last else ()
            return quantile_regions(layer.output.masks, heads, layer.queries, options)
        p = layer.logits.detach().sigmoid()
        taus = options.tau_m, options.tau_e
        uncertain = uncertain_pixels(p, *taus, options.gradient, options.border) & context.inside
        return Regions(uncertain, confident_pixels(uncertain, context.inside))

    def _hard_terms(self, layer: MatchedLayer, regions: Regions, context: StepContext) -> Terms:
        """L_hard of a layer, and the Tversky term if it has a weight."""
        options, labels = self.options, context.labels
        weights = context.weights if options.weighted else None
        confident = regions.confident
        whole = torch.ones_like(confident) if options.hard_dice == "all" else confident
        terms = {
            layer.name("loss_mask"): hard_focal_loss(
                layer.logits, labels, weights, confident, options.hard_focal
            ),
            layer.name("loss_dice"): hard_dice_loss(
                layer.logits, labels, whole, "half" if options.hard_dice == "half" else "left_out"
            ),
        }
        if options.lambda_tversky:
            alpha = self._scheduled(
                options.tversky_alpha, options.tversky_alpha_end, context.position
            )
            terms[layer.name("loss_tversky")] = tversky_loss(
                layer.logits, labels, regions.uncertain, alpha, options.tversky_beta
            )
        return terms

    def _consistency(self, main: Tensor, others: Sequence[Tensor], uncertain: Tensor) -> Tensor:
        """Eq. 5 or 6: a scalar over the whole batch, or float32 [P] for each clip."""
        if self.options.consistency == "clip":
            return mean_consistency(main, others, uncertain)
        count = uncertain.sum().clamp(min=1)
        pixels = [symmetric_divergence(main, other) * uncertain for other in others]
        return torch.stack(pixels).mean(0).sum() / count if pixels else main.sum() * 0

    @staticmethod
    def _scheduled(start: float, end: float, position: StepPosition) -> float:
        return linear(start, end, position.epoch, position.epochs)

    def state_dict(self) -> dict[str, Any]:
        """How many batches have been drawn for; the auxiliary head is part of the network."""
        return {"batches": self._batches}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with the draws."""
        self._batches = state["batches"]
