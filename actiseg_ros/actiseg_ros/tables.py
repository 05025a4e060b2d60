"""Tables in csv files: the one reader of them, which names file, line and column of what is wrong.

Spreadsheets write a byte order mark, UTF-16, semicolons or trailing empty columns; all that is
understood. A row with more or fewer fields than the header is an error: its values would stand in
the wrong columns.
"""

from __future__ import annotations

import ast
import codecs
import csv
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.errors import RobotError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_DELIMITERS = ",;\t"


class TableError(RobotError):
    """A table cannot be read, lacks a column, or has a row that cannot be used."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        path: The file.
        line: Line that the row begins in, counted from 1; the header is line 1.
        fields: Its values, one for each column.
        columns: Place of each column in `fields`.
    """

    path: Path
    line: int
    fields: Sequence[str]
    columns: Mapping[str, int]

    def __getitem__(self, column: str) -> str:
        """The value of a column, without surrounding blanks.

        Raises:
            TableError: There is no such column.
        """
        if column not in self.columns:
            raise TableError(f"{self.path}: lacks the column {column}")
        return self.fields[self.columns[column]].strip()

    def get(self, column: str, default: str = "") -> str:
        """The value of a column, or `default` if the table lacks it or the field is empty."""
        return (self[column] if column in self.columns else "") or default

    def error(self, column: str, expected: str) -> TableError:
        """What to raise for a value that is not as `expected`: names file, line, column, value."""
        value = self.get(column)
        return TableError(f"{self.path}, line {self.line}: {column} is {value!r}, not {expected}")

    def integer(self, column: str) -> int:
        """The value as a whole number; ``323.0``, as pandas saves it, is one.

        Raises:
            TableError: It is none.
        """
        try:
            return int(self[column])
        except ValueError:
            pass
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not value.is_integer():
            raise self.error(column, "a whole number")
        return int(value)

    def number(self, column: str) -> float:
        """The value as a finite number.

        Raises:
            TableError: It is none.
        """
        try:
            value = float(self[column])
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise self.error(column, "a finite number")
        return value

    def listed(self, column: str) -> list[str | int]:
        """The value as a list in Python's or JSON's form, as in EPIC's ``all_nouns``.

        Returns:
            Texts and whole numbers; empty for an empty field.

        Raises:
            TableError: It is no list of texts and whole numbers.
        """
        try:
            found = ast.literal_eval(self.get(column, "[]"))
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            found = None
        if not isinstance(found, list) or not all(
            type(item) in (str, int) or (type(item) is float and item.is_integer())
            for item in found
        ):
            raise self.error(column, "a list such as ['cup', 'plate']")
        return [int(item) if isinstance(item, float) else item for item in found]


def read_table(
    path: Path,
    required: Sequence[str] = (),
    on_error: Callable[[TableError], None] | None = None,
) -> Iterator[Row]:
    """Reads a table with a header; empty rows are skipped.

    Args:
        path: UTF-8, or any Unicode encoding with a byte order mark; columns separated by commas,
            semicolons or tabs (the header tells).
        required: Columns that must be there; others may be.
        on_error: Called with each row that does not fit the header, which is then left out.
            By default the first one is raised.

    Yields:
        The rows, in the order of the file.

    Raises:
        TableError: The file cannot be read, is not text, has no header or lacks a column; or a row
            has another number of fields than the header.
    """
    text = _text(path)
    head = text.lstrip("\r\n").splitlines()[:1]
    delimiter = max(_DELIMITERS, key=lambda sign: head[0].count(sign) if head else 0)
    rows = _records(path, text, delimiter)
    first, names = next(rows, (1, []))
    if not names:
        wanted = ", ".join(required) or "its columns"
        raise TableError(f"{path}: is empty; the first line must name {wanted}")
    names = [name.strip() for name in names]
    columns = {name: place for place, name in enumerate(names)}
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise TableError(f"{path}, line {first}: has more than one column {', '.join(twice)}")
    if missing := [name for name in required if name not in columns]:
        raise TableError(
            f"{path}, line {first}: lacks the columns {', '.join(missing)}; "
            f"it has {', '.join(columns)}"
        )
    for line, fields in rows:
        if len(fields) == len(names):
            yield Row(path, line, fields, columns)
            continue
        error = TableError(
            f"{path}, line {line}: has {len(fields)} fields, but the header has {len(names)}; "
            f'a text with "{delimiter}" in it needs quotes around it'
        )
        if on_error is None:
            raise error
        on_error(error)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from error
    encoding = next((name for mark, name in _MARKS if raw.startswith(mark)), "utf-8")
    try:
        text = raw.decode(encoding)
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise TableError(
            f"{path}, line {line}: byte 0x{raw[error.start]:02x} is not {encoding.upper()}; "
            "save the table as UTF-8"
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise TableError(f"{path}, line {line}: has a zero byte; save the table as UTF-8")
    return text


def _records(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """First line and fields of each record that is not empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    width = 0
    while True:
        line = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise TableError(
                f"{path}, line {line}: is no row of a csv file ({error}); is a quote not closed?"
            ) from error
        if fields is None:
            return
        if not any(field.strip() for field in fields):
            continue
        # Spreadsheets fill rows up with empty columns that nobody named.
        while len(fields) > width and not fields[-1].strip():
            fields.pop()
        width = width or len(fields)
        yield line, fields
