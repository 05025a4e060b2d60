"""``result.json``: what one cell of the benchmark was, what it reached and what it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from actiseg_ros.errors import ActisegError
from training.benchmark.attempts import Attempt
from training.evaluation.metrics import METRICS
from training.files.disk import read_json, write_json

RESULT_FILE = "result.json"
FORMAT = 1
LONGER = "-long"
"""Ends the name of a strategy in cells that are trained longer than the others."""


@dataclass(frozen=True, order=True)
class CellKey:
    """One training of the benchmark; a cell that several tables share is run once."""

    text_noise: float
    """Rate of Algorithm 1, 0 to 1."""
    mask_noise: int
    """Kernel of Algorithm 2 in pixels; 0 is clean."""
    strategy: str
    seed: int
    preset: str

    @property
    def noise(self) -> str:
        """Name of the noise level: ``clean``, ``name60``, ``mask21`` or ``name60-mask21``."""
        parts = []
        if self.text_noise:
            parts.append(f"name{100 * self.text_noise:g}")
        if self.mask_noise:
            parts.append(f"mask{self.mask_noise}")
        return "-".join(parts) or "clean"

    @property
    def trained_strategy(self) -> str:
        """The strategy as `actiseg train` knows it."""
        return self.strategy.removesuffix(LONGER)

    @property
    def is_longer(self) -> bool:
        """Whether the cell is trained longer than the others."""
        return self.strategy.endswith(LONGER)

    @property
    def folder(self) -> Path:
        """Folder of the cell inside the benchmark's: ``name60/co-teaching/seed0``."""
        return Path(self.noise) / self.strategy / f"seed{self.seed}"


@dataclass(frozen=True)
class Scores:
    """The six numbers on the clean evaluation split, in percent."""

    p_miou: float
    n_miou: float
    p_ciou: float
    n_ciou: float
    giou: float
    acc: float


@dataclass(frozen=True)
class Budget:
    """What the training was allowed."""

    epochs: int
    steps: int
    """Optimiser steps taken."""
    batch_size: int
    """Samples per optimiser step: per device, times accumulation, times devices."""
    pretrained: str | None
    """Name of the weights that all cells started from; None is random weights."""
    pretrained_sha256: str | None = None
    """Digest of that file; None also in results of before."""


@dataclass(frozen=True)
class RunFacts:
    """Where the training ran and what it cost."""

    device: str
    seconds: float
    """Wall-clock time of training, all attempts together; without the evaluation."""
    peak_memory_bytes: int
    """Tensors on the GPU; on a CPU the resident set of the process."""
    samples_per_second: float
    """Of the last epoch."""
    code: str
    """Version of the source."""
    started: str
    """ISO 8601, UTC."""
    cpu_seconds: float | None = None
    """Processor time of training, all attempts and processes; None in results of before, and where
    an attempt was killed."""
    precision: str | None = None
    """Number format of matrix products; None in results of before, which had the preset's."""


@dataclass(frozen=True)
class CurvePoint:
    """End of one epoch."""

    epoch: int
    """Counted from 1."""
    step: int
    """Optimiser steps so far."""
    loss: float
    """Mean of the epoch."""
    metrics: Scores | None = None
    """Of the validation in training, in percent; None where there was none."""


@dataclass(frozen=True)
class CellResult:
    """A finished cell."""

    cell: CellKey
    metrics: Scores
    budget: Budget
    run: RunFacts
    curve: tuple[CurvePoint, ...]
    reference: str | None = None
    """What its options follow, ``paper`` or ``released``; None in results from before there was a
    choice."""


def write_result(folder: Path, result: CellResult) -> None:
    """Writes ``result.json`` into a cell's folder; it appears complete or not at all."""
    write_json(folder / RESULT_FILE, {"format": FORMAT, **asdict(result)})


def result_of_run(
    key: CellKey, record: Mapping[str, Any], metrics: Scores, attempts: Sequence[Attempt]
) -> CellResult:
    """The result of a cell.

    Args:
        key: the cell.
        record: its training's ``run.json``.
        metrics: on the clean split.
        attempts: all that were needed.
    """
    config, epochs = record["config"], record["epochs"]
    return CellResult(
        cell=key,
        metrics=metrics,
        budget=Budget(
            epochs=len(epochs),
            steps=epochs[-1]["step"],
            batch_size=config["batch_size"] * config["accumulate"] * record["processes"],
            pretrained=Path(config["pretrained"]).name if config["pretrained"] else None,
            pretrained_sha256=record.get("inputs", {}).get("start weights"),
        ),
        run=RunFacts(
            device=record["device"],
            seconds=math.fsum(attempt.training_seconds for attempt in attempts),
            cpu_seconds=_sum_if_known(attempt.training_cpu_seconds for attempt in attempts),
            peak_memory_bytes=record["peak_memory_bytes"],
            samples_per_second=record["samples_per_second"],
            code=record["code"],
            started=record["started"],
            precision=config["precision"],
        ),
        curve=tuple(_validated(entry) for entry in epochs),
        reference=config["reference"],
    )


def _sum_if_known(values: Iterable[float | None]) -> float | None:
    known = list(values)
    return None if None in known else math.fsum(value or 0.0 for value in known)


def _validated(entry: Mapping[str, Any]) -> CurvePoint:
    """An epoch of ``run.json``; a validation with an undefined number is left out."""
    values = [entry.get(name) for name in METRICS]
    known = all(value is not None and math.isfinite(value) for value in values)
    metrics = scores_of(entry) if known else None
    return CurvePoint(entry["epoch"], entry["step"], entry["loss"], metrics)


def read_result(path: Path) -> CellResult:
    """Reads a ``result.json``.

    Raises:
        ActisegError: If the file is missing, of another format or lacks a field.
    """
    value = read_json(path)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ActisegError(f"{path}: not a benchmark result of format {FORMAT}; run its cell again")
    try:
        return CellResult(
            cell=_build(CellKey, value["cell"]),
            metrics=scores_of(value["metrics"]),
            budget=_build(Budget, value["budget"]),
            run=_build(RunFacts, value["run"]),
            curve=tuple(_point(entry) for entry in value["curve"]),
            reference=value.get("reference"),
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ActisegError(
            f"{path}: lacks or misnames a field ({error}); run its cell again"
        ) from error


def read_results(folder: Path) -> Iterator[CellResult]:
    """All finished cells below a folder, in the order of their paths.

    Raises:
        ActisegError: If one of the files cannot be read, or there is none.
    """
    paths = sorted(folder.glob(f"*/*/*/{RESULT_FILE}"))
    if not paths:
        raise ActisegError(
            f"{folder}: no finished cell (*/*/*/{RESULT_FILE}); run a benchmark first"
        )
    return (read_result(path) for path in paths)


_T = TypeVar("_T")


def _build(kind: type[_T], values: Mapping[str, Any]) -> _T:
    """A flat dataclass; fields that it does not know are ignored."""
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type]
    return kind(**{name: value for name, value in values.items() if name in known})


def scores_of(values: Mapping[str, Any]) -> Scores:
    """The six numbers among others; raises `KeyError` or `TypeError` if one is missing."""
    scores = _build(Scores, values)
    for name, value in vars(scores).items():
        if not isinstance(value, (int, float)):
            raise TypeError(f"{name} is {value}, not a number")
    return scores


def _point(entry: Mapping[str, Any]) -> CurvePoint:
    metrics = entry.get("metrics")
    return CurvePoint(
        entry["epoch"],
        entry["step"],
        entry["loss"],
        None if metrics is None else scores_of(metrics),
    )
