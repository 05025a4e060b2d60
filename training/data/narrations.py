"""What the robot would take from narrations: `actiseg narration`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from actiseg_ros.narration.mood import Reason
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary, readable_name
from actiseg_ros.prompts import Target, choose_target, objects_of_narration
from actiseg_ros.tables import read_table


@dataclass(frozen=True)
class ReadNarration:
    """One narration as the node takes it when nobody names candidates.

    Attributes:
        narration_id: Its name in the table; None if it came from no table.
        narration: The text as it was given.
        candidates: Objects that the node would look for.
        target: The one that the decision is about, and why.
        noun: What the table says that it is about, as spoken words; empty if it does not say.
    """

    narration_id: str | None
    narration: str
    candidates: tuple[str, ...]
    target: Target
    noun: str = ""

    def row(self) -> dict[str, Any]:
        """The narration as a JSON object; `reason` is for programs, `explanation` for people."""
        named = {} if self.narration_id is None else {"narration_id": self.narration_id}
        return named | {
            "narration": self.narration,
            "candidates": list(self.candidates),
            "target": self.target.name,
            "reason": self.target.reason.value,
            "explanation": self.target.text,
        }

    def __str__(self) -> str:
        """One line: narration, target, reason, explanation and candidates."""
        target = repr(self.target.name) if self.target.name else "none"
        return (
            f"{self.narration!r}: target {target} [{self.target.reason.value}] {self.target.text}; "
            f"candidates {', '.join(self.candidates)}"
        )

    @property
    def shares_word(self) -> bool:
        """Whether the target and the table's noun have a word in common."""
        return not set(self.target.name.split()).isdisjoint(self.noun.split())


def of_texts(texts: Iterable[str], vocabulary: Vocabulary) -> list[ReadNarration]:
    """Reads narrations; see `of_table`."""
    return [_read(None, text, vocabulary) for text in texts]


def of_table(path: Path, vocabulary: Vocabulary) -> list[ReadNarration]:
    """Reads the narrations of a table in its order.

    Args:
        path: Table with the column narration, and perhaps narration_id and noun.
        vocabulary: Known names.

    Raises:
        TableError: The table is malformed.
        ActisegError: It has no row.
    """
    read = [
        _read(row.get("narration_id"), row["narration"], vocabulary, readable_name(row.get("noun")))
        for row in read_table(path, ("narration",))
    ]
    if not read:
        raise ActisegError(f"{path}: has no narration")
    return read


def _read(
    narration_id: str | None, text: str, vocabulary: Vocabulary, noun: str = ""
) -> ReadNarration:
    narration = clean_narration(text)
    candidates = objects_of_narration(narration, vocabulary)
    target = choose_target(narration, candidates, vocabulary)
    return ReadNarration(narration_id, text, candidates, target, noun)


def summary(read: Sequence[ReadNarration]) -> list[str]:
    """How many narrations have a target, how many of another noun, and why the rest has none."""
    found = [narration for narration in read if narration.target.reason is Reason.OBJECT]
    lines = [f"{len(read)} narrations, {len(found)} with a target"]
    known = [narration for narration in found if narration.noun]
    if known:
        strange = sum(not narration.shares_word for narration in known)
        share = 100 * strange / len(known)
        lines.append(f"{strange} targets ({share:.2f} %) share no word with the table's noun")
    none = Counter(n.target.reason.value for n in read if n.target.reason is not Reason.OBJECT)
    lines += [f"{count:7} {reason}" for reason, count in none.most_common()]
    return lines
