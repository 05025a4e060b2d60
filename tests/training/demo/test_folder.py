"""A demonstration removes an earlier one, and nothing else."""

from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.demo.folder import begin, clear


@pytest.mark.parametrize(
    "summary", ['{"decisions": 3, "go": 1}', '{"seconds": {}, "own_bundle_in_the_lab": {}}']
)
def test_only_a_demonstration_is_removed(tmp_path: Path, summary: str) -> None:
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
    (out / "summary.json").write_text(summary)  # of one that has ended
    clear(out)
    assert not out.exists()


@pytest.mark.parametrize("summary", ["", "[1]", '{"loss": 3}', '{"seconds": 4}'])
def test_a_summary_of_something_else_is_no_demonstration(tmp_path: Path, summary: str) -> None:
    (tmp_path / "summary.json").write_text(summary)
    with pytest.raises(ActisegError, match="does not hold a demonstration"):
        clear(tmp_path)
    assert (tmp_path / "summary.json").read_text() == summary
