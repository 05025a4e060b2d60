"""Fixtures of the offline package's tests."""

from pathlib import Path

import pytest

from tests.training.drawn_data import draw_data


@pytest.fixture(scope="session")
def drawn_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few clips in the ActionVOS layout, drawn once; no test changes them."""
    return draw_data(tmp_path_factory.mktemp("kitchen"))
