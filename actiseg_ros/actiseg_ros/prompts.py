"""From a narration to prompts: clean text, candidate objects, and the target among them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.errors import PromptError
from actiseg_ros.tables import TableError, read_table

PROMPT_TEMPLATE = "{object} used in the action of {narration}"
HANDS = ("left hand", "right hand")
MAX_NARRATION = 200
"""Longer narrations are cut here (characters); EPIC's longest has about 100."""
MAX_NAME = 64
"""Longest object name that is taken seriously, characters."""
MAX_OBJECTS = 64
"""Largest number of candidate objects in one prompt batch."""
MAX_DURATION = 3600.0
"""Longest time that one narration holds, seconds."""

_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Prompt:
    """What to look for.

    Attributes:
        narration: What is being done, cleaned (`clean_narration`).
        names: Candidate objects, cleaned (`clean_names`).
        target: The one of `names` that may be grasped; empty if there is none.
    """

    narration: str
    names: tuple[str, ...]
    target: str = ""


@dataclass(frozen=True)
class CleanText:
    """A narration fit for the tokenizer.

    Attributes:
        text: Lower case, one blank between words, no control characters, may be empty.
        notes: What had to be changed beyond spacing and case, for the log.
    """

    text: str
    notes: tuple[str, ...] = ()


def clean_narration(text: str, limit: int = MAX_NARRATION) -> CleanText:
    """Normalises a narration.

    Args:
        text: Any text, e.g. from a topic.
        limit: Longest result in characters; a longer text is cut at a word.

    Returns:
        The cleaned text with notes.
    """
    # Cut before normalising: some characters expand, and the input may be megabytes long.
    head = unicodedata.normalize("NFKC", text[: 8 * limit])
    visible = (" " if unicodedata.category(char).startswith("C") else char for char in head)
    clean = _SPACE.sub(" ", "".join(visible)).strip().lower()
    notes = []
    if len(clean) > limit or len(text) > 8 * limit:
        clean = clean[: limit + 1]
        clean = (clean.rsplit(" ", 1)[0] if " " in clean else clean)[:limit].rstrip()
        notes.append(f"narration of {len(text)} characters was cut to {len(clean)}")
    if text.strip() and not clean:
        notes.append("narration has no visible character")
    elif any(ord(char) > 127 and char.isalpha() for char in clean):
        notes.append("narration has letters that are not English; the model knows English only")
    return CleanText(clean, tuple(notes))


def readable_name(name: str) -> str:
    """Turns EPIC's ``noun:qualifier`` into words: ``cup:coffee`` means ``coffee cup``."""
    parts = [part.strip() for part in name.split(":") if part.strip()]
    return " ".join(parts[1:] + parts[:1])


class Vocabulary:
    """Object names known to a model or to a user, grouped in classes of synonyms.

    Args:
        classes: Names of each class id; the first name of a class is its usual one.
    """

    def __init__(self, classes: Mapping[int, Iterable[str]]) -> None:
        self._class_of: dict[tuple[str, ...], int] = {}
        self._names: dict[tuple[str, ...], str] = {}
        self._longest = 1
        for class_id, names in classes.items():
            self._add(class_id, names)

    def _add(self, class_id: int, names: Iterable[str]) -> None:
        for name in names:
            clean = clean_narration(readable_name(name), MAX_NAME).text
            for key in _spellings(clean):
                if key not in self._class_of:
                    self._class_of[key] = class_id
                    self._names[key] = clean
                    self._longest = max(self._longest, len(key))

    def __len__(self) -> int:
        return len(set(self._names.values()))

    def class_of(self, name: str) -> int | None:
        """Returns the class id of a name or its plural, or None if it is unknown."""
        return self._class_of.get(_words(clean_narration(readable_name(name), MAX_NAME).text))

    def extended(self, other: Mapping[int, Iterable[str]]) -> Vocabulary:
        """Returns a vocabulary that also knows `other`; names known before keep their class."""
        joined = Vocabulary({})
        joined._class_of, joined._names = dict(self._class_of), dict(self._names)
        joined._longest = self._longest
        for class_id, names in other.items():
            joined._add(class_id, names)
        return joined

    def find(self, text: str) -> list[str]:
        """Finds object names in a text, longest match first at each place.

        Args:
            text: Cleaned narration.

        Returns:
            Names in order of appearance in their singular spelling, without repetition.
        """
        words = _words(text)
        found: dict[str, None] = {}
        start = 0
        while start < len(words):
            for length in range(min(self._longest, len(words) - start), 0, -1):
                name = self._names.get(words[start : start + length])
                if name is not None:
                    found[name] = None
                    start += length
                    break
            else:
                start += 1
        return list(found)


def read_noun_classes(path: Path) -> dict[int, tuple[str, ...]]:
    """Reads a noun csv in the form of ``EPIC_100_noun_classes_v2.csv``.

    Args:
        path: CSV with the columns id, key and instances (a Python list literal).

    Returns:
        Names of each class id, the key first.

    Raises:
        PromptError: The file is missing or a row is malformed; names file and line.
    """
    classes: dict[int, tuple[str, ...]] = {}
    try:
        for row in read_table(path, ("id", "key", "instances")):
            names = [row["key"], *map(str, row.listed("instances"))]
            classes[row.integer("id")] = tuple(dict.fromkeys(map(readable_name, names)))
    except TableError as error:
        raise PromptError(f"{error}; expected a table as EPIC_100_noun_classes_v2.csv") from error
    return classes


def clean_names(names: Iterable[str], limit: int = MAX_OBJECTS) -> tuple[str, ...]:
    """Normalises a list of object names.

    Args:
        names: Names as given by a user; empty ones and repetitions are dropped.
        limit: Largest number of different names.

    Returns:
        Different names in the given order.

    Raises:
        PromptError: Too many names or a name is too long.
    """
    unique: dict[str, None] = {}
    for count, name in enumerate(names):
        if len(name) > MAX_NAME:
            raise PromptError(
                f"object name {count} has {len(name)} characters, at most {MAX_NAME} are allowed"
            )
        clean = clean_narration(readable_name(name), MAX_NAME).text
        if clean:
            unique[clean] = None
        if len(unique) > limit:
            raise PromptError(
                f"more than {limit} different object names; give the {limit} that matter now"
            )
    return tuple(unique)


def objects_of_narration(narration: str, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Candidate objects that a narration itself names, and both hands.

    Args:
        narration: Cleaned narration.
        vocabulary: Known names.

    Returns:
        Names in order of appearance, then the hands; at most `MAX_OBJECTS`.
    """
    found = [name for name in vocabulary.find(narration) if name not in (*HANDS, "hand")]
    return tuple(found[: MAX_OBJECTS - len(HANDS)]) + HANDS


def choose_target(
    narration: str, names: Sequence[str], vocabulary: Vocabulary, target_name: str = ""
) -> str:
    """Chooses the object that the decision is about.

    Args:
        narration: Cleaned narration.
        names: Candidate objects (cleaned).
        vocabulary: Known names and synonyms.
        target_name: Explicit choice; must be one of `names` or a synonym of one, and no hand.

    Returns:
        One of `names`, or an empty string if no candidate can be told to be the target. An
        explicit choice that is no candidate gives an empty string too: guessing another target
        would move the robot to the wrong thing.
    """
    if target_name:
        match = _matching(clean_narration(readable_name(target_name)).text, names, vocabulary)
        return "" if is_hand(match, vocabulary) else match
    # The candidates' own spelling counts too, for names that no vocabulary has.
    local = vocabulary.extended({-1 - i: [name] for i, name in enumerate(names)})
    for mentioned in local.find(narration):
        match = _matching(mentioned, names, vocabulary)
        if match and not is_hand(match, vocabulary):
            return match
    return ""


def is_hand(name: str, vocabulary: Vocabulary) -> bool:
    """Whether a name in any spelling, or its class, means a hand, which is never to be grasped."""
    words = [word for word in _words(name) if word not in ("left", "right")]
    if words and re.search(r"hands?$", words[-1]):
        return True
    class_id = vocabulary.class_of(name)
    return class_id is not None and class_id in map(vocabulary.class_of, ("hand", *HANDS))


def _matching(name: str, names: Sequence[str], vocabulary: Vocabulary) -> str:
    """The candidate with this name, else the first of the same class, else an empty string."""
    if name in names:
        return name
    keys = set(_spellings(name))
    for candidate in names:
        if keys & set(_spellings(candidate)):
            return candidate
    class_id = vocabulary.class_of(name)
    if class_id is not None:
        for candidate in names:
            if vocabulary.class_of(candidate) == class_id:
                return candidate
    return ""


def _words(text: str) -> tuple[str, ...]:
    return tuple(_WORD.findall(text))


def _spellings(name: str) -> list[tuple[str, ...]]:
    """The words of a name, and those with its last word in the plural."""
    words = _words(name)
    if not words:
        return []
    last = words[-1]
    plurals = [last + "s"]
    if re.search(r"(s|x|z|ch|sh|o)$", last):
        plurals.append(last + "es")
    if re.search(r"[^aeiou]y$", last):
        plurals.append(last[:-1] + "ies")
    if re.search(r"fe?$", last):
        plurals.append(re.sub(r"fe?$", "ves", last))
    return [words, *((*words[:-1], plural) for plural in plurals)]
