"""Reads the EPIC-KITCHENS action tables."""

from __future__ import annotations

from dataclasses import dataclass

from actiseg_ros.errors import ActisegError
from actiseg_ros.tables import Row, TableError, read_table
from training.data.tree import Problem, VisorTree

_COLUMNS = (
    "narration_id", "video_id", "start_frame", "stop_frame", "narration", "verb", "verb_class",
    "noun", "noun_class", "all_noun_classes",
)  # fmt: skip


@dataclass(frozen=True)
class ActionRow:
    """One row of an EPIC-KITCHENS action table."""

    video: str
    start: int
    """First frame, EPIC numbering, included."""
    end: int
    """Last frame, included."""
    narration: str
    verb: str
    verb_class: int
    noun: str
    noun_class: int
    noun_classes: frozenset[int]
    """Class ids of all nouns of the narration."""
    order: tuple[int, ...]
    """Numbers of the narration id, by which the actions of a video are sorted."""


def read_actions(tree: VisorTree) -> tuple[dict[str, list[ActionRow]], list[Problem]]:
    """Reads both action tables.

    Returns:
        The actions of each video in the order of their narration ids, and unusable rows.

    Raises:
        ActisegError: If a table is missing, is no table or lacks a column.
    """
    actions: dict[str, list[ActionRow]] = {}
    problems: list[Problem] = []
    for path in tree.tables():
        if not path.is_file():
            raise ActisegError(f"{path}: not found; it is an EPIC-KITCHENS-100 table")
        refuse = _Refusals(str(path), problems)
        try:
            for row in read_table(path, _COLUMNS, on_error=refuse):
                try:
                    action = _action(row)
                except TableError as error:
                    refuse(error)
                else:
                    actions.setdefault(action.video, []).append(action)
        except TableError as error:
            raise ActisegError(str(error)) from error
    for listed in actions.values():
        listed.sort(key=lambda action: action.order)
    return actions, problems


class _Refusals:
    """Notes rows of a table that cannot be used."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self._file, self._problems = file, problems

    def __call__(self, error: TableError) -> None:
        what = str(error).removeprefix(self._file).lstrip(":, ")
        self._problems.append(Problem(self._file, what))


def _action(row: Row) -> ActionRow:
    noun_classes = row.listed("all_noun_classes")
    if not all(isinstance(class_id, int) for class_id in noun_classes):
        raise row.error("all_noun_classes", "a list of class ids")
    for column in ("video_id", "verb", "noun"):
        if "/" in row[column]:
            raise row.error(column, "fit for the name of a folder: it contains '/'")
    try:
        order = tuple(int(part) for part in row["narration_id"][1:].split("_"))
    except ValueError:
        raise row.error("narration_id", "of the form P01_01_0") from None
    return ActionRow(
        video=row["video_id"],
        start=row.integer("start_frame"),
        end=row.integer("stop_frame"),
        narration=row["narration"],
        verb=row["verb"],
        verb_class=row.integer("verb_class"),
        noun=row["noun"],
        noun_class=row.integer("noun_class"),
        noun_classes=frozenset(int(class_id) for class_id in noun_classes),
        order=order,
    )
