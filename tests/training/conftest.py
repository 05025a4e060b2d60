"""Fixtures of the offline package's tests."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.training.drawn_data import draw_data
from training.data.kitchen import KitchenConfig


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips in the ActionVOS layout, drawn once; no test changes them."""
    return draw_data(tmp_path_factory.mktemp("kitchen"))


@pytest.fixture(scope="session")
def tokenized_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with small clips (`data`), and a tokenizer in place of RoBERTa's (`roberta`)."""
    from training.model.text import train_tokenizer

    root = tmp_path_factory.mktemp("tokenized")
    draw_data(root, KitchenConfig(clips=6, seed=3, val_share=0.34, frame_size=(213, 120)))
    (root / "roberta").mkdir()
    tokenizer = train_tokenizer(["left hand used in the action of cut pepper"])
    tokenizer.save(str(root / "roberta" / "tokenizer.json"))
    return root


@pytest.fixture
def micro_tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes `--preset tiny` train in no time, with dropout so that random states matter."""
    from tests.training.model.micro import MICRO  # torch, which not every test needs
    from training.model import PRESETS

    monkeypatch.setitem(PRESETS, "tiny", replace(MICRO, name="tiny", dropout=0.1))
