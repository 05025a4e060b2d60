"""Benchmark cells that nobody trained: the paper's values with a spread over seeds."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from training.benchmark.cell_result import (
    Budget,
    CellKey,
    CellResult,
    CurvePoint,
    RunFacts,
    Scores,
    write_result,
)
from training.report.paper import paper_values

_RUN = RunFacts("Test CPU", 90.0, 3_000_000_000, 12.5, "v1", "2026-01-02T03:04:05+00:00")


def paper_cells(seeds: Iterable[int] = (0, 1, 2), spread: float = 0.2) -> Iterator[CellResult]:
    """All of the paper's conditions; the seeds scatter about its values."""
    rng = random.Random(7)
    for condition, printed in paper_values().items():
        for seed in seeds:
            metrics = Scores(**{name: x + rng.gauss(0, spread) for name, x in printed.items()})
            level = condition.text_noise, condition.mask_noise
            yield cell(*level, condition.strategy, seed, metrics=metrics)


def cell(
    text_noise: float,
    mask_noise: int,
    strategy: str,
    seed: int,
    *,
    metrics: Scores | None = None,
    epochs: int = 6,
    code: str = "v1",
    reference: str | None = "paper",
) -> CellResult:
    """One cell; all metrics are 50 if not given."""
    metrics = metrics or Scores(50, 50, 50, 50, 50, 50)
    return CellResult(
        CellKey(text_noise, mask_noise, strategy, seed, "tiny"),
        metrics,
        Budget(epochs, 100 * epochs, 8, None),
        replace(_RUN, code=code),
        tuple(CurvePoint(e, 100 * e, 2 / e, metrics) for e in range(1, epochs + 1)),
        reference,
    )


def write_cells(folder: Path, cells: Iterable[CellResult]) -> Path:
    """A benchmark folder with these cells."""
    for result in cells:
        write_result(folder / result.cell.folder, result)
    return folder
