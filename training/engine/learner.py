"""A network that learns: its distributed form, optimiser and average of weights."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from training.config.run import Recipe
from training.engine.distributed import World
from training.engine.optimizer import MovingAverage, parameter_groups, set_rate
from training.model import Output


class Views(nn.Module):
    """A network on a batch and, where a strategy asks for it, on a second view of its frames.

    Both passes lie in one `forward`, since distributed training follows one call for each backward
    pass.

    Args:
        network: takes the arguments of `ActionVOS.forward`.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        frames: Tensor,
        *inputs: Tensor | None,
        second: Tensor | None = None,
        pairs: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Output, Output | None]:
        """Predictions on the frames and on the second view, if there is one.

        Args:
            frames: float32 [N, T, 3, H, W].
            inputs: padding, ids, mask, sizes and clip of each prompt, the same for both views.
            second: other frames of the same shape.
            pairs: prompts without a picture, read with the first view only.
        """
        output = self.network(frames, *inputs, pairs=pairs)
        return output, None if second is None else self.network(second, *inputs)


class Learner:
    """One network of a run and what changes its weights.

    Args:
        network: what is trained; moved to the device of this process.
        recipe: optimisation settings.
        world: this process among those that train together.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, world: World) -> None:
        self.network = network.to(world.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, recipe), weight_decay=recipe.weight_decay
        )
        self.average = MovingAverage(self.network, recipe.ema) if recipe.ema else None
        self.local_views = Views(self.network)
        self.views = _distributed(self.local_views, world)

    def begin_step(self, rate: float) -> None:
        """Clears the gradients and sets the learning rate of the step."""
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)

    @contextmanager
    def gradients_stay_local(self, local: bool) -> Iterator[None]:
        """Within, if `local`, backward passes do not sum gradients over the processes."""
        if local and isinstance(self.views, DistributedDataParallel):
            with self.views.no_sync():
                yield
        else:
            yield

    def clip(self, norm: float) -> Tensor:
        """Scales the gradients down to a norm; returns the norm that they had (scalar)."""
        return nn.utils.clip_grad_norm_(self.network.parameters(), norm)

    def step(self) -> None:
        """Changes the weights, and their average."""
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)

    @contextmanager
    def averaged_weights(self) -> Iterator[nn.Module]:
        """The network with its averaged weights, if they are kept; the trained ones come back."""
        if self.average is None:
            yield self.network
            return
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.average)
        try:
            yield self.network
        finally:
            self.network.load_state_dict(own)

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict() if self.average else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` gave."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _distributed(module: nn.Module, world: World) -> nn.Module:
    if world.size == 1:
        return module
    return DistributedDataParallel(
        module,
        device_ids=[world.device] if world.device.type == "cuda" else None,
        find_unused_parameters=True,  # e.g. the refinement of the last layer's box
    )
