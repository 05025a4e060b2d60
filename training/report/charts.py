"""The report's charts, drawn without a display as SVG."""

from __future__ import annotations

import colorsys
import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from training.benchmark.suites import strategy_order
from training.noise.statistics import OTHERS, Severity
from training.report.conditions import strategy_name
from training.report.costs import Cost
from training.report.curves import Curve
from training.report.estimates import Estimate

_WIDTH = 7.2
"""Inches; the page shows charts at about their natural size."""
_ERROR_BAR: dict[str, Any] = {"elinewidth": 1, "capsize": 2}
# Okabe and Ito's colours, safe for any colour vision; the yellow is darkened for white paper.
_COLOURS = ("#000000", "#E69F00", "#56B4E9", "#009E73", "#A89000", "#0072B2", "#D55E00", "#CC79A7")
_MARKERS = ("o", "s", "^", "v", "D", "P", "X", "*")

Point = tuple[Estimate, Estimate]
"""p-mIoU and n-mIoU."""


@dataclass(frozen=True)
class Picture:
    """A figure of the page."""

    name: str
    """File name without suffix."""
    caption: str
    alt: str
    """What a reader who cannot see it needs to know."""
    content: bytes
    kind: str = "svg"
    """Suffix: svg, jpg or png."""


def noun_chart(shares: Mapping[str, Mapping[str, float]]) -> bytes:
    """Share of each noun at each noise level (Fig. 2).

    Args:
        shares: Level -> noun -> share of all objects, a fraction; the same nouns at each level.
    """
    nouns = list(next(iter(shares.values())))
    figure = Figure(figsize=(_WIDTH, 1.2 + 0.3 * len(nouns)), layout="constrained")
    axes = figure.subplots()
    thick = 0.84 / len(shares)
    colours = matplotlib.colormaps["viridis"]
    for index, (level, numbers) in enumerate(shares.items()):
        places = [row + (index - (len(shares) - 1) / 2) * thick for row in range(len(nouns))]
        colour = colours(0.9 * index / max(1, len(shares) - 1))
        axes.barh(places, [100 * numbers[n] for n in nouns], thick, label=level, color=colour)
    axes.set_yticks(range(len(nouns)), nouns)
    if OTHERS in nouns:
        axes.get_yticklabels()[nouns.index(OTHERS)].set_fontstyle("italic")
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.set_xlabel("share of all objects (%)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(title="text noise")
    return _svg(figure)


def severity_chart(by_kernel: Mapping[int, Severity]) -> bytes:
    """Overlap of noisy with clean masks for each kernel (Fig. 3)."""
    figure = Figure(figsize=(_WIDTH, 3.4), layout="constrained")
    axes = figure.subplots()
    for offset, name, colour in ((-0.2, "mIoU", _COLOURS[5]), (0.2, "cIoU", _COLOURS[1])):
        heights = [100 * getattr(found, name.lower()) for found in by_kernel.values()]
        places = [place + offset for place in range(len(heights))]
        axes.bar_label(axes.bar(places, heights, 0.4, label=name, color=colour), fmt="%.1f")
    axes.set_xticks(range(len(by_kernel)), [f"{kernel}×{kernel}" for kernel in by_kernel])
    axes.set(xlabel="kernel (pixels)", ylabel="overlap with the clean masks (%)", ylim=(0, 112))
    axes.legend(loc="upper right", ncols=2)
    return _svg(figure)


def tradeoff_chart(levels: Mapping[str, Mapping[str, Point]]) -> bytes:
    """p-mIoU against n-mIoU, one panel a noise level with the same axes.

    Args:
        levels: Noise level -> strategy -> both means; intervals are drawn where they are known.
    """

    def draw(axes: Axes, points: Mapping[str, Point]) -> None:
        for strategy, (p, n) in points.items():
            axes.errorbar(
                p.value, n.value, n.half_width, p.half_width, **_style(strategy), **_ERROR_BAR
            )
        axes.grid(alpha=0.3)

    figure = _panels(levels, draw, "p-mIoU (%), better to the right", "n-mIoU (%), better below")
    _legend(figure, dict.fromkeys(name for points in levels.values() for name in points))
    return _svg(figure)


def curves_chart(levels: Mapping[str, Mapping[str, Curve]], label: str) -> bytes:
    """A number after each epoch, one panel a noise level.

    Args:
        levels: Noise level -> strategy -> curve.
        label: What is drawn.
    """

    def draw(axes: Axes, curves: Mapping[str, Curve]) -> None:
        for strategy, curve in curves.items():
            style = _style(strategy) | {"markersize": 3, "linestyle": "-", "linewidth": 1.2}
            axes.plot(list(curve), list(curve.values()), **style)
        axes.grid(alpha=0.3)

    figure = _panels(levels, draw, "epoch", label)
    _legend(figure, dict.fromkeys(name for curves in levels.values() for name in curves))
    return _svg(figure)


def cost_chart(costs: Sequence[Cost]) -> bytes:
    """Peak memory and throughput of each strategy on one device."""
    figure = Figure(figsize=(_WIDTH, 1.2 + 0.34 * len(costs)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    names = [strategy_name(cost.strategy) for cost in costs]
    colours = [_style(cost.strategy)["color"] for cost in costs]
    for axes, numbers, title in (
        (left, [cost.peak_memory_gb for cost in costs], "peak memory (GB)"),
        (right, [cost.samples_per_second for cost in costs], "samples per second"),
    ):
        bars = axes.barh(range(len(costs)), numbers, color=colours)
        axes.bar_label(bars, fmt="%.3g", padding=2)
        axes.set_xlim(0, 1.2 * max(numbers, default=1.0) or 1.0)
        axes.set_xlabel(title)
    left.set_yticks(range(len(costs)), names)
    left.invert_yaxis()
    return _svg(figure)


def _panels(levels: Mapping[str, Any], draw: Callable[[Axes, Any], None], x: str, y: str) -> Figure:
    """Two panels a row with common axes."""
    rows = math.ceil(len(levels) / 2)
    columns = min(2, len(levels))
    figure = Figure(figsize=(_WIDTH, 0.9 + 2.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    places = list(grid.flat)
    for axes, (level, content) in zip(places, levels.items(), strict=False):
        draw(axes, content)
        axes.set_title(level, fontsize=11)
    for axes in places[len(levels) :]:
        axes.set_visible(False)
        places[places.index(axes) - columns].tick_params(labelbottom=True)
    figure.supxlabel(x, fontsize=11)
    figure.supylabel(y, fontsize=11)
    return figure


def _legend(figure: Figure, strategies: Mapping[str, None]) -> None:
    handles = [
        Line2D([], [], label=strategy_name(name), **_style(name))
        for name in sorted(strategies, key=_place)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4)


def _style(strategy: str) -> dict[str, Any]:
    place = _place(strategy)
    return {"color": _colour(place), "marker": _marker(place), "linestyle": "none"}


def _colour(place: int) -> Any:
    """The place's own colour: after the table darker ones, their hues a golden angle apart."""
    if place < len(_COLOURS):
        return _COLOURS[place]
    further = place - len(_COLOURS)
    return colorsys.hsv_to_rgb((0.08 + 0.618034 * further) % 1, 0.75, 0.62)


def _marker(place: int) -> Any:
    """The place's own marker: after the table stars and polygons of ever more points."""
    if place < len(_MARKERS):
        return _MARKERS[place]
    further = place - len(_MARKERS)
    return 5 + further // 2, 1 if further % 2 else 0, 0


def _place(strategy: str) -> int:
    order = strategy_order()
    return order.index(strategy) if strategy in order else len(order)


def _svg(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # The same numbers give the same bytes: no date, no random identifiers.
    with matplotlib.rc_context({"svg.hashsalt": "actiseg"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
