"""The paper's tables as lists of trainings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from actiseg_ros.errors import ActisegError
from training.benchmark.cell_result import LONGER, CellKey

Suite = Literal[
    "table1", "table2", "table3", "table5", "all", "smoke",
    "findings", "findings-long", "findings-ninth", "pilot",
]  # fmt: skip

TEXT_RATES = (0.2, 0.4, 0.6)
KERNELS = (9, 15, 21)
_ROBUST = ("co-teaching", "sce", "gce", "apl", "elr", "npn")


class Setting(NamedTuple):
    """A row of a table."""

    text_noise: float
    mask_noise: int
    strategy: str


TABLES: dict[str, tuple[Setting, ...]] = {
    "table1": tuple(Setting(rate, 0, "baseline") for rate in (0.0, *TEXT_RATES)),
    "table2": tuple(Setting(0.0, kernel, "baseline") for kernel in (0, *KERNELS)),
    # As printed: no baseline, which Tables I and II hold, and PMHM under mask noise only.
    "table3": (
        *(Setting(rate, 0, name) for rate in TEXT_RATES for name in _ROBUST),
        *(Setting(0.0, kernel, name) for kernel in KERNELS for name in (*_ROBUST, "pmhm")),
    ),
    "table5": tuple(Setting(0.6, 21, name) for name in ("baseline", *_ROBUST, "pmhm")),
}
"""Rows by table, in the paper's order; level 0 is the clean data."""

_WORST = ((0.6, 0), (0.0, 21), (0.6, 21))
_LEVELS = (
    *dict.fromkeys(row[:2] for row in (*TABLES["table1"], *TABLES["table2"])),
    _WORST[-1],
)
"""Clean data, text noise, mask noise and both."""
PROTOCOL: dict[str, tuple[Setting, ...]] = {
    "findings": (
        *(Setting(*level, "baseline") for level in _LEVELS),
        Setting(0.4, 0, "co-teaching"),
        *(Setting(*level, name) for level in _WORST for name in _ROBUST),
        *(Setting(*level, "pmhm") for level in _WORST[1:]),
    ),
    "findings-ninth": tuple(Setting(*level, "repair") for level in _LEVELS),
    "findings-long": tuple(Setting(rate, 0, f"co-teaching{LONGER}") for rate in (0.4, 0.6)),
    "pilot": tuple(Setting(*level, "baseline") for level in ((0.0, 0), *_WORST[:2])),
}
"""The cells that decide the paper's findings, and those that settle their budget
(docs/findings_protocol.md)."""


def strategy_order() -> list[str]:
    """All strategies: the paper's in the order of its Table V, then any that it does not have."""
    from training.strategies import STRATEGIES

    printed = [row.strategy for row in TABLES["table5"]]
    return [*printed, *(name for name in STRATEGIES if name not in printed)]


def settings_of(suite: Suite) -> tuple[Setting, ...]:
    """The rows of a suite; those that several tables share appear once.

    Tables III and V also have the strategies that the paper does not have.
    """
    if suite == "smoke":
        return _smoke()
    if suite in PROTOCOL:
        return PROTOCOL[suite]
    if suite == "all":
        rows = (row for table in ("table1", "table2", "table3", "table5") for row in _table(table))
        return tuple(dict.fromkeys(rows))
    return _table(suite)


def _table(suite: str) -> tuple[Setting, ...]:
    printed = TABLES[suite]
    if suite not in ("table3", "table5"):
        return printed
    levels = dict.fromkeys(row[:2] for row in printed)
    others = strategy_order()[len(TABLES["table5"]) :]
    return (*printed, *(Setting(*level, name) for name in others for level in levels))


def cells_of(
    suite: Suite,
    preset: str,
    seeds: Sequence[int],
    *,
    strategies: Sequence[str] = (),
    levels: Sequence[str] = (),
) -> list[CellKey]:
    """The cells of a suite, one seed after the other, so that the first seed is complete early.

    Args:
        suite: which tables.
        preset: size of the network.
        seeds: of weights, sampling and noise; repeated ones count once.
        strategies: only these; empty takes all.
        levels: only these noise levels, named as their folders (``clean``, ``name20``,
            ``name60-mask21``); empty takes all.

    Raises:
        ActisegError: If a filter names what the suite does not have, or nothing is left.
    """
    cells = [
        CellKey(*row[:2], row.strategy, seed, preset)
        for seed in dict.fromkeys(seeds)
        for row in settings_of(suite)
    ]
    _require_known("--strategies", strategies, [cell.strategy for cell in cells], suite)
    _require_known("--levels", levels, [cell.noise for cell in cells], suite)
    chosen = [
        cell
        for cell in cells
        if (not strategies or cell.strategy in strategies) and (not levels or cell.noise in levels)
    ]
    if not chosen:
        raise ActisegError(
            f"{suite} has no cell for --seeds {[*seeds]}, --strategies {[*strategies]} and "
            f"--levels {[*levels]} together; widen one of them"
        )
    return chosen


def _smoke() -> tuple[Setting, ...]:
    """The baseline under every kind of noise, and every other strategy under mixed noise."""
    levels = ((0.0, 0), (0.2, 0), (0.0, 9), (0.6, 21))
    others = [name for name in strategy_order() if name != "baseline"]
    return (
        *(Setting(*level, "baseline") for level in levels),
        *(Setting(0.6, 21, name) for name in others),
    )


def _require_known(option: str, wanted: Sequence[str], known: Sequence[str], suite: str) -> None:
    unknown = [name for name in wanted if name not in known]
    if unknown:
        there = ", ".join(dict.fromkeys(known))
        raise ActisegError(f"{option} {' '.join(unknown)}: not in {suite}, which has {there}")
