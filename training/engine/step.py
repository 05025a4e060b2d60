"""Optimiser steps: one network on all samples, or several on those that a strategy chooses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from training.data.clips import Batch
from training.engine.batch_losses import Objective
from training.engine.distributed import World
from training.engine.learner import Learner
from training.strategies import Strategy

Choice = Sequence[Tensor | None]
"""For each of some batches the samples (prompts) that count, bool [P]; None for all."""


class NonFiniteError(Exception):
    """A loss or gradient is infinite or not a number; says which, and on which samples."""


class Stepper:
    """Takes the optimiser steps of a run.

    Args:
        learners: the networks.
        objective: what they minimise.
        strategy: chooses samples if there are several networks.
        world: this process among those that train together.
        clip_norm: largest norm of the gradient of all parameters of a network together.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        objective: Objective,
        strategy: Strategy,
        world: World,
        clip_norm: float,
    ) -> None:
        self.learners, self.objective, self.strategy = learners, objective, strategy
        self.world, self.clip_norm = world, clip_norm

    def choose(self, window: Sequence[Batch], epoch: int) -> list[Choice]:
        """For each network, the samples of a window's batches that it trains on.

        Raises:
            NonFiniteError: If a loss is not finite.
        """
        if len(self.learners) == 1:
            return [[None] * len(window)]
        losses = [
            torch.cat([self.objective.of_samples(learner, batch) for batch in window])
            for learner in self.learners
        ]
        counts = [len(batch.captions) for batch in window]
        sums = [own.sum() for own in torch.stack(losses).sum(0).split(counts)]
        self._require_finite("loss", torch.stack(sums), window)
        return [kept.split(counts) for kept in self.strategy.keep(losses, epoch)]

    def step(
        self, batches: Sequence[Batch], choices: Sequence[Choice], *, step: int, rate: float
    ) -> dict[str, float]:
        """One step of every network.

        Args:
            batches: what the gradients are added up over.
            choices: for each network, which of their samples count.
            step: number of this step.
            rate: learning rate.

        Returns:
            Mean loss terms and gradient norm of the first network, the `total` of the others, and
            what the strategy logs.

        Raises:
            NonFiniteError: If a loss or gradient is not finite; no network has then changed.
        """
        values: dict[str, Tensor] = {}
        for index, (learner, choice) in enumerate(zip(self.learners, choices, strict=True)):
            learner.begin_step(rate)
            losses = self._backward(learner, batches, choice, step)
            norm = learner.clip(self.clip_norm)
            self._require_finite("gradient", norm.expand(len(batches)), batches)
            if index == 0:
                values = {**losses, "gradient_norm": norm}
            else:
                values[f"peer_{index}_total"] = losses["total"]
        for learner in self.learners:
            learner.step()
        numbers = torch.stack(list(values.values())).tolist()
        return dict(zip(values, numbers, strict=True)) | {"rate": rate, **self.strategy.log()}

    def _backward(
        self, learner: Learner, batches: Sequence[Batch], choice: Choice, step: int
    ) -> dict[str, Tensor]:
        """Adds up the gradients of some batches; returns the mean losses.

        Batches count alike or, with a choice of samples, each by the number of its own: the mean is
        then one over all chosen samples.
        """
        counts = [1 if kept is None else int(kept.sum()) for kept in choice]
        whole = max(1, sum(counts))
        means: dict[str, Tensor] = {}
        ran, totals = [], []
        for index, (batch, kept, count) in enumerate(zip(batches, choice, counts, strict=True)):
            last = index == len(batches) - 1
            if not count and not last:  # with the last one, processes sum their gradients
                continue
            with learner.gradients_stay_local(not last):
                losses = self.objective.losses(learner, batch, step, kept)
                (losses["total"] * count / whole).backward()
            ran.append(batch)
            totals.append(losses["total"].detach())
            for name, value in losses.items():
                means[name] = means.get(name, 0.0) + value.detach() * count / whole
        self._require_finite("loss", torch.stack(totals), ran)
        return means

    def _require_finite(self, what: str, values: Tensor, batches: Sequence[Batch]) -> None:
        """Stops all processes before the weights take a step that would ruin them.

        Args:
            what: names the values.
            values: one for each batch, float [B].
            batches: the B batches.
        """
        finite = values.isfinite().tolist()
        if not self.world.any(not all(finite))[0]:
            return
        value, where = "not finite", "in another process"
        if not all(finite):
            value = str(values[finite.index(False)].item())
            wrong = [batch for batch, fine in zip(batches, finite, strict=True) if not fine]
            where = f"on samples {', '.join(sorted({n for b in wrong for n in b.sequences}))}"
        raise NonFiniteError(f"{what} is {value} {where}")
