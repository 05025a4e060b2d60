"""Which object a narration says is being worked on now, or why none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from actiseg_ros.narration import grammar
from actiseg_ros.narration.chunks import Chunk, Kind, chunk, split_words
from actiseg_ros.narration.mood import SAYS, NoObjectError, Reason, check_mood, check_verb
from actiseg_ros.narration.text import Narration
from actiseg_ros.narration.vocabulary import KnownName, Vocabulary


@dataclass(frozen=True)
class Reading:
    """What a narration says.

    Attributes:
        name: Known name of the object that is worked on; empty if there is none.
        mentions: Known names of everything mentioned, in order, without repetition.
        reason: Why `name` is what it is.
        text: The same in words.
        excluded: Known names of what is said not to be meant.
    """

    name: str
    mentions: tuple[str, ...]
    reason: Reason
    text: str
    excluded: tuple[str, ...] = ()


def read(narration: Narration, vocabulary: Vocabulary) -> Reading:
    """Reads a narration.

    Whatever is not plainly something done to a known object now has no object: the robot may reach
    for what is named here.

    Args:
        narration: Cleaned narration.
        vocabulary: Known names.
    """
    words = split_words(narration.tokens)
    pieces = chunk(words, vocabulary)
    mentions = dict.fromkeys(
        piece.known.name for piece in pieces if piece.known is not None and not piece.is_hand
    )
    excluded = _excluded(pieces)
    told = tuple(mentions), tuple(known.name for known in excluded)
    try:
        name, text = _object(narration, words, pieces, excluded)
    except NoObjectError as no:
        return Reading("", told[0], no.reason, no.text, told[1])
    return Reading(name, told[0], Reason.OBJECT, text, told[1])


def _excluded(pieces: Sequence[Chunk]) -> list[KnownName]:
    """What is named behind a word that excludes what follows it."""
    kinds = [piece.kind for piece in pieces]
    begin = kinds.index(Kind.EXCLUSION) if Kind.EXCLUSION in kinds else len(kinds)
    return [piece.known for piece in pieces[begin:] if piece.known is not None]


def _object(
    narration: Narration,
    words: Sequence[str],
    pieces: Sequence[Chunk],
    excluded: Sequence[KnownName],
) -> tuple[str, str]:
    """Known name of what is worked on, and how that was found; raises NoObjectError."""
    if narration.cut:
        raise NoObjectError(Reason.CUT, "it is too long, and its end may change what is meant")
    if not pieces:
        raise NoObjectError(Reason.EMPTY, "nothing is narrated")
    if narration.signs:
        text = f"{narration.signs[0]!r} may say anything of what is done"
        raise NoObjectError(Reason.CONDITIONAL, text)
    check_mood(words, pieces)
    found = _Clause(pieces).object()
    if found.known is None:
        raise NoObjectError(
            Reason.UNKNOWN_OBJECT,
            f"{found.text!r} is none of the known objects (its last word counts)",
        )
    for other in excluded:
        if other.class_id == found.known.class_id:
            raise NoObjectError(Reason.NEGATED, f"{other.name!r} is what is not meant")
    return found.known.name, f"{found.text!r} is what is worked on"


_BEFORE_BE = (Kind.NOUN, Kind.PRONOUN, Kind.VERB, Kind.PARTICLE)
"""What may stand before "is" as its subject: "the cup", "it", "picking up the cup"."""


_BEGINS = grammar.WORKING_ALONE | grammar.GOING_ON
"""Verbs that may stand alone before what is done: "go, take cup"."""


class _Clause:
    """Walks through the pieces of the first clause; every step may raise NoObjectError."""

    def __init__(self, pieces: Sequence[Chunk]) -> None:
        self._pieces = [piece for piece in pieces if piece.kind is not Kind.ADVERB]
        self._place = 0

    def object(self) -> Chunk:
        """The noun phrase that it says is worked on."""
        self._skip(Kind.PAUSE, Kind.CONJUNCTION)
        if self._kind() is Kind.PREPOSITION:
            self._skip_place()
        self._check_begins()
        passive = self._subject()
        if passive is not None:
            return passive
        if self._kind() is Kind.VERB:
            self._verbs()
        return self._noun()

    def _kind(self, ahead: int = 0) -> Kind | None:
        place = self._place + ahead
        return self._pieces[place].kind if place < len(self._pieces) else None

    def _piece(self, ahead: int = 0) -> Chunk:
        return self._pieces[self._place + ahead]

    def _skip(self, *kinds: Kind) -> None:
        while self._kind() in kinds:
            self._place += 1

    def _check_begins(self) -> None:
        kind = self._kind()
        if kind is None:
            raise NoObjectError(Reason.NO_OBJECT, "nothing is named")
        if kind is Kind.EXCLUSION:
            text = f"it begins with what is not meant ({self._piece().text})"
            raise NoObjectError(Reason.NEGATED, text)
        if kind in (Kind.SUBORDINATE, Kind.INFINITIVE):
            text = f"it begins with {self._piece().text!r}"
            raise NoObjectError(Reason.CONDITIONAL, text)

    def _skip_place(self) -> None:
        """Goes to what is done, behind a place or a tool: "with the knife, cut the tomato"."""
        if self._kind(1) is Kind.PAUSE:
            text = f"{self._piece().text!r} before what is done may say anything of it"
            raise NoObjectError(Reason.CONDITIONAL, text)
        while self._kind() is not None:
            self._place += 1
            self._skip(Kind.INFINITIVE)
            if self._kind() is Kind.VERB:
                return
            if self._kind() not in (Kind.NOUN, Kind.PREPOSITION, Kind.PAUSE, Kind.PRONOUN):
                break
        text = "it names only where or with what something is done"
        raise NoObjectError(Reason.PLACE_ONLY, text)

    def _subject(self) -> Chunk | None:
        """Goes to the verb behind who acts; returns the subject if something is done to it."""
        start = self._place
        spoken_to = self._kind(1) is Kind.PAUSE and self._kind(2) is not None
        if self._piece().head in grammar.PERSONS and spoken_to:
            self._place += 2  # "robot, take the cup"
            return None
        if self._piece().acts and self._kind(1) is Kind.VERB:
            self._place += 1
            return None
        ahead = 0
        while self._kind(ahead) in _BEFORE_BE and self._kind(ahead + 1) is not Kind.AUXILIARY:
            ahead += 1
        if self._kind(ahead) not in _BEFORE_BE:
            return None
        subject = self._piece(ahead)
        self._place += ahead + 1
        being = False
        while self._kind() is Kind.AUXILIARY:
            being = being or self._piece().head == "being"
            self._place += 1
        acts = self._kind() is Kind.VERB and ahead == 0
        if acts and being and subject.kind is Kind.NOUN:
            return subject
        if not acts or being or not self._piece().head.endswith("ing"):
            text = " ".join(piece.text for piece in self._pieces[start:])
            raise NoObjectError(Reason.STATEMENT, f"{text!r} says how something is")
        return None

    def _verbs(self) -> None:
        """Goes through verbs and their particles to what follows them."""
        after_be = self._place > 0 and self._pieces[self._place - 1].kind is Kind.AUXILIARY
        while self._kind() is Kind.VERB:
            verb = self._piece().head
            check_verb(verb, after_be)
            after_be = False
            self._check_heading()
            self._place += 1
            particle = self._piece().head if self._kind() is Kind.PARTICLE else ""
            self._skip(Kind.PARTICLE, Kind.PAUSE)
            if self._kind() is Kind.NOUN and not grammar.takes_particle(verb, particle):
                text = f"only what follows {particle!r} is named"  # "step over, the knife"
                raise NoObjectError(Reason.PLACE_ONLY, text)
            if self._kind() is Kind.CONJUNCTION:
                self._place += 1
            if self._kind() is Kind.INFINITIVE:
                if not grammar.is_verb(verb, grammar.GOING_ON):
                    raise NoObjectError(Reason.PLANNED, f"{verb!r} {SAYS[Reason.PLANNED]}")
                self._place += 1
            given = self._kind() is Kind.PRONOUN and self._kind(1) is Kind.NOUN
            if given and grammar.is_verb(verb, grammar.GIVING):
                self._place += 1
        tool = self._kind() is Kind.NOUN and self._kind(1) is Kind.INFINITIVE
        if tool and grammar.is_verb(verb, grammar.USING):
            text = f"{self._piece().text!r} is a tool for something else"
            raise NoObjectError(Reason.AMBIGUOUS, text)

    def _check_heading(self) -> None:
        """No word that is a verb by its place alone before the real one: "negative, cut tomato"."""
        verb, following = self._piece(), self._pieces[self._place + 1 : self._place + 2]
        if grammar.is_verb(verb.head, _BEGINS) or not following:
            return
        behind = following[0]
        known = behind.known.length if behind.known is not None else 0
        bare = behind.kind is Kind.NOUN and behind.start == verb.stop
        before = behind.words[: -max(known, 1)]
        works = bare and not (grammar.is_verb(verb.head) or grammar.VERBS.isdisjoint(before))
        if works or behind.kind is Kind.PAUSE:
            text = f"{verb.head!r} before what is done may say anything of it"
            raise NoObjectError(Reason.CONDITIONAL, text)

    def _noun(self) -> Chunk:
        """The object, at the place where it must stand."""
        kind = self._kind()
        if kind is Kind.PREPOSITION:
            text = f"only what follows {self._piece().text!r} is named"
            raise NoObjectError(Reason.PLACE_ONLY, text)
        if kind is Kind.PRONOUN:
            raise NoObjectError(Reason.PRONOUN, f"{self._piece().text!r} may be anything")
        if kind is not Kind.NOUN:
            raise NoObjectError(Reason.NO_OBJECT, "what is worked on is not named")
        self._check_rest()
        found = self._partitive()
        while found.is_hand or found.head in grammar.PERSONS:
            if not (self._kind(1) is Kind.CONJUNCTION and self._kind(2) is Kind.NOUN):
                raise NoObjectError(Reason.HAND, f"{found.text!r} is never to be grasped")
            self._place += 2
            found = self._partitive()
        return found

    def _check_rest(self) -> None:
        """No verb of being behind the object: "touching the tray is dangerous"."""
        for piece in self._pieces[self._place + 1 :]:
            if piece.kind in (Kind.SUBORDINATE, Kind.EXCLUSION, Kind.VERB):
                return
            if piece.kind is Kind.AUXILIARY:
                raise NoObjectError(Reason.STATEMENT, f"{piece.text!r} says how something is")

    def _partitive(self) -> Chunk:
        """The noun phrase here, or the one that it is a part of: "piece of bread"."""
        found = self._piece()
        while found.head in grammar.PARTITIVES:
            of = self._kind(1) is Kind.PREPOSITION and self._piece(1).head in grammar.PART_OF
            if not of or self._kind(2) is not Kind.NOUN:
                break
            if found.known is not None and self._piece(2).known is None:
                break
            self._place += 2
            found = self._piece()
        return found
