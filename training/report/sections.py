"""The page's sections of figures, or a plain sentence on what one lacks."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.benchmark.failures import FAILS_BELOW, Samples, area, read_samples
from training.benchmark.settings import BenchmarkData
from training.config.noise import NameOptions
from training.data.layout import LABELS, image_folder, split_file
from training.data.splits import read_split
from training.noise.mask import MaskNoise, measure_severity
from training.noise.statistics import noun_shares
from training.noise.text import TextNoise, noisy_split, vocabulary
from training.report.charts import (
    Picture,
    Point,
    cost_chart,
    curves_chart,
    noun_chart,
    severity_chart,
    tradeoff_chart,
)
from training.report.conditions import Condition, Results, strategy_name, values
from training.report.costs import Cost
from training.report.curves import Curve, loss_curves, validation_curves
from training.report.effects import Evidence
from training.report.estimates import Estimate, mean
from training.report.ninth import ENDPOINTS, LEVEL, MOST_LOST, compare, told
from training.report.panels import WEIGHTS, Panel, find_cells, make_panels
from training.report.paper import paper_noun_shares, paper_values

_RATES = (0.2, 0.4, 0.6)
_KERNELS = (9, 15, 21)
_ANSWERS = {True: "yes", False: "no", None: "cannot be told"}
_NEEDS_DATA = "Left out: it needs the prepared data, which was not found; give --data."


@dataclass(frozen=True)
class Grid:
    """A plain table."""

    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """The first cell of each is its head."""

    def as_json(self) -> list[dict[str, str]]:
        """Each row as an object of its heads."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Section:
    """A titled part of the page."""

    id: str
    title: str
    text: tuple[str, ...] = ()
    """Paragraphs; the only content of a section that lacks its input."""
    charts: tuple[Picture, ...] = ()
    grid: Grid | None = None
    panels: tuple[Panel, ...] = field(default=())

    def pictures(self) -> Iterator[Picture]:
        """All pictures in the order of the page."""
        yield from self.charts
        for panel in self.panels:
            for strip in panel.strips:
                yield from strip.pictures


def _of_data(
    empty: Section,
    source: BenchmarkData | None,
    make: Callable[[BenchmarkData], Section],
    *,
    asked: bool,
) -> Section:
    """A section about data, or why it is left out.

    Args:
        empty: Its id and title.
        source: The data.
        make: Makes it of them.
        asked: Whether the user named what it is made of, so that it must not be left out.

    Raises:
        ActisegError: If it is asked for, and data or weights cannot be read.
    """
    if source is None:
        return replace(empty, text=(_NEEDS_DATA,))
    try:
        return make(source)
    except (ActisegError, OSError) as error:
        if asked:
            raise
        return replace(empty, text=(f"Left out: {str(error).rstrip('.')}.",))


def noise_sections(source: BenchmarkData | None, *, asked: bool = False) -> tuple[Section, ...]:
    """How text noise shifts the nouns (Fig. 2), and how far mask noise moves the masks (Fig. 3).

    Raises:
        ActisegError: If `asked`, and the split or a label image cannot be read, or the split is
            noisy already.
    """
    nouns = Section("nouns", "Distribution shift under text noise (Fig. 2)")
    severity = Section("severity", "Severity of mask noise (Fig. 3)")
    return (
        _of_data(nouns, source, lambda found: _nouns(nouns, found), asked=asked),
        _of_data(severity, source, lambda found: _severity(severity, found), asked=asked),
    )


def _nouns(empty: Section, source: BenchmarkData) -> Section:
    file = split_file(source.data, source.split)
    clean = read_split(file)
    names = vocabulary(file, clean, NameOptions())
    if len(names) < 2:
        told = f"Left out: the split “{source.split}” names {len(names)} class; noise needs two."
        return replace(empty, text=(told,))
    noisy = {
        rate: noun_shares(clean, noisy_split(clean, TextNoise(names, rate))) for rate in _RATES
    }
    levels = {"clean": {noun: share[0] for noun, share in noisy[_RATES[0]].items()}}
    levels |= {
        f"{100 * rate:g} %": {noun: share[1] for noun, share in shares.items()}
        for rate, shares in noisy.items()
    }
    compared = [
        f"{noun} {100 * noisy[0.6][noun][0]:.1f} % → {100 * noisy[0.6][noun][1]:.1f} % "
        f"(paper {before:.2f} % → {after:.2f} %)"
        for noun, (before, after) in paper_noun_shares().items()
        if noun in noisy[0.6]
    ]
    text = (
        f"Share of each noun among the {_objects(clean)} objects of the split "
        f"“{source.split}”, for nouns "
        "with more than 1 % of the clean objects; Algorithm 1, seed 0.",
        f"From clean to a noise rate of 60 %: {'; '.join(compared)}.",
    )
    caption = "Share of the nouns, clean and at three noise rates."
    alt = f"Bar chart. {text[1]}"
    chart = Picture("nouns", caption, alt, noun_chart(levels))
    return replace(empty, text=text, charts=(chart,))


def _severity(empty: Section, source: BenchmarkData) -> Section:
    file = split_file(source.data, source.split)
    labels = source.data / LABELS / image_folder(source.data, file)
    measured = measure_severity(labels, file, [MaskNoise(kernel) for kernel in _KERNELS])
    by_kernel = dict(zip(_KERNELS, measured, strict=True))
    listed = "; ".join(
        f"{kernel}×{kernel} mIoU {100 * found.miou:.1f}, cIoU {100 * found.ciou:.1f}"
        for kernel, found in by_kernel.items()
    )
    text = (
        f"Overlap of the dilated with the clean masks over {measured[0].samples} masks of active "
        f"objects in the split “{source.split}”: {listed}.",
    )
    caption = "The larger the kernel, the less the noisy masks agree with the clean ones."
    chart = Picture("severity", caption, f"Bar chart. {text[0]}", severity_chart(by_kernel))
    return replace(empty, text=text, charts=(chart,))


def tradeoff_section(results: Results) -> Section:
    """p-mIoU against n-mIoU by strategy and noise, ours and the paper's."""
    ours = _points(results, lambda condition, metric: mean(values(results, condition, metric)))
    printed = paper_values()
    paper = _points(printed, lambda condition, metric: Estimate(printed[condition][metric], None))
    text = (
        "Each point is a strategy: the further right, the more of the active objects it finds; the "
        "further down, the less it draws on inactive ones. Bars are 95 % intervals over seeds.",
    )
    charts = (
        Picture("tradeoff", "Ours.", _tradeoff_alt("Our", ours), tradeoff_chart(ours)),
        Picture(
            "tradeoff-paper",
            "The paper's values (VISOR).",
            _tradeoff_alt("The paper's", paper),
            tradeoff_chart(paper),
        ),
    )
    return Section("tradeoff", "Foreground against background", text, charts)


def curves_section(results: Results) -> Section:
    """Loss and validation during training."""
    losses, validations = loss_curves(results), validation_curves(results)
    title = "Training curves"
    if not losses:
        return Section("curves", title, ("Left out: no cell recorded its epochs.",))
    charts = [
        Picture(
            "loss",
            "Mean training loss of each epoch; the strategies' losses are different functions, so "
            "compare shapes, not heights.",
            _curves_alt("training loss", losses),
            curves_chart(losses, "training loss"),
        )
    ]
    text = ["Means over the seeds."]
    if validations:
        charts.append(
            Picture(
                "validation",
                "p-mIoU of the validations during training, on clean labels.",
                _curves_alt("p-mIoU in validation", validations),
                curves_chart(validations, "p-mIoU (%)"),
            )
        )
    else:
        text.append("No cell was validated during training, so there is no curve of p-mIoU.")
    return Section("curves", title, tuple(text), tuple(charts))


def costs_section(costs: Mapping[str, Sequence[Cost]]) -> Section:
    """Memory and throughput of each strategy, one chart a device."""
    text = (
        "Medians over all cells of a strategy. Memory is that of the tensors on a GPU and the "
        "process's resident set on a CPU; cells that ran side by side slowed each other down.",
        *(
            f"{device}, processor time of a training in minutes: "
            + ", ".join(
                f"{strategy_name(cost.strategy)} {cost.cpu_seconds / 60:.1f}"
                for cost in own
                if cost.cpu_seconds is not None
            )
            + "."
            for device, own in costs.items()
            if any(cost.cpu_seconds is not None for cost in own)
        ),
    )
    charts = tuple(
        Picture(
            f"costs{index}",
            device,
            f"Bar chart for {device}: "
            + "; ".join(
                f"{cost.strategy} {cost.peak_memory_gb:.2f} GB, "
                f"{cost.samples_per_second:.1f} samples per second"
                for cost in own
            ),
            cost_chart(own),
        )
        for index, (device, own) in enumerate(costs.items(), start=1)
    )
    return Section("costs", "Memory and throughput", text, charts)


def failures_section(runs: Path, results: Results) -> Section:
    """Whether uncertainty tells failures, where that was measured."""
    title = "Does uncertainty tell failures?"
    rows = []
    for condition, cells in results.items():
        measured = [read_samples(runs / cell.cell.folder) for cell in cells]
        samples = [found for found in measured if found is not None]
        if samples:
            drawn = [part for found in samples if len((part := found.drawn).iou)]
            rows.append((str(condition), *_areas(samples), *_areas(drawn)))
    if not rows:
        how = f"python -m training.benchmark.failures {runs.name}"
        return Section("failures", title, (f"Left out: not measured; {how} does it.",))
    text = (
        "Active objects in frames that show them, in the order of the larger of p- and "
        f"n-uncertainty (Eq. 4); one fails below an IoU of {FAILS_BELOW:g}. Area under risk and "
        "coverage in percent: the failure rate where uncertainty says nothing, the best where all "
        "failures come last; relative is 0 at the best and 100 at random. The last four are of "
        "objects of which anything is drawn: those of which nothing is fail, and are as unsure as "
        "can be. Means over seeds with 95 % intervals.",
    )
    own = ("Failure rate", "Area", "Best", "Relative")
    heads = ("Condition", *own, *(f"{head}, drawn" for head in own))
    return Section("failures", title, text, grid=Grid(heads, tuple(rows)))


def ninth_section(evidence: Evidence) -> Section:
    """How the ninth strategy compares with the others, where it was run."""
    title = "The ninth strategy"
    found = {endpoint: compare(evidence, endpoint) for endpoint in ENDPOINTS}
    rows = [
        (
            ENDPOINTS[endpoint],
            row.condition.noise,
            strategy_name(row.best.strategy),
            row.to_best.text(),
            _ANSWERS[row.keeps_up],
            row.to_baseline.text(),
            _ANSWERS[row.beats_baseline],
        )
        for endpoint, comparisons in found.items()
        for row in comparisons
    ]
    if not rows:
        return Section("ninth", title, ("Left out: it was not run beside a baseline.",))
    text = (
        *(told(comparisons, endpoint) for endpoint, comparisons in found.items()),
        "Differences of means in percentage points with 95 % intervals, by blocks of seeds. Not "
        f"distinguishable: not certainly worse at {LEVEL:g} (one-sided, Holm over the conditions). "
        f"Better: certainly so at {LEVEL:g} (Holm over the noisy ones); on clean data at most "
        f"{MOST_LOST:g} point lost.",
    )
    heads = ("Endpoint", "Noise", "Best of the others", "Against it", "Best or as good",
             "Against the baseline", "Better")  # fmt: skip
    return Section("ninth", title, text, grid=Grid(heads, tuple(rows)))


def _areas(samples: Sequence[Samples]) -> list[str]:
    """Failure rate, area, best and relative area in percent, over cells; a dash without any."""
    areas = [area(found.worst, found.failed) for found in samples]
    numbers = (
        [found.random for found in areas],
        [found.found for found in areas],
        [found.best for found in areas],
        [found.relative for found in areas if math.isfinite(found.relative)],
    )
    return [mean([100 * value for value in own]).text() if own else "–" for own in numbers]


def panels_section(
    runs: Path,
    chosen: Sequence[str],
    source: BenchmarkData | None,
    clips: int,
    *,
    asked: bool = False,
) -> Section:
    """Images, masks, predictions, errors and uncertain pixels of some clips.

    Raises:
        ActisegError: If `asked`, and the split, an image or weights cannot be read.
    """
    empty = Section("panels", "Predictions, errors and uncertainty")
    return _of_data(
        empty, source, lambda found: _panels(empty, runs, chosen, found, clips), asked=asked
    )


def _panels(
    empty: Section, runs: Path, chosen: Sequence[str], source: BenchmarkData, clips: int
) -> Section:
    cells = find_cells(runs, chosen)
    if not cells:
        return replace(empty, text=(f"Left out: no cell has its weights ({WEIGHTS}) here.",))
    text = (
        f"Middle frames of clips of the split “{source.val_split}”, evenly spread, each frame "
        "segmented by itself. In error maps green is right, blue missed, orange too much and pink "
        "the wrong object. Uncertain pixels (Eq. 4: τm 0.20, τe 0.85) are those of all objects "
        "drawn.",
    )
    panels = make_panels(runs, cells, source.data, source.val_split, clips)
    return replace(empty, text=text, panels=tuple(panels))


def _points(
    conditions: Mapping[Condition, object], read: Callable[[Condition, str], Estimate]
) -> dict[str, dict[str, Point]]:
    levels: dict[str, dict[str, Point]] = {}
    for condition in sorted(conditions):
        point = read(condition, "p_miou"), read(condition, "n_miou")
        levels.setdefault(condition.noise, {})[condition.strategy] = point
    return levels


def _tradeoff_alt(whose: str, levels: Mapping[str, Mapping[str, Point]]) -> str:
    parts = [
        f"{level}: "
        + ", ".join(f"{name} {p.value:.1f} and {n.value:.1f}" for name, (p, n) in points.items())
        for level, points in levels.items()
    ]
    return f"Scatter plots. {whose} p-mIoU and n-mIoU. {'; '.join(parts)}."


def _curves_alt(what: str, levels: Mapping[str, Mapping[str, Curve]]) -> str:
    return f"Line plots of {what} by epoch for the noise levels {', '.join(levels)}."


def _objects(records: Sequence[Mapping[str, Any]]) -> int:
    return sum(len(record["object_classes"]) for record in records)
