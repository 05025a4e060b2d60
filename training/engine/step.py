"""One training step, from batches to changed weights.

`TrainingStep.take` reads top to bottom: for every network and batch the strategy says what is asked
(`inputs`), the network answers, the strategy says what it should have answered (`losses`), and the
gradients add up until the optimisers change the weights. Before that `TrainingStep.divide` deals
some batches out to steps and networks; with several networks the strategy chooses the samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from training.config.run import Recipe
from training.data.clips import Batch
from training.engine.distributed import ProcessGroup
from training.engine.setup import TrainingSetup
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
    """The samples (prompts) of each that count, bool [P]; None for all."""


class NonFiniteError(Exception):
    """A loss or gradient is infinite or not a number; says which, and on which samples."""


class StepResult(NamedTuple):
    """What a step says."""

    losses: dict[str, float]
    """Mean loss terms, their `total` and the gradient norm of the first network, the `total` of
    the others, and the learning rate."""
    log: dict[str, float]
    """What the strategy says of the step's last batch."""


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

    def select(self, window: Sequence[Batch], position: StepPosition) -> Selection:
        """The samples of a window that each network learns from; empty with one network.

        Raises:
            NonFiniteError: If a loss is not finite.
        """
        if len(self.networks) == 1:
            return Selection([], {})
        return self.strategy.select(self._losses_of_window(window, position), position)

    def divide(self, window: Sequence[Batch], selection: Selection) -> list[Sequence[Share]]:
        """For each step of a window the share of each network.

        A step takes the selected samples of an accumulation of batches, or a single sample.
        """
        if selection.kept and self.strategy.step_for_each_sample:
            return self._sample_steps(window, selection.kept)
        counts = [len(batch.captions) for batch in window]
        masks: list[Sequence[Tensor | None]] = [
            torch.zeros(sum(counts), dtype=torch.bool, device=kept.device)
            .index_fill(0, kept, True)
            .split(counts)
            for kept in selection.kept
        ] or [[None] * len(window)]
        size = self.recipe.accumulate
        return [
            [Share(window[start : start + size], own[start : start + size]) for own in masks]
            for start in range(0, len(window), size)
        ]

    def _losses_of_window(self, window: Sequence[Batch], position: StepPosition) -> list[Tensor]:
        """For each network the total loss of each sample, float32 [S]."""
        losses = [
            torch.cat([self._losses_of_samples(index, batch, position) for batch in window])
            for index in range(len(self.networks))
        ]
        counts = [len(batch.captions) for batch in window]
        sums = [own.sum() for own in torch.stack(losses).sum(0).split(counts)]
        self._require_finite("loss", torch.stack(sums), window)
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
            counts = torch.tensor([step < len(own)], device=self.group.device)
            return Share([batch.prompt(prompt)], [counts])

        return [[share(own, step) for own in chosen] for step in range(steps)]

    def take(self, shares: Sequence[Share], position: StepPosition, rate: float) -> StepResult:
        """One step of every network.

        Args:
            shares: what each network learns from.
            position: where in the run this step is.
            rate: learning rate.

        Raises:
            NonFiniteError: If a loss or gradient is not finite; no network has then changed.
        """
        values: dict[str, Tensor] = {}
        log: dict[str, Tensor | float] = {}
        for index, (network, share) in enumerate(zip(self.networks, shares, strict=True)):
            network.begin_step(rate)
            losses, told = self._backward(index, share, position)
            network.require_gradients()
            norm = network.clip(self.recipe.clip_norm)
            self._require_finite("gradient", norm.expand(len(share.batches)), share.batches)
            log |= told
            if index == 0:
                values = {**losses, "gradient_norm": norm}
            else:
                values[f"peer_{index}_total"] = losses["total"]
        for network in self.networks:
            network.step()
        numbers = torch.stack(list(values.values())).tolist()
        told_numbers = {name: float(value) for name, value in log.items()}
        return StepResult(dict(zip(values, numbers, strict=True)) | {"rate": rate}, told_numbers)

    def _backward(
        self, index: int, share: Share, position: StepPosition
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Adds up the gradients of some batches; their mean losses, and what the strategy tells.

        Batches count alike or, with a choice of samples, each by the number of its own: the mean is
        then one over all chosen samples.
        """
        counts = [1 if kept is None else int(kept.sum()) for kept in share.kept]
        whole = max(1, sum(counts))
        means: dict[str, Tensor] = {}
        log: dict[str, Tensor | float] = {}
        ran, totals = [], []
        for number, (batch, kept, count) in enumerate(zip(*share, counts, strict=True)):
            last = number == len(share.batches) - 1
            if not count and not last:  # with the last one, processes sum their gradients
                continue
            with self.networks[index].gradients_stay_local(not last):
                losses, log = self.losses(index, batch, position, kept)
                (losses["total"] * count / whole).backward()
            ran.append(batch)
            totals.append(losses["total"].detach())
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + value.detach() * count / whole
        self._require_finite("loss", torch.stack(totals), ran)
        return means, log

    def losses(
        self, index: int, batch: Batch, position: StepPosition, kept: Tensor | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor | float]]:
        """Loss terms of a batch and their weighted `total`, scalars with gradients.

        Args:
            index: the network.
            batch: on any device.
            position: where in the run this is; with the process it says which prompts without a
                picture are read.
            kept: samples (prompts) that the network learns from, bool [P]; None for all.

        Returns:
            The losses, and what the strategy tells of them.
        """
        pairs, narrated = self._narration_pairs(position.step)
        context = self._ask(self.networks[index].views, index, batch, position, pairs)
        terms = self.strategy.losses(context) | self._from_scratch(context, narrated)
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
        inputs = self.strategy.inputs(
            batch.to(self.group.device, non_blocking=True), position, index
        )
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

    def _narration_pairs(self, step: int) -> tuple[_Pairs | None, Tensor]:
        """Tokenised prompts for an own text encoder (None if it is frozen), and their labels."""
        if self.setup.pairs is None:
            return None, torch.empty(0)
        prompts, labels = self.setup.pairs.draw(_PAIRS, step, self.group.rank)
        ids, mask = self.setup.tokenize(prompts)
        device = self.group.device
        return (ids.to(device), mask.to(device)), torch.tensor(labels, device=device)

    def _require_finite(self, what: str, values: Tensor, batches: Sequence[Batch]) -> None:
        """Stops all processes before the weights take a step that would ruin them.

        Args:
            what: names the values.
            values: one for each batch, float [B].
            batches: the B batches.
        """
        finite = values.isfinite().tolist()
        if not self.group.any(not all(finite))[0]:
            return
        value, where = "not finite", "in another process"
        if not all(finite):
            value = str(values[finite.index(False)].item())
            wrong = [batch for batch, fine in zip(batches, finite, strict=True) if not fine]
            where = f"on samples {', '.join(sorted({n for b in wrong for n in b.sequences}))}"
        raise NonFiniteError(f"{what} is {value} {where}")


def _fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the plain form: its fused kernel is slower where few words are the keys."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()
