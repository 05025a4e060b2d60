"""A network that is trained: its distributed form, optimiser and averages of weights."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from actiseg_ros.errors import ActisegError
from training.config.run import Recipe
from training.engine.distributed import ProcessGroup
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
        repeats: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Output, Output | None]:
        """Predictions on the frames and on the second view, if there is one.

        Args:
            frames: float32 [N, T, 3, H, W].
            inputs: padding, ids, mask, sizes and clip of each prompt, the same for both views.
            second: other frames of the same shape; what shows the same picture does so here too.
            pairs: prompts without a picture, read with the first view only.
            repeats: frames that show the same picture, as in `ActionVOS.encode_image`.
        """
        output = self.network(frames, *inputs, pairs=pairs, repeats=repeats)
        if second is None:
            return output, None
        return output, self.network(second, *inputs, repeats=repeats)


class TrainedNetwork:
    """One network of a run, and what changes its weights.

    Args:
        network: what is trained; moved to the device of this process.
        recipe: optimisation settings.
        group: this process among those that train together.
        teacher_decay: decay of the average that a strategy asks as a teacher; 0 keeps none.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        group: ProcessGroup,
        teacher_decay: float = 0.0,
    ) -> None:
        self.network = network.to(group.device)
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, recipe), weight_decay=recipe.weight_decay
        )
        self.average = MovingAverage(self.network, recipe.ema) if recipe.ema else None
        self.teacher = MovingAverage(self.network, teacher_decay) if teacher_decay else None
        self.teacher_views = Views(self.teacher.module).eval() if self.teacher else None
        self.local_views = Views(self.network)
        self.views = _distributed(self.local_views, group)

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

    def require_gradients(self) -> None:
        """Refuses a step that processes which train together could not finish.

        Raises:
            ActisegError: If a trainable parameter has no part in the loss; names it.
        """
        if not isinstance(self.views, DistributedDataParallel):
            return
        named = self.network.named_parameters()
        left_out = [name for name, own in named if own.requires_grad and own.grad is None]
        if left_out:
            raise ActisegError(
                f"{len(left_out)} parameters have no part in the loss of this step, such as "
                f"{left_out[0]}: a strategy that means this lets them take part and rest "
                "(Strategy.resting)"
            )

    def rest(self, parameters: Iterable[nn.Parameter]) -> None:
        """Takes the gradients of some parameters away, so that this step leaves them alone."""
        for own in parameters:
            own.grad = None

    def clip(self, norm: float) -> Tensor:
        """Scales the gradients down to a norm; returns the norm that they had (scalar)."""
        return nn.utils.clip_grad_norm_(self.network.parameters(), norm)

    def step(self) -> None:
        """Changes the weights, and their averages."""
        self.optimizer.step()
        for average in (self.average, self.teacher):
            if average is not None:
                average.update(self.network)

    @property
    def averaged(self) -> nn.Module:
        """The network with its averaged weights, if they are kept; else as it is trained."""
        return self.network if self.average is None else self.average.module

    @property
    def frozen(self) -> dict[str, Tensor]:
        """Parameters that no step changes, by name."""
        named = self.network.named_parameters()
        return {name: own.detach() for name, own in named if not own.requires_grad}

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed run needs but for what is frozen."""
        state = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average and self.average.state_dict(),
        }
        state |= {"teacher": self.teacher.state_dict()} if self.teacher else {}
        frozen = self.frozen.keys()
        for values in (state["network"], *(own["average"] for own in _averages(state))):
            for name in frozen:
                del values[name]
        return state

    def load_state_dict(self, state: dict[str, Any], frozen: Mapping[str, Tensor]) -> None:
        """Restores what `state_dict` and `frozen` gave."""
        for own in _averages(state):
            own["average"] |= frozen
        self.network.load_state_dict(state["network"] | frozen)
        self.optimizer.load_state_dict(state["optimizer"])
        for name, average in (("average", self.average), ("teacher", self.teacher)):
            if average is not None:
                average.load_state_dict(state[name])


def _averages(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [state[name] for name in ("average", "teacher") if state.get(name)]


def _distributed(module: nn.Module, group: ProcessGroup) -> nn.Module:
    """The module whose gradients are averaged over the processes; every parameter takes part."""
    if group.size == 1:
        return module
    for own in module.parameters():
        if own.requires_grad and 1 in own.shape:
            own.register_hook(partial(_with_strides, own.stride()))
    devices = [group.device] if group.device.type == "cuda" else None
    return DistributedDataParallel(module, device_ids=devices)


def _with_strides(strides: tuple[int, ...], gradient: Tensor) -> Tensor:
    """The gradient with the parameter's strides, where they differ in axes of one element alone.

    Convolutions with 1x1 kernels may say the same order in memory in another way, for which the
    processes would copy the gradient once more.
    """
    axes = zip(gradient.shape, gradient.stride(), strides, strict=True)
    if any(size > 1 and own != wanted for size, own, wanted in axes):
        return gradient
    return gradient.as_strided(gradient.shape, strides)
