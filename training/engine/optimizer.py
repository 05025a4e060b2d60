"""Optimiser groups, learning-rate schedules and the moving average of weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from training.config.run import Recipe

Tensors = list[Tensor] | tuple[Tensor, ...]


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


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """An exponential moving average of a network's parameters and buffers.

    The decay rises from 0.1 towards its final value (``(1 + n) / (10 + n)`` after n updates), so
    that the random initial weights are forgotten early.

    Args:
        network: the network that is averaged; its state at this moment starts the average.
        decay: final decay in [0, 1).
    """

    @torch.no_grad()
    def update(averages: Tensors, values: Tensors, _: Tensor | int) -> None:
        updates = int(average.n_averaged) - 1  # on the host; the argument lies on the device
        if averages[0].is_floating_point():
            weight = 1 - min(decay, (1 + updates) / (10 + updates))
            torch._foreach_lerp_(averages, values, weight)
        else:  # counters such as the batches seen by batch normalisation
            torch._foreach_copy_(averages, values)

    average = AveragedModel(network, multi_avg_fn=update, use_buffers=True)
    average.n_averaged.fill_(1)  # 0 would take over the first weights that come
    return average


def average_state(average: AveragedModel) -> dict[str, Any]:
    """The number of updates and the averaged weights, under the network's own names."""
    return {"updates": int(average.n_averaged) - 1, "average": average.module.state_dict()}


def load_average(average: AveragedModel, state: Mapping[str, Any]) -> None:
    """Restores what `average_state` gave."""
    average.n_averaged.fill_(state["updates"] + 1)
    average.module.load_state_dict(state["average"])
