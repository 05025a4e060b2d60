"""The measured choices of `docs/ambiguities.md`: options that exist, a column that fits."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from training.benchmark.choices import CHOICES, Choice, column, write_page
from training.benchmark.suites import cells_of
from training.config.run import TrainConfig
from training.engine.commands import parse_train
from training.files.disk import read_json


@cache
def parsed(strategy: str, *options: str) -> TrainConfig:
    return parse_train(["--data", "data", "--out", "out", "--strategy", strategy, *options])


@pytest.mark.parametrize("choice", CHOICES, ids=lambda own: own.folder)
def test_every_choice_is_an_option_of_a_row(choice: Choice, repository: Path) -> None:
    assert parsed(choice.strategy, *choice.options) != parsed(choice.strategy), "it is the default"
    page = (repository / "docs" / "ambiguities.md").read_text(encoding="utf-8")
    (row,) = re.findall(rf"^\| {choice.row} \|.*", page, re.M)
    keys = [option for option in choice.options if option.startswith("--")]
    assert any(key in row for key in keys), (keys, row)
    assert (
        len(cells_of("all", "tiny", [0], strategies=[choice.strategy], levels=[choice.noise])) == 1
    )


def test_folders_differ() -> None:
    every = {own for choice in CHOICES for own in (choice, choice.default)}
    assert len({own.folder for own in every}) == len(every)


def test_last_column_is_written_and_nothing_else(tmp_path: Path) -> None:
    numbers = {"p_miou": 40.04, "n_miou": 18.3, "giou": 43.26}
    choice = Choice(7, "name60-mask21", "gce", "without Dice", ("--gce.no-dice",))
    measured = [
        {**own._asdict(), "options": [*own.options], **numbers, "p_miou": value}
        for own, value in ((choice.default, 39.0), (choice, 40.04))
    ]
    assert column(measured[:1]) == {}
    told = column(measured)
    assert told == {
        7: "Mixed noise, gce: default 39.0 / 18.3 / 43.3, without Dice 40.0 / 18.3 / 43.3"
    }
    page = tmp_path / "page.md"
    page.write_text("| # | a | m |\n|---|---|---|\n| 7 | b | – |\n| 17 | c | – |\n")
    write_page(page, measured)
    assert page.read_text().split("\n")[2:4] == [f"| 7 | b | {told[7]} |", "| 17 | c | – |"]


def test_page_says_what_was_measured(repository: Path) -> None:
    page = (repository / "docs" / "ambiguities.md").read_text(encoding="utf-8")
    told = column(read_json(repository / "docs" / "results" / "choices.json"))
    assert told
    for row, text in told.items():
        (line,) = re.findall(rf"^\| {row} \|.*", page, re.M)
        assert line.endswith(f"| {text} |")
