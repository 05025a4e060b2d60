"""What steps say, left on the device until somebody asks.

Asking a GPU for one number waits for all that it has been given to do, and then it waits for the
next step to arrive. So a step hands on tensors, and those of several steps are read at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from training.data.clips import Batch
from training.engine.distributed import ProcessGroup


class NonFiniteError(Exception):
    """A loss or gradient is infinite or not a number.

    Args:
        step: counted from 0 over the whole run.
        said: which value, and on which samples.
    """

    def __init__(self, step: int, said: str) -> None:
        super().__init__(f"step {step}: {said}")
        self.step, self.said = step, said


class Check(NamedTuple):
    """Values that have to be finite."""

    what: str
    """Names them."""
    values: Tensor
    """One for each batch, float [B]."""
    sequences: Sequence[Sequence[str]]
    """Those of each of the B batches."""

    @classmethod
    def of(cls, what: str, values: Tensor, batches: Sequence[Batch]) -> Check:
        """A check of a value for each batch."""
        return cls(what, values.detach(), [batch.sequences for batch in batches])


class StepResult(NamedTuple):
    """What a step says: scalars on the device, or numbers."""

    losses: Mapping[str, Tensor]
    """Mean loss terms, their `total` and the gradient norm of the first network, and the `total` of
    the others."""
    log: Mapping[str, Tensor | float]
    """What the strategy says of the step's last batch."""
    checks: Sequence[Check]
    """In the order in which they were met."""


class StepNumbers(NamedTuple):
    """What a step said."""

    samples: int
    """How many of them all processes together took it over."""
    rate: float
    """Learning rate."""
    losses: dict[str, float]
    log: dict[str, float]


class _Unread(NamedTuple):
    step: int
    samples: int
    rate: float
    result: StepResult


class UnreadSteps:
    """The steps whose numbers nobody has asked for yet.

    Args:
        group: the processes; all take the same steps and ask at the same time.
    """

    def __init__(self, group: ProcessGroup) -> None:
        self._group = group
        self._steps: list[_Unread] = []

    def add(self, step: int, samples: int, rate: float, result: StepResult) -> None:
        """Adds a step.

        Args:
            step: counted from 0 over the whole run.
            samples: how many of them all processes together took it over.
            rate: learning rate.
            result: what it says.
        """
        self._steps.append(_Unread(step, samples, rate, result))

    def read(self) -> list[StepNumbers]:
        """The numbers of all steps since the last call, which waits for the device once.

        Raises:
            NonFiniteError: In all processes, if a loss or gradient is not finite in any; the
                weights are then of no use, and no checkpoint must be written.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return []
        numbers = iter(_host([value for step in steps for value in _tensors(step.result)]))
        read, failed = [], None
        for own in steps:
            losses, log = own.result.losses, own.result.log
            read.append(
                StepNumbers(
                    own.samples,
                    own.rate,
                    {name: next(numbers)[0] for name in losses},
                    {n: next(numbers)[0] if isinstance(v, Tensor) else v for n, v in log.items()},
                )
            )
            for check in own.result.checks:
                failed = failed or _failure(check, next(numbers), own.step)
        _require_none(failed, self._group)
        return read


def require_finite(check: Check, step: int, group: ProcessGroup) -> None:
    """Asks at once; every process calls this.

    Raises:
        NonFiniteError: In all processes, if a value is not finite in any.
    """
    (numbers,) = _host([check.values])
    _require_none(_failure(check, numbers, step), group)


_Failure = tuple[int, int, str]
"""Step, order within it and what is said: of several failures the least is the cause."""


def _failure(check: Check, numbers: Sequence[float], step: int) -> _Failure | None:
    wrong = [index for index, value in enumerate(numbers) if not -torch.inf < value < torch.inf]
    if not wrong:
        return None
    samples = sorted({name for index in wrong for name in check.sequences[index]})
    said = f"{check.what} is {numbers[wrong[0]]} on samples {', '.join(samples)}"
    # All processes share a gradient, so the loss that spoilt it tells whose samples they were.
    return step, check.what != "loss", said


def _require_none(failed: _Failure | None, group: ProcessGroup) -> None:
    failures = [other for other in group.gather(failed) if other is not None]
    if failures:
        step, _, said = min(failures)
        raise NonFiniteError(step, said)


def _tensors(result: StepResult) -> list[Tensor]:
    """All that is on the device, in the order in which it is read."""
    log = [value for value in result.log.values() if isinstance(value, Tensor)]
    return [*result.losses.values(), *log, *(check.values for check in result.checks)]


def _host(tensors: Sequence[Tensor]) -> list[list[float]]:
    """The numbers of each tensor, in one transfer; those that are on the host already join it."""
    device = next((value.device for value in tensors if value.device.type != "cpu"), None)
    flat = torch.cat([value.detach().reshape(-1).float().to(device) for value in tensors])
    return [list(part) for part in _parts(flat.tolist(), [value.numel() for value in tensors])]


def _parts(numbers: Sequence[float], counts: Sequence[int]) -> list[Sequence[float]]:
    ends = torch.tensor(counts).cumsum(0).tolist()
    return [numbers[end - count : end] for count, end in zip(counts, ends, strict=True)]
