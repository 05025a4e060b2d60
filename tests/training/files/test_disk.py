"""Files are complete or not there at all, whatever goes wrong while they are written."""

import errno
import math
from pathlib import Path

import pytest

from actiseg_ros.errors import ActisegError, BundleError
from training.files.disk import full_disk_explained, read_json, replacing, write_json, write_whole

FULL = Path("/dev/full")


def test_a_failed_writer_leaves_the_former_file(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    write_whole(path, b"former")
    with pytest.raises(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        raise ZeroDivisionError
    assert path.read_bytes() == b"former"
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.skipif(not FULL.exists(), reason="needs /dev/full, a device of Linux")
@pytest.mark.parametrize("former", [b"former", None])
def test_a_full_disk_is_named_and_keeps_the_former_file(
    tmp_path: Path, former: bytes | None
) -> None:
    path = tmp_path / "file.json"
    if former is not None:
        path.write_bytes(former)
    (tmp_path / "file.json.partial").symlink_to(FULL)
    said = "former file is intact" if former else "was no former file"
    with pytest.raises(ActisegError, match=rf"{path}: disk full .*{said}.*free space"):
        write_json(path, {"a": "b" * 100_000})
    assert (path.read_bytes() if path.exists() else None) == former
    assert not list(tmp_path.glob("*.partial"))


def test_only_a_full_disk_is_explained(tmp_path: Path) -> None:
    with (
        pytest.raises(OSError, match="I/O") as caught,
        full_disk_explained(tmp_path, lambda: pytest.fail("asked for nothing")),
    ):
        raise OSError(errno.EIO, "I/O error")
    assert not isinstance(caught.value, ActisegError)


def test_json_round_trip_and_what_json_cannot_hold(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    value = {"name": "Püree", "list": [1, 2.5, None, True]}
    for indent in (None, 1):
        write_json(path, value, indent=indent)
        assert read_json(path) == value
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, [math.nan])
    assert read_json(path) == value


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": 1'])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(ActisegError, match=rf"{path}: not readable as JSON"):
        read_json(path)
    with pytest.raises(ActisegError, match=r"absent\.json: not found"):
        read_json(tmp_path / "absent.json")
    with pytest.raises(ActisegError, match="cannot be read"):
        read_json(tmp_path)


def test_a_byte_order_mark_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(b"\xef\xbb\xbf[1]")
    assert read_json(path) == [1]


def test_errors_of_the_robot_are_told_in_one_line_too() -> None:
    assert issubclass(BundleError, ActisegError)
