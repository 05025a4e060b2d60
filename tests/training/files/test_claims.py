"""A folder keeps to what its content was made with."""

import json
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError
from training.files.claims import claim

SETTINGS = {"seed": 1, "size": (2, 3), "files": {"a": "0" * 64, "b": "1" * 64}, "peer": None}


def test_the_same_settings_may_come_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "made.json"
    claim(file, SETTINGS, "pictures")
    assert claim(file, SETTINGS, "pictures")["size"] == [2, 3]
    file.write_text(json.dumps({**json.loads(file.read_text()), "frames": 7}))
    assert claim(file, SETTINGS, "pictures")["frames"] == 7, "results beside the settings stay"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"seed": 2}, r"seed \(1, not 2\)"),
        ({"size": (2, 4)}, r"size \(\[2, 3\], not \[2, 4\]\)"),
        ({"files": {"a": "0" * 64, "b": "2" * 64}}, r"files\.b;"),
        ({"files": {"a": "0" * 64}}, r"files\.b;"),
        ({"peer": "x"}, r"peer \(null, not \"x\"\)"),
        ({"more": 1}, r"more \(null, not 1\)"),
    ],
)
def test_other_settings_are_named_with_their_values(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    file = tmp_path / "made.json"
    claim(file, SETTINGS, "pictures")
    before = file.read_bytes()
    with pytest.raises(ActisegError, match=rf"{tmp_path}: holds pictures made otherwise: .*{said}"):
        claim(file, {**SETTINGS, **change}, "pictures")
    assert file.read_bytes() == before


def test_settings_can_be_added_but_not_changed(tmp_path: Path) -> None:
    file = tmp_path / "made.json"
    claim(file, {"train": 1}, "splits")
    assert claim(file, {"val": 2}, "splits", may_add=True) == {"train": 1, "val": 2}
    with pytest.raises(ActisegError, match="val"):
        claim(file, {"train": 1, "val": 3}, "splits", may_add=True)


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "made.json").write_text("[]")
    with pytest.raises(ActisegError, match="does not say what its folder holds"):
        claim(tmp_path / "made.json", SETTINGS, "pictures")
