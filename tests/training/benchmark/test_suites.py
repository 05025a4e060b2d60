"""The suites hold what the paper's tables hold."""

from __future__ import annotations

from collections import Counter

import pytest

from actiseg_ros.errors import ActisegError
from training.benchmark.suites import cells_of, settings_of
from training.strategies import STRATEGIES


def test_tables_have_the_papers_rows() -> None:
    assert [row.text_noise for row in settings_of("table1")] == [0, 0.2, 0.4, 0.6]
    assert [row.mask_noise for row in settings_of("table2")] == [0, 9, 15, 21]
    rows = Counter(row.strategy for row in settings_of("table3"))
    robust = dict.fromkeys(("co-teaching", "sce", "gce", "apl", "elr", "npn", "repair"), 6)
    assert rows == {**robust, "pmhm": 3}, "PMHM takes part under mask noise only"
    assert all(bool(row.text_noise) != bool(row.mask_noise) for row in settings_of("table3"))
    assert {row[:2] for row in settings_of("table5")} == {(0.6, 21)}
    assert len(settings_of("table5")) == 9, "the paper's eight, and ours"


def test_shared_cells_are_run_once() -> None:
    cells = cells_of("all", "tiny", (1, 0, 1))
    assert len(cells) == len({cell.folder for cell in cells}) == 2 * 61
    clean = [cell for cell in cells if cell.noise == "clean"]
    assert [cell.seed for cell in clean] == [1, 0], "row 0 of Tables I and II is one cell"
    assert all(cell.seed == 1 for cell in cells[:61]), "one seed after the other"


def test_smoke_has_every_strategy_and_every_kind_of_noise() -> None:
    cells = cells_of("smoke", "tiny", (0,))
    assert {cell.strategy for cell in cells} == set(STRATEGIES)
    assert {cell.noise for cell in cells} == {"clean", "name20", "mask9", "name60-mask21"}


def test_filters() -> None:
    cells = cells_of("table3", "tiny", (0,), strategies=("gce", "pmhm"), levels=("mask9", "name20"))
    assert [str(cell.folder) for cell in cells] == [
        "name20/gce/seed0",
        "mask9/gce/seed0",
        "mask9/pmhm/seed0",
    ]
    with pytest.raises(ActisegError, match="--levels name10: not in table3, which has name20"):
        cells_of("table3", "tiny", (0,), levels=("name10",))
    with pytest.raises(ActisegError, match="table3 has no cell for"):
        cells_of("table3", "tiny", (0,), strategies=("pmhm",), levels=("name20",))


def test_the_protocols_suites_are_its_cells() -> None:
    findings = settings_of("findings")
    assert len(findings) == len(set(findings)) == 29
    count = Counter(row.strategy for row in findings)
    assert count == {"baseline": 8, "co-teaching": 4, "sce": 3, "gce": 3, "apl": 3, "elr": 3,
                     "npn": 3, "pmhm": 2}  # fmt: skip
    assert set(findings) <= set(settings_of("all"))
    ninth = settings_of("findings-ninth")
    assert [row[:2] for row in ninth] == [row[:2] for row in findings if row[2] == "baseline"]
    assert {row.strategy for row in ninth} == {"repair"}
    longer = cells_of("findings-long", "tiny", (0,))
    assert [cell.folder.as_posix() for cell in longer] == [
        "name40/co-teaching-long/seed0", "name60/co-teaching-long/seed0",
    ]  # fmt: skip
    assert {cell.trained_strategy for cell in longer} == {"co-teaching"}
    assert all(cell.is_longer for cell in longer)
    pilot = cells_of("pilot", "tiny", (100,))
    assert [cell.noise for cell in pilot] == ["clean", "name60", "mask21"]
