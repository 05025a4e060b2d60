"""`docs/ambiguities.md` names options and tests; all of them must exist."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from training.engine.commands import Train, parse_train, strategy_of
from training.strategies import STRATEGIES


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "ambiguities.md").read_text(encoding="utf-8")


def flags(config: object, prefix: str = "--") -> set[str]:
    """Every option of a configuration as the command line spells it."""
    found = set()
    for field in fields(config):  # type: ignore[arg-type]
        name, value = prefix + field.name.replace("_", "-"), getattr(config, field.name)
        if is_dataclass(value):
            found |= flags(value, f"{name}.")
        else:
            off = f"{prefix}no-{field.name.replace('_', '-')}"
            found |= {name, off} if isinstance(value, bool) else {name}
    return found


def test_every_key_is_an_option_and_takes_the_value_that_is_named(page: str) -> None:
    named = re.findall(r"`(--[^`]+)`", page)
    assert len(named) > 30
    known = flags(Train(Path("data"), Path("out")))
    for flag, *values in map(str.split, named):
        assert flag in known, flag
        if values:
            chosen = "--strategy", strategy_of(flag) or "baseline"
            parse_train(["--data", "data", "--out", "out", *chosen, flag, *values])


def test_every_choice_has_one_row_of_one_table(page: str) -> None:
    (table,) = re.findall(r"^\| # \|.*?(?=\n\n)", page, re.MULTILINE | re.DOTALL)
    head, _, *rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in table.split("\n"))
    assert [cell.strip() for cell in head[2:5]] == ["Printed", "Released", "Ours"]
    assert {len(row) for row in rows} == {len(head)}
    assert all(cell.strip() for row in rows for cell in row)
    numbers = sorted(int(row[0]) for row in rows)
    assert numbers == list(range(1, len(rows) + 1))
    assert len(rows) >= 36


def test_every_key_that_the_released_reference_sets_is_in_the_table(page: str) -> None:
    for name, kind in STRATEGIES.items():
        usual, released = kind.Options(), kind.released
        for entry in fields(released):
            if getattr(released, entry.name) == getattr(usual, entry.name):
                continue
            key = entry.name.replace("_", "-")
            assert f"--{name}.{key}" in page or f"--{name}.no-{key}" in page, (name, key)


def test_every_test_that_is_named_exists(page: str, repository: Path) -> None:
    defined = set()
    for file in (repository / "tests" / "training").rglob("test_*.py"):
        defined |= set(re.findall(r"^def (test_\w+)", file.read_text(encoding="utf-8"), re.M))
    named = re.findall(r"`(test_\w+)`", page)
    assert named
    assert not set(named) - defined
