"""Tables as people have them: marks, encodings, separators, and rows that do not fit."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.tables import Row, TableError, read_table

TEXT = "id,key,instances\n0,tap,\"['tap', 'tap:hot']\"\n1,gâteau,[]\n"


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_mark_at_the_start_belongs_to_no_column(
    tmp_path: Path, encoding: str, ending: str
) -> None:
    path = write(tmp_path / "nouns.csv", TEXT.replace("\n", ending), encoding)
    rows = list(read_table(path, ("id", "key", "instances")))
    assert [(row.integer("id"), row["key"]) for row in rows] == [(0, "tap"), (1, "gâteau")]
    assert rows[0].listed("instances") == ["tap", "tap:hot"]
    assert [row.line for row in rows] == [2, 3]


def test_what_spreadsheets_do_to_a_table(tmp_path: Path) -> None:
    semicolons = write(tmp_path / "a.csv", "id;key;;\n\n1; a, b ;;\n;;;\n2;c\n")
    assert [(row.line, row["id"], row["key"]) for row in read_table(semicolons)] == [
        (3, "1", "a, b"),
        (5, "2", "c"),
    ]
    tabs = write(tmp_path / "b.csv", "id\tkey\n1\tx\n", "utf-16")
    assert [row["key"] for row in read_table(tabs)] == ["x"]
    assert [row.get("other", "-") for row in read_table(tabs)] == ["-"]


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is empty.* a, b"),
        (b"\xef\xbb\xbf\n\n", "is empty"),
        (b"a\n1\n", "lacks the columns b; it has a"),
        (b"a,b,a\n", "more than one column a"),
        (b"a,b, a\n", "more than one column a"),
        (b"a,b, c, c\n", "more than one column c"),
        (b"a,b\n1,2\n3\n", "line 3: has 1 fields, but the header has 2"),
        (b"a,b\n\n1,x, y\n", "line 3: has 3 fields"),
        (b'a,b\n"1\n2",3\n4,5,6\n', "line 4: has 3 fields"),
        (b'a,b\n1,2\n"3,4\n5,6\n', "line 3: .*quote"),
        (b'a,b\n1,"x"y\n', "line 2: .*quote"),
        (b"a,b\n1,caf\xe9\n", "line 2: byte 0xe9 is not UTF-8; save"),
        (b"a,b\n1,\x00\n", "line 2: has a zero byte"),
        (b"\xff\xfea\x00,", "line 1: byte .* is not UTF-16"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(raw)
    with pytest.raises(TableError, match=f"table.csv.*{told}"):
        list(read_table(path, ("a", "b")))


def test_a_file_that_cannot_be_opened_is_told(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(TableError, match="cannot be read"):
            list(read_table(path))


def test_bad_rows_may_be_left_out_and_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "table.csv", "a,b\n1,2\n3\n4,5,6\n7,8\n")
    told: list[TableError] = []
    assert [row["a"] for row in read_table(path, on_error=told.append)] == ["1", "7"]
    assert ["line 3" in str(told[0]), "line 4" in str(told[1])] == [True, True]


def test_values_of_another_form_are_told_with_line_and_column(tmp_path: Path) -> None:
    row = next(iter(read_table(write(tmp_path / "t.csv", "a,b\n1.5,[1\n"))))
    for wrong, told in (
        (lambda: row.integer("a"), "t.csv, line 2: a is '1.5', not a whole number"),
        (lambda: row.number("b"), "b is '\\[1', not a finite number"),
        (lambda: row.listed("b"), "b is '\\[1', not a list"),
        (lambda: row.listed("a"), "a is '1.5', not a list"),
        (lambda: row["c"], "lacks the column c"),
    ):
        with pytest.raises(TableError, match=told):
            wrong()
    assert row.number("a") == 1.5


values = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(rows=st.lists(st.tuples(values, values, values), max_size=6), mark=st.booleans())
def test_what_python_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], mark: bool
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([("x", "y", "z"), *rows])
    path = tmp_path_factory.mktemp("t") / "t.csv"
    write(path, text.getvalue(), "utf-8-sig" if mark else "utf-8")
    found = [(row["x"], row["y"], row["z"]) for row in read_table(path)]
    kept = [tuple(value.strip() for value in row) for row in rows]
    assert found == [row for row in kept if any(row)]


def test_real_tables_are_read(shared: Path) -> None:
    for name in ("EPIC_100_validation.csv", "EPIC_100_video_info.csv", "EPIC_100_verb_classes.csv"):
        path = shared / "epic" / name
        rows: list[Row] = list(read_table(path))
        with path.open(newline="", encoding="utf-8") as stream:
            assert len(rows) == sum(1 for _ in csv.DictReader(stream))
