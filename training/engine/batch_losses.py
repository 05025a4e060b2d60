"""What the networks of a run minimise: the losses of a batch, and those of each of its samples."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.config.run import Recipe
from training.data.clips import Batch
from training.engine.build import Parts
from training.engine.distributed import World
from training.engine.learner import Learner
from training.losses.activity import activity_loss, narrated_loss
from training.losses.criterion import COEFFICIENTS, Criterion, total
from training.model import Output
from training.strategies import Matched

_PAIRS = 96
"""Prompts without a picture in each step of a network with a text encoder of its own."""
_Pairs = tuple[Tensor, Tensor]


class Objective:
    """The criterion's terms, those of the strategy, and those of a network from scratch.

    Args:
        parts: what the run is made of.
        recipe: optimisation settings.
        world: this process among those that train together.
    """

    def __init__(self, parts: Parts, recipe: Recipe, world: World) -> None:
        self.parts, self.strategy, self.recipe, self.world = parts, parts.strategy, recipe, world
        self.criterion = Criterion(
            mask_loss=self.strategy.mask_loss,
            aux_mask_loss=self.strategy.aux_mask_loss,
            dice_term=self.strategy.dice_term,
        )
        self.coefficients: Mapping[str, float] = {
            **COEFFICIENTS,
            "loss_positive_labels": recipe.positive_coefficient,
        }

    def losses(
        self, learner: Learner, batch: Batch, step: int, kept: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Loss terms of a batch and their weighted `total`, scalars with gradients.

        Args:
            learner: the network.
            batch: on any device.
            step: optimiser step; with the process it says which prompts without a picture are read.
            kept: samples (prompts) that the network learns from, bool [P]; None for all.
        """
        pairs, narrated = self._narration_pairs(step)
        padded = bool(batch.padding.any())
        batch = batch.to(self.world.device)
        self.strategy.begin_batch(batch)
        second_view = self.strategy.second_view(batch)
        output, second = self._predict(learner.views, batch, padded, pairs, second_view)
        matches = self.criterion.match(output, batch)
        losses = self.criterion(output, batch, matches, kept)
        matched = Matched.of(output, batch, matches[-1])
        extra = dict(self.strategy.extra_losses(output, batch, matched, second))
        if output.narrated is not None:
            extra["loss_narrated"] = narrated_loss(output.narrated, narrated)
        if output.activity is not None and self.recipe.negative_masks:
            extra["loss_activity"] = activity_loss(
                output.activity, batch.masks, batch.positive, batch.clip_of_prompt
            )
        whole = total(losses, self.coefficients)
        for value in extra.values():
            whole = whole + value
        return {**losses, **extra, "total": whole}

    @torch.no_grad()
    def of_samples(self, learner: Learner, batch: Batch) -> Tensor:
        """The criterion's total loss of each prompt, float32 [P], without dropout.

        The network is asked in evaluation mode and left in training mode: its random draws and
        batch statistics stay as they are.
        """
        padded = bool(batch.padding.any())
        batch = batch.to(self.world.device)
        learner.network.eval()
        output, _ = self._predict(learner.local_views, batch, padded)
        learner.network.train()
        return total(self.criterion.of_prompts(output, batch), self.coefficients)

    def _predict(
        self,
        views: nn.Module,
        batch: Batch,
        padded: bool,
        pairs: _Pairs | None = None,
        second: Tensor | None = None,
    ) -> tuple[Output, Output | None]:
        """Predictions on a batch and on the second view; without padding no masks are computed."""
        ids, mask = self.parts.tokenize(batch.captions)
        device = self.world.device
        with (
            torch.autocast(device.type, torch.bfloat16, self.recipe.precision == "bfloat16"),
            _fast_attention(device),
        ):
            predicted: tuple[Output, Output | None] = views(
                batch.frames,
                batch.padding if padded else None,
                ids.to(device),
                mask.to(device),
                batch.sizes,
                batch.clip_of_prompt,
                second=second,
                pairs=pairs,
            )
        return predicted

    def _narration_pairs(self, step: int) -> tuple[_Pairs | None, Tensor]:
        """Tokenised prompts for an own text encoder (None if it is frozen), and their labels."""
        if self.parts.pairs is None:
            return None, torch.empty(0)
        prompts, labels = self.parts.pairs.draw(_PAIRS, step, self.world.rank)
        ids, mask = self.parts.tokenize(prompts)
        device = self.world.device
        return (ids.to(device), mask.to(device)), torch.tensor(labels, device=device)


def _fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the plain form: its fused kernel is slower where few words are the keys."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
