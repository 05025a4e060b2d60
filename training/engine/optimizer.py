"""Optimiser groups, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from training.config.run import Recipe


def parameter_groups(network: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Splits the trainable parameters as the published training does.

    The backbone learns at its own rate; reference points and sampling offsets form a group of
    their own (at the main rate), and frozen parameters are left out.

    Returns:
        Groups for AdamW; `scale` is the group's share of the scheduled rate.
    """
    members: dict[str, list[nn.Parameter]] = {"main": [], "backbone": [], "sampling": []}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        if "reference_points" in name or "sampling_offsets" in name:
            members["sampling"].append(parameter)
        elif "backbone" in name.split("."):
            members["backbone"].append(parameter)
        else:
            members["main"].append(parameter)
    scales = {"main": 1.0, "backbone": recipe.backbone_rate, "sampling": 1.0}
    return [
        {"params": members[name], "lr": recipe.learning_rate * scales[name], "scale": scales[name]}
        for name in members
        if members[name]
    ]


def rate_factor(recipe: Recipe, *, step: int, steps_per_epoch: int) -> float:
    """Share of the peak learning rate at an optimiser step (counted from 0).

    `multistep` divides the rate by ten after each epoch in `lr_drop`. `cosine` rises linearly over
    the warm-up and falls to zero at the end of the last epoch.

    Returns:
        A factor in [0, 1].
    """
    if recipe.schedule == "multistep":
        epoch = step // steps_per_epoch
        return float(0.1 ** sum(epoch >= drop for drop in recipe.lr_drop))
    steps = recipe.epochs * steps_per_epoch
    warmup = int(recipe.warmup * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    progress = (step - warmup) / max(1, steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets every group to its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["scale"]


class MovingAverage:
    """An exponential moving average of a network's parameters and buffers.

    The decay rises from 0.1 towards its final value (``(1 + n) / (10 + n)`` after n updates), so
    that the random initial weights are forgotten early.

    Args:
        network: the network that is averaged; its state at this moment starts the average.
        decay: final decay in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.module = copy.deepcopy(network)
        """The network with its averaged weights."""
        self._decay, self._updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes in the network as it is now; nothing waits for its device."""
        own, other = _values(self.module), _values(network)
        pairs = list(zip(own, other, strict=True))
        weight = 1 - min(self._decay, (1 + self._updates) / (10 + self._updates))
        averages, values = _chosen(pairs, floating=True)
        torch._foreach_lerp_(averages, values, weight)
        # Counters such as the batches seen by batch normalisation.
        counters, counted = _chosen(pairs, floating=False)
        if counters:
            torch._foreach_copy_(counters, counted)
        self._updates += 1

    def state_dict(self) -> dict[str, Any]:
        """The number of updates and the averaged weights, under the network's own names."""
        return {"updates": self._updates, "average": self.module.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self._updates = state["updates"]
        self.module.load_state_dict(state["average"])


def _values(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]


def _chosen(
    pairs: Sequence[tuple[Tensor, Tensor]], *, floating: bool
) -> tuple[list[Tensor], list[Tensor]]:
    """Both sides of the pairs of floating point numbers, or of the others."""
    chosen = [pair for pair in pairs if pair[0].is_floating_point() == floating]
    return [own for own, _ in chosen], [other for _, other in chosen]
