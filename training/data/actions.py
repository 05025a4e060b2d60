"""Reads the EPIC-KITCHENS action tables."""

from __future__ import annotations

import ast
import csv
from collections.abc import Mapping
from dataclasses import dataclass

from training.data.tree import Problem, VisorTree
from training.files.errors import ActisegError


@dataclass(frozen=True)
class Action:
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


def read_actions(tree: VisorTree) -> tuple[dict[str, list[Action]], list[Problem]]:
    """Reads both action tables.

    Returns:
        The actions of each video in the order of their narration ids, and unusable rows.

    Raises:
        ActisegError: If a table is missing or lacks a column.
    """
    actions: dict[str, list[Action]] = {}
    problems = []
    for path in tree.tables():
        try:
            with path.open(newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        except FileNotFoundError as error:
            raise ActisegError(f"{path}: not found; it is an EPIC-KITCHENS-100 table") from error
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise ActisegError(f"{path}: not readable as CSV ({error})") from error
        for number, row in enumerate(rows, start=2):
            try:
                action = _action(row)
            except KeyError as error:
                raise ActisegError(f"{path}: there is no column {error}") from error
            except (TypeError, ValueError, SyntaxError) as error:
                problems.append(Problem(str(path), f"row {number} is unusable ({error})"))
                continue
            actions.setdefault(action.video, []).append(action)
    for listed in actions.values():
        listed.sort(key=lambda action: action.order)
    return actions, problems


def _action(row: Mapping[str, str]) -> Action:
    narration_id = row["narration_id"]
    noun_classes = ast.literal_eval(row["all_noun_classes"])
    if not isinstance(noun_classes, list):
        raise ValueError(f"all_noun_classes is {row['all_noun_classes']!r}; expected a list")
    if any("/" in row[name] for name in ("video_id", "verb", "noun")):
        raise ValueError("video, verb or noun contains '/', which cannot be in a folder name")
    return Action(
        video=row["video_id"],
        start=int(row["start_frame"]),
        end=int(row["stop_frame"]),
        narration=row["narration"],
        verb=row["verb"],
        verb_class=int(row["verb_class"]),
        noun=row["noun"],
        noun_class=int(row["noun_class"]),
        noun_classes=frozenset(noun_classes),
        order=tuple(int(part) for part in narration_id[1:].split("_")),
    )
