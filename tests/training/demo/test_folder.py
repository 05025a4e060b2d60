"""A demonstration removes an earlier one, and nothing else."""

from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.demo.folder import begin, clear


def test_only_a_demonstration_is_removed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("x")
    with pytest.raises(ActisegError, match="mine: exists and does not hold a demonstration"):
        clear(mine)
    assert (mine / "thesis.txt").read_text() == "x"
    out = tmp_path / "out"
    clear(out)
    begin(out)
    (out / "half").touch()  # it was interrupted
    clear(out)
    assert not out.exists()
    out.mkdir()
    (out / "summary.json").touch()  # of one that has ended
    clear(out)
    assert not out.exists()
