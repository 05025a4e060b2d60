"""What each strategy cost: memory and speed of its trainings, by device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from training.benchmark.cell_result import CellResult
from training.report.conditions import Results


@dataclass(frozen=True)
class Cost:
    """Medians over all cells of a strategy on one device."""

    strategy: str
    peak_memory_gb: float
    """Tensors on a GPU, or the resident set of the process on a CPU; 10^9 bytes."""
    samples_per_second: float
    cpu_seconds: float | None
    """Processor time of a training, all its processes; None if no cell knows it."""
    seconds: float
    """Wall-clock time of a training."""
    cells: int

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def costs_by_device(results: Results) -> Mapping[str, Sequence[Cost]]:
    """Costs for each device, strategies in the order of `results`."""
    found: dict[str, dict[str, list[CellResult]]] = defaultdict(lambda: defaultdict(list))
    for condition, cells in results.items():
        for cell in cells:
            found[cell.run.device][condition.strategy].append(cell)
    return {
        device: [_cost(strategy, cells) for strategy, cells in strategies.items()]
        for device, strategies in found.items()
    }


def _cost(strategy: str, cells: Sequence[CellResult]) -> Cost:
    known = [cell.run.cpu_seconds for cell in cells if cell.run.cpu_seconds is not None]
    return Cost(
        strategy,
        median(cell.run.peak_memory_bytes for cell in cells) / 1e9,
        median(cell.run.samples_per_second for cell in cells),
        median(known) if known else None,
        median(cell.run.seconds for cell in cells),
        len(cells),
    )
