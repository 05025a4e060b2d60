"""`--reference`: what it fills in, what a user's own key keeps, and where it is written down."""

from __future__ import annotations

import json
import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.cli import main
from training.config.noise import RELEASED_NOISE, NoiseOptions
from training.config.run import TrainConfig
from training.engine.commands import parse_train
from training.strategies import STRATEGIES, make_strategy, run_config

FILES = ("--data", "data", "--out", "run")


def parsed(*arguments: str) -> TrainConfig:
    return parse_train([*FILES, *arguments])


@pytest.mark.parametrize("strategy", list(STRATEGIES))
def test_command_line_and_code_fill_in_alike(strategy: str, tokenized_data: Path) -> None:
    for reference in ("paper", "released"):
        config = parsed("--strategy", strategy, "--reference", reference)
        made = run_config(strategy, reference, data=Path("data"), out=Path("run"))  # type: ignore[arg-type]
        assert config.as_json() == made.as_json()
        assert config.as_json()["reference"] == reference
        config.check()
        # Some strategies read the split.
        make_strategy(replace(config, data=tokenized_data / "data"))


def test_paper_is_the_default() -> None:
    assert parsed().as_json() == parsed("--reference", "paper").as_json()
    assert parsed("--strategy", "sce").as_json()["sce"]["focal"] == "replaced"


def test_released_fills_options_run_and_noise() -> None:
    config = parsed("--reference=released", "--strategy=elr", "--preset", "r101")
    assert config.noise == RELEASED_NOISE != NoiseOptions()
    assert (config.noise.unflipped, config.noise.negatives) == ("other", "keep")
    assert not config.action_weights
    assert config.strategy_options == STRATEGIES["elr"].released
    recipe = config.recipe()
    assert (recipe.augmentation, recipe.redraw_frames, recipe.epochs) == ("none", False, 6)
    assert parsed("--reference", "released", "--strategy", "sce").action_weights


def test_a_key_of_the_users_own_wins_and_leaves_the_others() -> None:
    config = parsed(
        *("--reference", "released", "--strategy", "npn", "--npn.threshold", "0.6"),
        *("--noise.unflipped", "any", "--action-weights", "--augmentation", "photometric"),
    )
    assert config.strategy_options == replace(STRATEGIES["npn"].released, threshold=0.6)  # type: ignore[call-arg]
    assert config.noise == replace(RELEASED_NOISE, unflipped="any")
    assert config.action_weights
    assert config.recipe().augmentation == "photometric"


def test_help_shows_the_defaults_of_the_reference(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["train", "--reference", "released", "--help"])
    shown = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert "(default: released)" in shown
    assert "(default: kept)" in shown, "SCE's focal term"


def test_a_wrong_reference_or_strategy_is_told_as_ever(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed("--reference", "both")
    assert "reference" in capsys.readouterr().err
    with pytest.raises(ActisegError, match="--strategy magic is unknown; known are baseline"):
        run_config("magic", data=Path(), out=Path())


def test_every_strategys_released_options_are_in_their_ranges() -> None:
    for kind in STRATEGIES.values():
        assert isinstance(kind.released, kind.Options)
        assert set(kind.released_run) <= {entry.name for entry in fields(TrainConfig)}
    json.dumps(run_config("pmhm", "released", data=Path(), out=Path()).as_json())
