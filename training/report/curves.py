"""Training curves: a number after each epoch, averaged over the seeds that have it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from statistics import fmean

from training.benchmark.cell_result import CurvePoint
from training.report.conditions import Results

Curve = Mapping[int, float]
"""Epoch, counted from 1 -> mean over seeds."""


def loss_curves(results: Results) -> dict[str, dict[str, Curve]]:
    """Noise level -> strategy -> mean training loss of each epoch."""
    return _curves(results, lambda point: point.loss)


def validation_curves(results: Results) -> dict[str, dict[str, Curve]]:
    """Noise level -> strategy -> p-mIoU of the validations during training, in percent."""
    return _curves(results, lambda point: point.metrics.p_miou if point.metrics else None)


def _curves(
    results: Results, read: Callable[[CurvePoint], float | None]
) -> dict[str, dict[str, Curve]]:
    """Levels and strategies without any value are left out."""
    levels: dict[str, dict[str, Curve]] = defaultdict(dict)
    for condition, cells in results.items():
        numbers: dict[int, list[float]] = defaultdict(list)
        for point in (point for cell in cells for point in cell.curve):
            if (value := read(point)) is not None:
                numbers[point.epoch].append(value)
        if numbers:
            curve = {epoch: fmean(numbers[epoch]) for epoch in sorted(numbers)}
            levels[condition.noise][condition.strategy] = curve
    return dict(levels)
