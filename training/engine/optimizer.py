"""Optimiser groups, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Iterator

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


def rate_factor(
    recipe: Recipe, *, step: int, steps_per_epoch: int, drops: tuple[int, ...]
) -> float:
    """Share of the peak learning rate at an optimiser step (counted from 0).

    `multistep` divides the rate by ten after each epoch in `drops`. `cosine` rises linearly over
    the warm-up and falls to zero at the end of the last epoch.

    Returns:
        A factor in [0, 1].
    """
    if recipe.schedule == "multistep":
        epoch = step // steps_per_epoch
        return float(0.1 ** sum(epoch >= drop for drop in drops))
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
    """Exponential moving average of a network's parameters and buffers.

    The decay rises from 0.1 towards its final value (``(1 + n) / (10 + n)`` after n updates), so
    that the random initial weights are forgotten early.

    Args:
        network: the network that is averaged; its state at this moment starts the average.
        decay: final decay in [0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.average = {name: value.clone() for name, value in _state(network)}

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Takes the network's present state into the average."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, values = [], []
        for name, value in _state(network):
            if value.is_floating_point():
                averages.append(self.average[name])
                values.append(value)
            else:  # counters such as the batches seen by batch normalisation
                self.average[name].copy_(value)
        torch._foreach_lerp_(averages, values, 1 - decay)

    def state_dict(self) -> dict[str, object]:
        """The average and the number of updates."""
        return {"updates": self.updates, "average": self.average}

    def load_state_dict(self, state: dict[str, object]) -> None:
        """Restores what `state_dict` gave."""
        average, updates = state["average"], state["updates"]
        assert isinstance(average, dict) and isinstance(updates, int)
        self.updates = updates
        for name, value in self.average.items():
            value.copy_(average[name])


def _state(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, value in network.state_dict().items():
        yield name, value.detach()
