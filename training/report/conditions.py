"""The cells of a benchmark folder, gathered into conditions: the same noise and strategy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from training.benchmark.cell_result import CellResult
from training.benchmark.suites import strategy_order
from training.strategies import STRATEGIES


def strategy_name(strategy: str) -> str:
    """A strategy as the paper writes it; one that is not here any more as its cells call it."""
    return STRATEGIES[strategy].title if strategy in STRATEGIES else strategy


@dataclass(frozen=True, order=True)
class Condition:
    """Noise and strategy of a table's row; its seeds are repetitions."""

    text_noise: float
    """Rate of Algorithm 1, 0 to 1."""
    mask_noise: int
    """Kernel of Algorithm 2 in pixels; 0 is clean."""
    strategy: str

    @property
    def noise(self) -> str:
        """The noise as the paper writes it: ``Clean``, ``Name-60``, ``Mask 21×21`` or both."""
        parts = []
        if self.text_noise:
            parts.append(f"Name-{100 * self.text_noise:g}")
        if self.mask_noise:
            parts.append(f"Mask {self.mask_noise}×{self.mask_noise}")
        return " + ".join(parts) or "Clean"

    def __str__(self) -> str:
        return f"{strategy_name(self.strategy)}, {self.noise}"


Results = Mapping[Condition, Sequence[CellResult]]
"""Finished cells of each condition, in the order of their seeds."""


def by_condition(cells: Iterable[CellResult]) -> Results:
    """Gathers cells, the strategies in the paper's order."""
    found: dict[Condition, list[CellResult]] = {}
    order = strategy_order()
    for cell in sorted(cells, key=lambda cell: cell.cell):
        key = cell.cell
        condition = Condition(round(key.text_noise, 6), key.mask_noise, key.strategy)
        found.setdefault(condition, []).append(cell)

    def place(condition: Condition) -> tuple[float, int, int, str]:
        name = condition.strategy
        rank = order.index(name) if name in order else len(order)
        return condition.text_noise, condition.mask_noise, rank, name

    return {condition: found[condition] for condition in sorted(found, key=place)}


def values(results: Results, condition: Condition, metric: str) -> list[float]:
    """One metric of all seeds, in percent; empty for a missing condition."""
    return [float(getattr(cell.metrics, metric)) for cell in results.get(condition, ())]
