"""One training step, from batches to changed weights.

`TrainingStep.take` reads top to bottom: for every network and batch the strategy says what is asked
(`inputs`), the network answers, the strategy says what it should have answered (`losses`), and the
gradients add up until the optimisers change the weights. Before that `TrainingStep.divide` deals
some batches out to steps and networks; with several networks the strategy chooses the samples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.config.run import Recipe
from training.data.clips import Batch
from training.engine.distributed import ProcessGroup
from training.engine.setup import TrainingSetup
from training.engine.step_numbers import Check, StepResult, require_finite
from training.engine.trained_network import TrainedNetwork
from training.losses.activity import activity_loss, narrated_loss
from training.losses.context import StepContext, StepPosition
from training.losses.criterion import COEFFICIENTS, Terms, of_prompts, reduced, total
from training.model import Output
from training.strategies import Selection

_PAIRS = 96
"""Prompts without a picture in each step of a network with a text encoder of its own."""
_Pairs = tuple[Tensor, Tensor]


class Share(NamedTuple):
    """What one network learns from in one step."""

    batches: Sequence[Batch]
    """The gradients are added up over these."""
    kept: Sequence[Tensor | None]
    """The samples (prompts) of each that count, bool [P] on the host; None for all."""


class TrainingStep:
    """Takes the optimiser steps of a run.

    Args:
        setup: what the run is made of.
        networks: what is trained.
        recipe: optimisation settings.
        group: this process among those that train together.
    """

    def __init__(
        self,
        setup: TrainingSetup,
        networks: Sequence[TrainedNetwork],
        recipe: Recipe,
        group: ProcessGroup,
    ) -> None:
        self.setup, self.networks, self.recipe, self.group = setup, networks, recipe, group
        self.strategy = setup.strategy
        self.use_weights = setup.action_weights
        self.coefficients: Mapping[str, float] = {
            **COEFFICIENTS,
            "loss_positive_labels": recipe.positive_coefficient,
            "loss_narrated": 1.0,
            "loss_activity": 1.0,
            **self.strategy.coefficients,
        }

        self.between_batches: Callable[[], None] = lambda: None
        """Called by every process before each batch of a window that networks choose from, which
        may take minutes; what it raises gives the step up, and no weight has changed."""

    def select(self, window: Sequence[Batch], position: StepPosition) -> Selection:
        """The samples of a window that each network learns from; empty with one network.

        What is chosen comes to the host, since it decides which steps there are.

        Raises:
            NonFiniteError: If a loss is not finite.
        """
        if len(self.networks) == 1:
            return Selection([], {})
        chosen = self.strategy.select(self._losses_of_window(window, position), position)
        return Selection([own.cpu() for own in chosen.kept], chosen.log)

    def divide(self, window: Sequence[Batch], selection: Selection) -> list[Sequence[Share]]:
        """For each step of a window the share of each network.

        A step takes the selected samples of an accumulation of batches, or a single sample.
        """
        if selection.kept and self.strategy.step_for_each_sample:
            return self._sample_steps(window, selection.kept)
        counts = [len(batch.captions) for batch in window]
        masks: list[Sequence[Tensor | None]] = [
            torch.zeros(sum(counts), dtype=torch.bool).index_fill(0, kept, True).split(counts)
            for kept in selection.kept
        ] or [[None] * len(window)]
        size = self.recipe.accumulate
        return [
            [Share(window[start : start + size], own[start : start + size]) for own in masks]
            for start in range(0, len(window), size)
        ]

    def _losses_of_window(self, window: Sequence[Batch], position: StepPosition) -> list[Tensor]:
        """For each network the total loss of each sample, float32 [S]."""
        if self.strategy.ranking_mode == "evaluation":
            # Each process has gone on from the main one's statistics with a batch of its own.
            for network in self.networks:
                self.group.take_over(network.network.buffers())
        losses = []
        for index in range(len(self.networks)):
            own = []
            for batch in window:
                self.between_batches()
                own.append(self._losses_of_samples(index, batch, position))
            losses.append(torch.cat(own))
        counts = [len(batch.captions) for batch in window]
        sums = [own.sum() for own in torch.stack(losses).sum(0).split(counts)]
        require_finite(Check.of("loss", torch.stack(sums), window), position.step, self.group)
        return losses

    def _sample_steps(
        self, window: Sequence[Batch], kept: Sequence[Tensor]
    ) -> list[Sequence[Share]]:
        """A step for each selected sample, as many in every process; further ones teach nothing."""
        samples = [(batch, prompt) for batch in window for prompt in range(len(batch.captions))]
        chosen = [own.tolist() for own in kept]
        steps = max(self.group.gather(max(map(len, chosen))))

        def share(own: Sequence[int], step: int) -> Share:
            batch, prompt = samples[own[min(step, len(own) - 1)]]
            return Share([batch.prompt(prompt)], [torch.tensor([step < len(own)])])

        return [[share(own, step) for own in chosen] for step in range(steps)]

    def take(self, shares: Sequence[Share], position: StepPosition, rate: float) -> StepResult:
        """One step of every network, which nothing waits for.

        Args:
            shares: what each network learns from.
            position: where in the run this step is.
            rate: learning rate.

        Returns:
            What it says, on the device, to be read by and by (`UnreadSteps`).
        """
        values: dict[str, Tensor] = {}
        log: dict[str, Tensor | float] = {}
        checks: list[Check] = []
        for index, (network, share) in enumerate(zip(self.networks, shares, strict=True)):
            network.begin_step(rate)
            losses, told, check = self._backward(index, share, position)
            network.require_gradients()
            network.rest(self.strategy.resting(network.network))
            norm = network.clip(self.recipe.clip_norm)
            every = norm.expand(len(share.batches))
            checks += check, Check.of("gradient", every, share.batches)
            log |= told
            if index == 0:
                values = {**losses, "gradient_norm": norm}
            else:
                values[f"peer_{index}_total"] = losses["total"]
        for network in self.networks:
            network.step()
        return StepResult(values, log, checks)

    def _backward(
        self, index: int, share: Share, position: StepPosition
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float], Check]:
        """Adds up the gradients of some batches.

        Batches count alike or, with a choice of samples, each by the number of its own: the mean is
        then one over all chosen samples.

        Returns:
            Their mean losses, what the strategy tells, and what has to be finite.
        """
        counts = [1 if kept is None else int(kept.sum()) for kept in share.kept]
        whole = max(1, sum(counts))
        taught: Sequence[bool] = [True] * len(counts)
        if any(kept is not None for kept in share.kept):
            # Processes speak to each other within passes, so all have to take the same batches.
            taught = self.group.any(*map(bool, counts))
        means: dict[str, Tensor] = {}
        log: dict[str, Tensor | float] = {}
        ran, totals = [], []
        for number, (batch, kept, count) in enumerate(zip(*share, counts, strict=True)):
            if kept is not None:
                self.between_batches()
            last = number == len(share.batches) - 1
            if not taught[number] and not last:  # with the last one, they sum their gradients
                continue
            with self.networks[index].gradients_stay_local(not last):
                losses, log = self.losses(index, batch, position, kept, number=number)
                (losses["total"] * count / whole).backward()
            ran.append(batch)
            totals.append(losses["total"].detach())
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + value.detach() * count / whole
        return means, log, Check.of("loss", torch.stack(totals), ran)

    def losses(
        self,
        index: int,
        batch: Batch,
        position: StepPosition,
        kept: Tensor | None = None,
        *,
        number: int = 0,
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Loss terms of a batch and their weighted `total`, scalars with gradients.

        Args:
            index: the network.
            batch: on any device.
            position: where in the run this is; with the process and `number` it says which prompts
                without a picture are read.
            kept: samples (prompts) that the network learns from, bool [P] on any device; None for
                all.
            number: of the batch among those of the step, counted from 0.

        Returns:
            The losses, and what the strategy tells of them.
        """
        pairs, narrated = self._narration_pairs(position.step, number)
        context = self._ask(self.networks[index].views, index, batch, position, pairs)
        terms = self.strategy.losses(context) | self._from_scratch(context, narrated)
        if kept is not None:
            kept = kept.to(self.group.device, non_blocking=True)
        losses = reduced(terms, context, kept)
        losses["total"] = total(losses, self.coefficients)
        return losses, context.log

    @torch.no_grad()
    def _losses_of_samples(self, index: int, batch: Batch, position: StepPosition) -> Tensor:
        """The strategy's total loss of each prompt, float32 [P].

        In evaluation mode the network's random draws and batch statistics stay as they are.
        """
        network = self.networks[index]
        network.network.train(self.strategy.ranking_mode == "training")
        context = self._ask(network.local_views, index, batch, position)
        network.network.train()
        terms = of_prompts(self.strategy.losses(context), context.batch.valid)
        return total(terms, self.coefficients)

    def _ask(
        self,
        views: nn.Module,
        index: int,
        batch: Batch,
        position: StepPosition,
        pairs: _Pairs | None = None,
    ) -> StepContext:
        """What a network says to a batch as the strategy presents it."""
        padded = bool(batch.padding.any())  # asked on the host, where it costs no synchronisation
        moved = batch.to(self.group.device, non_blocking=True)
        inputs = self.strategy.inputs(moved, position, index)
        if inputs.batch.frames is not moved.frames:  # which of them are alike is not known
            apart = replace(inputs.batch, first_frames=None, picture_of_frame=None)
            inputs = inputs._replace(batch=apart)
        output, second = self._predict(views, inputs.batch, padded, pairs, inputs.second_view)
        return StepContext(
            inputs.batch,
            output,
            second,
            position,
            index,
            self.use_weights,
            ask_teacher=partial(self._ask_teacher, index, inputs.batch, padded)
            if self.networks[index].teacher
            else None,
            ask_peers=partial(self._ask_peers, index, inputs.batch, padded),
        )

    def _predict(
        self,
        views: nn.Module,
        batch: Batch,
        padded: bool,
        pairs: _Pairs | None = None,
        second: Tensor | None = None,
    ) -> tuple[Output, Output | None]:
        """Predictions on a batch and on the second view; without padding no masks are computed."""
        ids, mask = self.setup.tokenize(batch.captions)
        device = self.group.device
        repeats = None
        if batch.first_frames is not None and batch.picture_of_frame is not None:
            repeats = batch.first_frames, batch.picture_of_frame
        with _rounding(device, self.recipe.precision), _fast_attention(device):
            predicted: tuple[Output, Output | None] = views(
                batch.frames,
                batch.padding if padded else None,
                ids.to(device, non_blocking=True),
                mask.to(device, non_blocking=True),
                batch.sizes,
                batch.clip_of_prompt,
                second=second,
                pairs=pairs,
                repeats=repeats,
            )
        return predicted

    @torch.no_grad()
    def _ask_teacher(self, index: int, batch: Batch, padded: bool) -> Output:
        views = cast("nn.Module", self.networks[index].teacher_views)
        return self._predict(views, batch, padded)[0]

    @torch.no_grad()
    def _ask_peers(self, index: int, batch: Batch, padded: bool) -> tuple[Output, ...]:
        """Answers of the other networks in evaluation mode, which they then leave."""
        answers = []
        for peer in (*self.networks[:index], *self.networks[index + 1 :]):
            peer.network.eval()
            answers.append(self._predict(peer.local_views, batch, padded)[0])
            peer.network.train()
        return tuple(answers)

    def _from_scratch(self, context: StepContext, narrated: Tensor) -> Terms:
        """Terms of networks that learn words and hands from nothing; others have none."""
        terms: Terms = {}
        output, batch = context.output, context.batch
        if output.narrated is not None:
            terms["loss_narrated"] = narrated_loss(output.narrated, narrated)
        if output.activity is not None and self.recipe.teaches_activity:
            terms["loss_activity"] = activity_loss(
                output.activity, batch.masks, batch.positive, batch.clip_of_prompt
            )
        return terms

    def _narration_pairs(self, step: int, number: int) -> tuple[_Pairs | None, Tensor]:
        """Tokenised prompts for an own text encoder (None if it is frozen), and their labels."""
        if self.setup.pairs is None:
            return None, torch.empty(0)
        key = step, self.group.rank, *([number] if number else [])
        prompts, labels = self.setup.pairs.draw(_PAIRS, *key)
        values = *self.setup.tokenize(prompts), torch.tensor(labels)
        ids, mask, asked = (own.to(self.group.device, non_blocking=True) for own in values)
        return (ids, mask), asked


def _rounding(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Matrix products and convolutions in bfloat16, if that is the precision."""
    if precision != "bfloat16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)


def _fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the plain form: its fused kernel is slower where few words are the keys."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
