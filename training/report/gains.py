"""What each strategy gains over the baseline at each noise level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.report.conditions import Condition, strategy_name
from training.report.effects import Effect, Evidence, effect, holm
from training.report.paper import LABELS, arrow, paper_values
from training.report.verdicts import LEVEL

_METRICS = ("p_miou", "n_miou", "giou")


@dataclass(frozen=True)
class Gain:
    """A strategy less the baseline at one noise level."""

    effect: Effect
    adjusted: float
    """Two one-sided tests against 0, after Holm over the table: p-value of the better one."""
    paper: float | None
    """The same from the paper's values; None if it has none."""

    @property
    def certain(self) -> bool:
        """Whether its sign is certain among all gains of the table."""
        return self.adjusted <= LEVEL


@dataclass(frozen=True)
class GainTable:
    """Gains in one metric."""

    metric: str
    levels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Gain | None, ...]], ...]
    """Strategy as the paper writes it, and its gain at each level; None where a cell is missing."""

    @property
    def title(self) -> str:
        """Metric and which direction is better."""
        return f"{LABELS[self.metric]} {arrow(self.metric)}"

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "metric": self.metric,
            "gains": [
                {
                    "strategy": name,
                    "level": level,
                    "ours": gain.effect.as_json(),
                    "p_holm": gain.adjusted,
                    "paper": gain.paper,
                }
                for name, gains in self.rows
                for level, gain in zip(self.levels, gains, strict=True)
                if gain is not None
            ],
        }


def make_gains(evidence: Evidence) -> list[GainTable]:
    """Gains of all strategies where the baseline is there too; no tables without any."""
    tables = [_table(evidence, metric) for metric in _METRICS]
    return [table for table in tables if table.rows]


def _table(evidence: Evidence, metric: str) -> GainTable:
    results = evidence.results
    others = list(dict.fromkeys(c.strategy for c in results if c.strategy != "baseline"))
    pairs: dict[Condition, Condition] = {}
    for condition in results:
        base = Condition(condition.text_noise, condition.mask_noise, "baseline")
        if condition.strategy in others and base in results:
            pairs[condition] = base
    effects = {c: effect(evidence, metric, [(1.0, c), (-1.0, base)]) for c, base in pairs.items()}
    adjusted = holm([min(e.p_at_most(0), e.p_at_least(0)) for e in effects.values()])
    printed = paper_values()
    gains: dict[tuple[str, str], Gain] = {}
    for (condition, base), p in zip(pairs.items(), adjusted, strict=True):
        paper = None
        if condition in printed and base in printed:
            paper = printed[condition][metric] - printed[base][metric]
        key = condition.strategy, condition.noise
        gains[key] = Gain(effects[condition], p, paper)
    levels = tuple(dict.fromkeys(condition.noise for condition in pairs))
    rows = tuple(
        (strategy_name(name), tuple(gains.get((name, level)) for level in levels))
        for name in others
        if any((name, level) in gains for level in levels)
    )
    return GainTable(metric, levels, rows)


def gains_markdown(tables: Sequence[GainTable]) -> str:
    """All tables in Markdown."""
    parts = [
        "# Strategies against the baseline\n\nDifference of the strategy's mean from the "
        "baseline's in percentage points [95 % interval], by blocks of seeds; **bold**: its sign "
        "is certain among all differences of the table (Holm). `paper` is the paper's difference."
    ]
    for table in tables:
        heads = " | ".join(f"{level} | paper" for level in table.levels)
        lines = [f"## {table.title}", "", f"| | {heads} |"]
        lines.append("|---" + "|--:" * (2 * len(table.levels)) + "|")
        for name, gains in table.rows:
            cells = " | ".join(_cell(gain) for gain in gains)
            lines.append(f"| {name} | {cells} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _cell(gain: Gain | None) -> str:
    if gain is None:
        return "– | –"
    ours = f"**{gain.effect.text()}**" if gain.certain else gain.effect.text()
    paper = "–" if gain.paper is None else f"{gain.paper:+.1f}".replace("-", "−")
    return f"{ours} | {paper}"
