"""Effects: weighted sums of cells' means, with what is known of their uncertainty.

A seed is one draw of the noise, one order of the samples and one set of fresh weights, and all
strategies of a noise level share it. So cells are compared in blocks: within a level, metric =
strategy + seed + rest, and for one strategy, metric = level + seed + rest. What a seed does to all
alike drops out of every difference, and all cells of the level (or strategy) together say how large
the rest is. The clips of the evaluated split are a second source of chance: without it an interval
speaks of these clips, with it (bootstrap over clips, the same for all cells) of others like them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from training.benchmark.cell_result import CellKey
from training.benchmark.clip_scores import ClipScores, metrics_of
from training.report.conditions import Condition, Results
from training.report.paper import LABELS

Term = tuple[float, Condition]
"""Weight and condition."""
Design = Literal["blocks of seeds", "the same seeds"]
P_LESS_N = "p_less_n"
"""p-mIoU less n-mIoU: what is found, less what is drawn of objects that are not active."""
_SUMS: Mapping[str, Mapping[str, float]] = {P_LESS_N: {"p_miou": 1.0, "n_miou": -1.0}}
"""Measures that are weighted sums of metrics."""
_DRAWS = 2000
"""Draws of the bootstrap over clips."""
_DRAW_SEED = 0
_NO_ERROR = 1e-9
"""Standard errors up to this are what rounding leaves of cells whose differences are all alike."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """Finished cells and, where they are known, their results by clip."""

    results: Results
    clips: Mapping[CellKey, ClipScores] = field(default_factory=dict)
    _drawn: dict[CellKey, dict[str, Floats]] = field(default_factory=dict, repr=False)

    def drawn(self, key: CellKey) -> dict[str, Floats]:
        """A cell's metrics in percent on drawn sets of clips, [draws] each; see `same_clips`."""
        if key not in self._drawn:
            sums = self.clips[key].sums
            rng = np.random.default_rng(_DRAW_SEED)  # so that all cells see the same clips
            times = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), _DRAWS)
            self._drawn[key] = metrics_of(times @ sums)
        return self._drawn[key]

    def same_clips(self, keys: Iterable[CellKey]) -> bool:
        """Whether all of these cells are known on the same clips, two at least."""
        names = {self.clips[key].clips if key in self.clips else () for key in keys}
        return len(names) == 1 and len(next(iter(names))) > 1


@dataclass(frozen=True)
class Effect:
    """An estimated effect.

    Attributes:
        scaled: The estimate: percentage points, or of a relative effect 100 times the logarithm;
            NaN where that of a cell is not finite.
        error: Its standard error in the same unit; None where the cells say nothing about it.
        degrees: Degrees of freedom of the error.
        design: How seeds were compared; None without an error.
        seeds: Seeds of the condition that has the fewest.
        clip_error: The part of `error` that comes from the choice of clips; None if that is not
            known and `error` speaks of these clips only.
        relative: A ratio of means rather than a difference.
        unknown: Why there is no error; empty with one.
    """

    scaled: float
    error: float | None
    degrees: float
    design: Design | None
    seeds: int
    clip_error: float | None = None
    relative: bool = False
    unknown: str = ""

    @property
    def value(self) -> float:
        """Percentage points, or percent of a relative effect; NaN as `scaled`."""
        return self._shown(self.scaled)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Two-sided confidence interval, in the unit of `value`."""
        if self.error is None:
            return None
        half = float(stats.t.ppf((1 + confidence) / 2, self.degrees)) * self.error
        return self._shown(self.scaled - half), self._shown(self.scaled + half)

    def p_at_most(self, bound: float) -> float:
        """One-sided p-value of the hypothesis that the effect is at most `bound`."""
        return self._tail(self.scaled - self._scaled(bound))

    def p_at_least(self, bound: float) -> float:
        """One-sided p-value of the hypothesis that the effect is at least `bound`."""
        return self._tail(self._scaled(bound) - self.scaled)

    def text(self) -> str:
        """``+2.1 [0.4, 3.8]``, ``+2.1`` or ``–``; relative effects have a percent sign."""
        if not math.isfinite(self.value):
            return "–"
        unit, ends = " %" if self.relative else "", self.interval()
        text = f"{self.value:+.1f}"
        if ends is not None:
            text += f" [{ends[0]:.1f}, {ends[1]:.1f}]"
        return (text + unit).replace("-", "−")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        ends = self.interval()
        return {
            "value": self.value if math.isfinite(self.value) else None,
            "interval": None if ends is None else list(ends),
            "error": self.error,
            "clip_error": self.clip_error,
            "degrees": self.degrees if self.error is not None else None,
            "design": self.design,
            "seeds": self.seeds,
            "relative": self.relative,
        }

    def _tail(self, distance: float) -> float:
        if self.error is None:
            return 1.0
        return float(stats.t.sf(distance / self.error, self.degrees))

    def _shown(self, scaled: float) -> float:
        return 100 * math.expm1(scaled / 100) if self.relative else scaled

    def _scaled(self, shown: float) -> float:
        return 100 * math.log1p(shown / 100) if self.relative else shown


def effect(
    evidence: Evidence, metric: str, terms: Sequence[Term], *, relative: bool = False
) -> Effect:
    """Estimates a weighted sum of means over seeds.

    - Differences within noise levels, and sums of them: blocks of seeds at each level with all of
      its strategies; the errors of levels are independent and add up.
    - Differences between levels of one strategy: blocks of seeds over all of its levels.
    - Other sums: the sum of each seed that all conditions have.

    So the estimate is a weighted sum of cells, and what a choice of clips does to it is that sum on
    drawn clips. Where cells tell the sum but not its error (one seed, or seeds that do not differ),
    it has none; where no seeds are shared it is that of plain means, without an error. Where a
    logarithm is not finite (a cell finds nothing) there is no estimate; such cells of conditions
    that are no terms are left out.

    Args:
        evidence: Cells; every condition of the terms has one at least.
        metric: One of `METRICS`, or `P_LESS_N`.
        terms: The sum.
        relative: Take logarithms first, so that a difference becomes a ratio.
    """
    chosen = _Metric(metric, relative)
    seeds = min(len(evidence.results[condition]) for _, condition in terms)

    def without_error(value: float, unknown: str) -> Effect:
        return Effect(value, None, 0, None, seeds, relative=relative, unknown=unknown)

    if nothing := _not_finite(evidence.results, chosen, terms):
        return without_error(math.nan, nothing)
    found = _over_seeds(evidence.results, chosen, terms)
    if found is None:
        return without_error(_plain(evidence.results, chosen, terms), "no seeds are shared")
    estimate, design = found
    if estimate.error is None:
        alone = "one seed" if seeds == 1 else "one shared seed"
        return without_error(estimate.value, f"{alone} alone has no interval")
    if estimate.error <= _NO_ERROR:
        return without_error(estimate.value, "the seeds do not differ, so they tell no interval")
    over_seeds = Effect(estimate.value, estimate.error, estimate.degrees, design, seeds,
                        relative=relative)  # fmt: skip
    by_clips = _over_clips(evidence, chosen, estimate.weights)
    if by_clips is None:
        return over_seeds
    error, degrees = add_errors([(estimate.error, estimate.degrees), by_clips])
    return replace(over_seeds, error=error, degrees=degrees, clip_error=by_clips[0])


def add_errors(parts: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """Standard error of a sum of independent parts, with Satterthwaite's degrees of freedom.

    Args:
        parts: Standard error and degrees of freedom of each.
    """
    listed = list(parts)
    total = math.fsum(error**2 for error, _ in listed)
    if total == 0:
        return 0.0, min(degrees for _, degrees in listed)
    spread = math.fsum((error**2 / total) ** 2 / degrees for error, degrees in listed)
    return math.sqrt(total), 1 / spread


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values (Holm 1979), in the order given."""
    count = len(p_values)
    adjusted, largest = [1.0] * count, 0.0
    for rank, index in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


@dataclass(frozen=True)
class _Metric:
    name: str
    relative: bool

    def of(self, values: Floats) -> Floats:
        """Percent, or 100 times the logarithm."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return 100 * np.log(values) if self.relative else values

    def measured(self, results: Results, condition: Condition) -> dict[CellKey, float]:
        """Value of each cell that has one: a logarithm of 0 is none."""
        return {key: value for key, value in self.every(results, condition).items()
                if math.isfinite(value)}  # fmt: skip

    def every(self, results: Results, condition: Condition) -> dict[CellKey, float]:
        """Value of each cell; not finite where it has no logarithm."""
        cells = results[condition]
        values = self._value({part: [getattr(cell.metrics, part) for cell in cells]
                              for part in self._parts})  # fmt: skip
        return {cell.cell: float(v) for cell, v in zip(cells, values, strict=True)}

    def drawn(self, evidence: Evidence, key: CellKey) -> Floats:
        """Values on drawn sets of clips, see `Evidence.drawn`."""
        return self._value(evidence.drawn(key))

    @property
    def _parts(self) -> Mapping[str, float]:
        return _SUMS.get(self.name, {self.name: 1.0})

    def _value(self, metrics: Mapping[str, Any]) -> Floats:
        parts = [weight * np.array(metrics[part], float) for part, weight in self._parts.items()]
        return self.of(np.sum(parts, axis=0))


@dataclass(frozen=True)
class _Estimate:
    value: float
    error: float | None
    """None if the cells tell the value alone."""
    degrees: float
    weights: Mapping[CellKey, float]
    """Of the cells whose sum the value is."""


def _not_finite(results: Results, metric: _Metric, terms: Sequence[Term]) -> str:
    """Which cell of a sum has no finite value, in words; empty if all have one."""
    for _, condition in terms:
        for key, value in metric.every(results, condition).items():
            if not math.isfinite(value):
                label = LABELS.get(metric.name, metric.name)
                shown = float(np.exp(value / 100)) if metric.relative else value
                return f"a cell's {label} is {shown:g}: {key.folder.as_posix()}"
    return ""


def _plain(results: Results, metric: _Metric, terms: Sequence[Term]) -> float:
    means = ((w, np.mean(list(metric.measured(results, c).values()))) for w, c in terms)
    return math.fsum(weight * float(mean) for weight, mean in means)


def _over_seeds(
    results: Results, metric: _Metric, terms: Sequence[Term]
) -> tuple[_Estimate, Design] | None:
    """The sum with its error over seeds; None if no shared seeds tell it."""
    levels: dict[tuple[float, int], list[Term]] = defaultdict(list)
    for weight, condition in terms:
        levels[condition.text_noise, condition.mask_noise].append((weight, condition))
    strategies = {condition.strategy for _, condition in terms}
    parts: list[_Estimate | None]
    if all(_is_difference(part) for part in levels.values()):
        parts = [
            _blocks(
                {c: own for c, own in results.items() if (c.text_noise, c.mask_noise) == level},
                metric,
                part,
            )
            for level, part in levels.items()
        ]
    elif len(strategies) == 1 and _is_difference(terms):
        own = {c: cells for c, cells in results.items() if c.strategy in strategies}
        parts = [_blocks(own, metric, terms)]
    else:
        estimate = _same_seeds(results, metric, terms)
        return None if estimate is None else (estimate, "the same seeds")
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    value = math.fsum(part.value for part in known)
    weights = {key: weight for part in known for key, weight in part.weights.items()}
    errors = [(part.error, part.degrees) for part in known if part.error is not None]
    if len(errors) < len(known):
        return _Estimate(value, None, 0, weights), "blocks of seeds"
    error, degrees = add_errors(errors)
    return _Estimate(value, error, degrees, weights), "blocks of seeds"


def _is_difference(terms: Sequence[Term]) -> bool:
    return abs(math.fsum(weight for weight, _ in terms)) < 1e-9


def _blocks(results: Results, metric: _Metric, terms: Sequence[Term]) -> _Estimate | None:
    """Least squares of condition + seed; None if the cells do not tell the sum."""
    conditions = list(results)
    measured = [metric.measured(results, condition) for condition in conditions]
    keys = [key for values in measured for key in values]
    seeds = sorted({key.seed for key in keys})
    rows = []
    for position, values in enumerate(measured):
        for key in values:
            row = np.zeros(len(conditions) + len(seeds))
            row[position] = row[len(conditions) + seeds.index(key.seed)] = 1
            rows.append(row)
    design = np.array(rows)
    observed = np.array([value for values in measured for value in values.values()])
    wanted = np.zeros(design.shape[1])
    for weight, condition in terms:
        wanted[conditions.index(condition)] += weight
    square = design.T @ design
    inverse = np.linalg.pinv(square, hermitian=True)
    degrees = len(observed) - int(np.linalg.matrix_rank(design))
    if not np.allclose(wanted @ inverse @ square, wanted):
        return None
    fitted = inverse @ design.T @ observed
    value = float(wanted @ fitted)
    of_cells = wanted @ inverse @ design.T
    weights = {k: float(w) for k, w in zip(keys, of_cells, strict=True) if abs(w) > 1e-9}
    if degrees < 1:
        return _Estimate(value, None, 0, weights)
    rest = observed - design @ fitted
    variance = float(rest @ rest) / degrees * float(wanted @ inverse @ wanted)
    return _Estimate(value, math.sqrt(max(0.0, variance)), degrees, weights)


def _same_seeds(results: Results, metric: _Metric, terms: Sequence[Term]) -> _Estimate | None:
    """Mean of the sums of single seeds; None if no seed has all conditions."""
    measured = [
        (weight, {key.seed: (key, value) for key, value in metric.measured(results, c).items()})
        for weight, c in terms
    ]
    common = sorted(set.intersection(*(set(by_seed) for _, by_seed in measured)))
    if not common:
        return None
    sums = [math.fsum(w * by_seed[seed][1] for w, by_seed in measured) for seed in common]
    weights = {
        by_seed[seed][0]: weight / len(common) for weight, by_seed in measured for seed in common
    }
    if len(common) < 2:
        return _Estimate(sums[0], None, 0, weights)
    error = float(np.std(sums, ddof=1)) / math.sqrt(len(sums))
    return _Estimate(float(np.mean(sums)), error, len(sums) - 1, weights)


def _over_clips(
    evidence: Evidence, metric: _Metric, weights: Mapping[CellKey, float]
) -> tuple[float, float] | None:
    """Standard error of the sum over draws of clips and its degrees; None if it is not known."""
    if not evidence.same_clips(weights):
        return None
    total = np.zeros(_DRAWS)
    for key, weight in weights.items():
        total += weight * metric.drawn(evidence, key)
    total = total[np.isfinite(total)]
    if len(total) < 2:
        return None
    return float(np.std(total, ddof=1)), len(evidence.clips[next(iter(weights))].clips) - 1
