"""Options in combination: every one trains, or is refused in one line; none trains garbage."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.training.engine.two_processes import in_two_processes
from training.strategies import STRATEGIES

FACTORS: Mapping[str, Sequence[str]] = {
    "preset": ("tiny", "small", "r50"),
    "strategy": tuple(STRATEGIES),
    "reference": ("paper", "released"),
    "objects": ("one", "all"),
    "negative-masks": ("True", "False"),
    "augmentation": ("all", "photometric", "none"),
    "precision": ("float32", "bfloat16"),
    "frames-per-clip": ("1", "2"),
    "mask-noise": ("0", "9"),
    "ema": ("0", "0.9"),
}
Combination = tuple[str, ...]
"""A value of each factor."""


def pairwise() -> list[Combination]:
    """Combinations that hold every two values of two factors at least once, greedily few."""
    names = list(FACTORS)
    places = list(itertools.combinations(range(len(names)), 2))
    missing = {
        (i, first, j, second)
        for i, j in places
        for first in FACTORS[names[i]]
        for second in FACTORS[names[j]]
    }
    found = []
    while missing:
        i, first, j, second = min(missing)
        chosen: dict[int, str] = {i: first, j: second}
        for place, name in enumerate(names):
            if place not in chosen:
                chosen[place] = max(
                    FACTORS[name], key=lambda value: len(missing & _pairs({**chosen, place: value}))
                )
        missing -= _pairs(chosen)
        found.append(tuple(chosen[place] for place in range(len(names))))
    return found


def _pairs(chosen: Mapping[int, str]) -> set[tuple[int, str, int, str]]:
    return {(i, chosen[i], j, chosen[j]) for i, j in itertools.combinations(sorted(chosen), 2)}


def everything() -> Iterator[Combination]:
    """The whole product of the first seven factors; the others take turns."""
    names = list(FACTORS)
    rest = list(itertools.product(*(FACTORS[name] for name in names[7:])))
    product = itertools.product(*(FACTORS[name] for name in names[:7]))
    for index, chosen in enumerate(product):
        yield *chosen, *rest[index % len(rest)]


def options_of(combination: Combination) -> list[str]:
    """As the command line has them."""
    options = []
    for name, value in zip(FACTORS, combination, strict=True):
        options += [f"--{name}", value]
    window = ["--co-teaching.window", "4"] if "co-teaching" in combination else []
    return [*options, "--text-noise", "0.3", *window]


def tried(combinations: Sequence[Combination], data: Path, out: Path) -> list[dict[str, object]]:
    """What each comes to in two processes that train together."""
    file = out / "combinations.json"
    file.write_text(json.dumps([options_of(own) for own in combinations]), encoding="utf-8")
    run = in_two_processes(
        "-m", "tests.training.engine.combinations", str(data), str(out / "runs"), str(file)
    )
    lines = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    last = options_of(combinations[len(lines)]) if len(lines) < len(combinations) else None
    assert run.returncode == 0, f"{last}: {run.stderr[-3000:]}"
    assert "find_unused_parameters" not in run.stderr
    assert "Grad strides do not match" not in run.stderr
    return lines


def judge(found: Sequence[dict[str, object]]) -> None:
    for one in found:
        if "refused" in one:
            said = str(one["refused"])
            assert "\n" not in said, one
            assert said.startswith(("--", "augmentation", "redraw")), one
            assert {"elr", "npn"} & {*one["options"]}, one  # type: ignore[misc]
        else:
            assert one["wrong"] == [[], []], one
    trained = [one for one in found if "wrong" in one]
    assert len(trained) > len(found) / 2


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_pair_of_options_trains_in_two_processes(
    tokenized_data: Path, tmp_path: Path
) -> None:
    combinations = pairwise()
    assert len(combinations) < 60
    judge(tried(combinations, tokenized_data, tmp_path))


@pytest.mark.slow
def test_every_combination_trains_in_two_processes(tokenized_data: Path, tmp_path: Path) -> None:
    judge(tried([*everything()], tokenized_data, tmp_path))
