"""Names and class ids of annotated objects, as EPIC-KITCHENS and VISOR have them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from actiseg_ros.errors import ActisegError
from actiseg_ros.narration.text import clean_name, words_of
from actiseg_ros.narration.vocabulary import (
    MAX_NAME,
    Vocabulary,
    read_noun_classes,
    readable_name,
)
from actiseg_ros.prompts import HANDS, is_hand

CLASSES = "classes.csv"
"""File of the own classes, in the columns of EPIC's noun classes."""
FIRST_OWN_CLASS = 307
"""EPIC-KITCHENS-100 has the noun classes 0 to 299; VISOR adds hands, gloves and feet up to 306."""
_HAND_CLASSES = {300: ("left hand",), 301: ("right hand",)}
_SIDES = {"left": "left hand", "l": "left hand", "right": "right hand", "r": "right hand"}


class Names:
    """Class ids of objects: EPIC's where its list has the name, new ones after it for the rest.

    Args:
        epic: EPIC's names, as far as they are known here.
        known: Classes that earlier imports gave out; they keep their ids.

    Raises:
        ActisegError: EPIC's list has a name by now that got a class of its own before.
    """

    def __init__(self, epic: Vocabulary, known: dict[int, tuple[str, ...]] | None = None) -> None:
        self._own: dict[int, tuple[str, ...]] = dict(known or {})
        for class_id, names in self._own.items():
            other = epic.class_of(names[0])
            if other not in (None, class_id):
                raise ActisegError(
                    f"{CLASSES}: {names[0]!r} has the class {class_id} from an earlier import, in "
                    f"the list of nouns it has {other}; give the --nouns that the folder was begun "
                    "with, or choose another --out"
                )
        self._vocabulary = epic.extended(_HAND_CLASSES).extended(self._own)
        self.new: list[str] = []
        """Names that got a class of their own now."""

    @property
    def vocabulary(self) -> Vocabulary:
        """All names: EPIC's and the own ones."""
        return self._vocabulary

    def class_of(self, name: str) -> int:
        """Class id of an object's name (`object_name`); a name that nobody knows gets a new one."""
        found = self._vocabulary.class_of(name)
        if found is not None and found >= 0:
            return found
        class_id = max([FIRST_OWN_CLASS - 1, *self._own]) + 1
        self._own[class_id] = (name,)
        self._vocabulary = self._vocabulary.extended({class_id: [name]})
        self.new.append(name)
        return class_id

    def is_hand(self, name: str) -> bool:
        """Whether an object is a hand, which is active in every action as VISOR's hands are."""
        return name in HANDS or is_hand(name, self._vocabulary)

    def table(self) -> bytes:
        """The own classes as a csv file that `--nouns` and the node's `nouns_csv` read."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", "key", "instances", "category"])
        for class_id, names in sorted(self._own.items()):
            writer.writerow([class_id, names[0], str(list(names)), ""])
        return text.getvalue().encode()


def own_classes(data: Path) -> dict[int, tuple[str, ...]]:
    """The classes that earlier imports into a folder gave out.

    Raises:
        PromptError: The file is damaged.
    """
    path = data / CLASSES
    return read_noun_classes(path) if path.is_file() else {}


def object_name(name: str, side: str = "") -> str:
    """An object's name in the layout.

    Args:
        name: As the annotation tool has it: ``hand:left``, ``left_hand``, ``Chopping board``.
        side: ``left`` or ``right`` if an attribute says so.

    Returns:
        Lower case, underscores as blanks; hands as VISOR names them.

    Raises:
        ActisegError: It has no word, or is too long.
    """
    shown = clean_name(readable_name(name).replace("_", " "), 2 * MAX_NAME)
    words = words_of(shown)
    if not words:
        raise ActisegError(f"object name {name!r} has no word; rename it in the annotation tool")
    if len(shown) > MAX_NAME:
        raise ActisegError(f"object name {name!r} has more than {MAX_NAME} characters; shorten it")
    return _hand(words, side) or shown


def _hand(words: Iterable[str], side: str) -> str:
    """``left hand`` or ``right hand`` if that is what the words say; else empty."""
    joined = "".join(words)
    for spelt, hand in _SIDES.items():
        if joined in (f"{spelt}hand", f"hand{spelt}"):
            return hand
    return _SIDES[side] if side and joined in ("hand", "hands") else ""
