"""Names of objects that a model or a user knows, and how they are spelt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path

from actiseg_ros.errors import PromptError
from actiseg_ros.narration.synonyms import SYNONYMS
from actiseg_ros.narration.text import clean_name, words_of
from actiseg_ros.tables import TableError, read_table

MAX_NAME = 64
"""Longest object name that is taken seriously, characters."""


@dataclass(frozen=True)
class KnownName:
    """A name as it is shown, its class, and how many words of the text were it."""

    name: str
    class_id: int
    length: int


class _Rank(IntEnum):
    """Which of two meanings of a spelling counts: the smaller."""

    NAME = 1
    JOINED = 2
    INFLECTED = 3
    SYNONYM = 4


@dataclass(frozen=True)
class _Entry:
    rank: _Rank
    name: str
    class_id: int


class Vocabulary:
    """Object names, grouped in classes of synonyms.

    Blanks and hyphens inside a name do not matter (``tea towel``, ``tea-towel``, ``teatowel``), nor
    does the plural of its last word.

    Args:
        classes: Names of each class id; the first name of a class is its usual one.
        before: Names that are known already and keep their meaning.
    """

    def __init__(
        self, classes: Mapping[int, Iterable[str]], before: Vocabulary | None = None
    ) -> None:
        self._before = before
        self._entries: dict[str, _Entry] = {}
        self._longest: int = before._longest if before is not None else 1
        self._add(classes)

    def _add(self, classes: Mapping[int, Iterable[str]]) -> None:
        for class_id, names in classes.items():
            for given in names:
                name = clean_name(readable_name(given), MAX_NAME)
                if words := words_of(name):
                    self._enter(words, _Entry(_Rank.NAME, name, class_id))
                for other in SYNONYMS.get(" ".join(words), ()):
                    self._enter(words_of(other), _Entry(_Rank.SYNONYM, other, class_id))

    def _enter(self, words: Sequence[str], entry: _Entry) -> None:
        """Makes a name known under all its spellings; what is known already ranks first."""
        spelt = [(" ".join(words), _Rank.NAME), ("".join(words), _Rank.JOINED)]
        for last in _other_numbers(words[-1]):
            spelt += [(joint.join([*words[:-1], last]), _Rank.INFLECTED) for joint in (" ", "")]
        for key, rank in spelt:
            ranked = replace(entry, rank=max(entry.rank, rank))
            known = self._entries.setdefault(key, ranked)
            if ranked.rank < known.rank:
                self._entries[key] = ranked
        self._longest = max(self._longest, len(words) + 1)

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> set[str]:
        own = {entry.name for entry in self._entries.values() if entry.rank < _Rank.SYNONYM}
        return own | (self._before._names() if self._before is not None else set())

    def _find(self, words: Sequence[str]) -> _Entry | None:
        before = self._before._find(words) if self._before is not None else None
        if before is not None and before.rank < _Rank.SYNONYM:
            return before
        own = self._entries.get(" ".join(words)) or self._entries.get("".join(words))
        return own or before

    def class_of(self, name: str) -> int | None:
        """Returns the class id of a name or its plural, or None if it is unknown."""
        found = self._find(words_of(clean_name(readable_name(name), MAX_NAME)))
        return found.class_id if found else None

    def extended(self, other: Mapping[int, Iterable[str]]) -> Vocabulary:
        """Returns a vocabulary that also knows `other`; names known before keep their class."""
        return Vocabulary(other, self)

    def beginning(self, words: Sequence[str]) -> KnownName | None:
        """The longest known name that `words` begin with."""
        for length in range(min(self._longest, len(words)), 0, -1):
            if found := self._find(words[:length]):
                return KnownName(found.name, found.class_id, length)
        return None

    def ending(self, words: Sequence[str]) -> KnownName | None:
        """The longest known name that `words` end with."""
        for length in range(min(self._longest, len(words)), 0, -1):
            if found := self._find(words[-length:]):
                return KnownName(found.name, found.class_id, length)
        return None


def readable_name(name: str) -> str:
    """Turns EPIC's ``noun:qualifier`` into words: ``cup:coffee`` means ``coffee cup``."""
    parts = [part.strip() for part in name.split(":") if part.strip()]
    return " ".join(parts[1:] + parts[:1])


def spellings(name: str) -> list[str]:
    """The words of a name in one, as written first, then with its last word in other numbers."""
    words = words_of(name)
    if not words:
        return []
    stem, last = "".join(words[:-1]), words[-1]
    return [stem + form for form in (last, *_other_numbers(last))]


def _other_numbers(word: str) -> list[str]:
    """Plurals of a word, and singulars if it may be a plural."""
    forms = [word + "s"]
    if re.search(r"(s|x|z|ch|sh|o)$", word):
        forms.append(word + "es")
    if re.search(r"[^aeiou]y$", word):
        forms.append(word[:-1] + "ies")
    if re.search(r"fe?$", word):
        forms.append(re.sub(r"fe?$", "ves", word))
    if re.search(r"[^su]s$", word):
        forms.append(word[:-1])
        if re.search(r"(s|x|z|ch|sh|o)es$", word):
            forms.append(word[:-2])
        if word.endswith("ies"):
            forms.append(word[:-3] + "y")
        if word.endswith("ves"):
            forms += [word[:-3] + "f", word[:-3] + "fe"]
    return forms


def read_noun_classes(path: Path) -> dict[int, tuple[str, ...]]:
    """Reads a noun csv in the form of ``EPIC_100_noun_classes_v2.csv``.

    Args:
        path: CSV with the columns id, key and instances (a Python list literal).

    Returns:
        Names of each class id, the key first; rows of one id are joined.

    Raises:
        PromptError: The file is missing or a row is malformed; names file and line.
    """
    classes: dict[int, dict[str, None]] = {}
    try:
        for row in read_table(path, ("id", "key", "instances")):
            names = [row["key"], *map(str, row.listed("instances"))]
            found = dict.fromkeys(map(readable_name, names))
            classes.setdefault(row.integer("id"), {}).update(found)
    except TableError as error:
        raise PromptError(f"{error}; expected a table as EPIC_100_noun_classes_v2.csv") from error
    return {class_id: tuple(names) for class_id, names in classes.items()}
