"""Whether a narration tells of something that is done now, or forbids, asks, ends or plans it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum

from actiseg_ros.narration import grammar
from actiseg_ros.narration.chunks import Chunk, Kind
from actiseg_ros.narration.text import ASIDE, MARKS, QUESTION_MARK


class Reason(str, Enum):
    """Why a narration has the target that it has, or none."""

    OBJECT = "object"
    EMPTY = "empty"
    CUT = "cut"
    QUESTION = "question"
    NEGATED = "negated"
    CONDITIONAL = "conditional"
    ENDED = "ended"
    PLANNED = "planned"
    STATEMENT = "statement"
    AMBIGUOUS = "ambiguous"
    NO_OBJECT = "no_object"
    PLACE_ONLY = "place_only"
    PRONOUN = "pronoun"
    HAND = "hand"
    UNKNOWN_OBJECT = "unknown_object"
    NOT_A_CANDIDATE = "not_a_candidate"
    TOO_MANY = "too_many"


class NoObjectError(Exception):
    """A narration has no object that is worked on now, and why."""

    def __init__(self, reason: Reason, text: str) -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


SAYS = {
    Reason.NEGATED: "says that it is not to be done",
    Reason.ENDED: "says that it has ended",
    Reason.CONDITIONAL: "says that it may or may not be done",
    Reason.PLANNED: "says that it is still to come, wished or told",
}
"""What a word says; of several, the first here is told."""

_PAIRS = {
    ("no", "longer"): Reason.ENDED,
    ("no", "more"): Reason.ENDED,
    ("any", "longer"): Reason.ENDED,
    ("any", "more"): Reason.ENDED,
    ("hang", "on"): Reason.ENDED,
    ("hold", "on"): Reason.ENDED,
    ("scratch", "that"): Reason.NEGATED,
    ("give", "up"): Reason.ENDED,
    ("giving", "up"): Reason.ENDED,
    ("call", "off"): Reason.ENDED,
    ("get", "away"): Reason.NEGATED,
    ("go", "away"): Reason.NEGATED,
    ("keep", "back"): Reason.NEGATED,
    ("look", "out"): Reason.NEGATED,
    ("on", "hold"): Reason.CONDITIONAL,
    ("off", "limits"): Reason.NEGATED,
    ("stand", "back"): Reason.NEGATED,
    ("stay", "back"): Reason.NEGATED,
    ("step", "away"): Reason.NEGATED,
    ("step", "back"): Reason.NEGATED,
    ("watch", "out"): Reason.NEGATED,
    ("in", "case"): Reason.CONDITIONAL,
    ("going", "to"): Reason.PLANNED,
    ("next", ASIDE): Reason.PLANNED,
    ("next", "time"): Reason.PLANNED,
}
"""Two words that say together what neither says alone."""
_HARMLESS = (grammar.ADVERBS - {"almost"}) | grammar.FILLERS | grammar.MANNERS | grammar.WITHDRAWING
"""Adverbs that leave it at what is done; those of `grammar.WITHDRAWING` in the first place."""
_CLOCK = grammar.ADVERBS | grammar.FILLERS | {"sharp"}
"""What may stand beside the numbers of a time of the day: "at five thirty sharp, please"."""
_LAST_HOUR = 24
_ENDS_NAME = MARKS | grammar.PREPOSITIONS | grammar.CONJUNCTIONS | {""}
"""What follows the zero of "cup 0", which is a name and no count."""


def check_mood(words: Sequence[str], pieces: Sequence[Chunk]) -> None:
    """Refuses what is not plainly done now, wherever in the narration that is said.

    Args:
        words: The narration's words, contractions expanded.
        pieces: The same in pieces.

    Raises:
        NoObjectError: It is a question, or forbidden, ended, conditional or planned.
    """
    _check_question(words)
    # "until" says how long; what follows it may well be negated or done.
    until = [piece.start for piece in pieces if piece.head in grammar.UNTIL and piece.start > 0]
    told = words[: until[0]] if until else words
    excluding = {piece.start for piece in pieces if piece.kind is Kind.EXCLUSION}
    said: dict[Reason, str] = {}
    for place, (word, following) in enumerate(zip(told, [*told[1:], ""], strict=True)):
        if place not in excluding and (reason := _reason(word, following, told[-1])):
            said.setdefault(reason, word)
    if taken_back := grammar.WITHDRAWING.intersection(told[1:]):
        said.setdefault(Reason.NEGATED, min(taken_back))
    if breaks_off := _breaks_off(told):
        said.setdefault(Reason.ENDED, breaks_off)
    for word in _adverbs(told, pieces):
        if word not in _HARMLESS and not said:
            said.setdefault(Reason.CONDITIONAL, word)
    for reason in SAYS:
        if reason in said:
            raise NoObjectError(reason, f"{said[reason]!r} {SAYS[reason]}")
    for place, (piece, after) in enumerate(itertools.pairwise(pieces)):
        if piece.kind is Kind.AUXILIARY and piece.head == "have":
            reason = Reason.PLANNED if after.kind is Kind.INFINITIVE else Reason.ENDED
            raise NoObjectError(reason, f"'{piece.text} {after.text}' {SAYS[reason]}")
        if piece.kind is Kind.PREPOSITION and (comes := _to_come(words, pieces, place)):
            raise NoObjectError(comes, f"'{piece.text} {after.text}' {SAYS[comes]}")
    _check_parts(pieces)


def _breaks_off(words: Sequence[str]) -> str:
    """What stops or takes back between two marks: "take the cup, hold it", "hold, take the cup"."""
    # Only behind something told an "it" is no object: "drop it".
    said = ["", *(word for word in words if word not in grammar.FILLERS), ""]
    for place, (before, word, after) in enumerate(zip(said, said[1:], said[2:], strict=False)):
        halts = grammar.is_verb(word, grammar.STANDING_STILL | grammar.TAKING_BACK)
        ends = after in MARKS or (place > 0 and (not after or after in grammar.BACK_OBJECTS))
        if halts and ends and (not before or before in MARKS):
            return word
    return ""


def _adverbs(words: Sequence[str], pieces: Sequence[Chunk]) -> Iterator[str]:
    """Adverbs that belong to no quality of a noun, as in "a freshly washed cup"."""
    for piece in pieces:
        if piece.kind in (Kind.ADVERB, Kind.NOUN, Kind.PRONOUN):
            noun = piece.head if piece.kind is Kind.NOUN else ""
            for word in reversed(words[piece.start : piece.stop]):
                if word == noun or not grammar.is_adverb(word):
                    break
                yield word


def _check_parts(pieces: Sequence[Chunk]) -> None:
    """Refuses headings and notes: "todo: cut tomato", "cut tomato (failed)", "cut tomato, failed".

    Beside what a colon, a bracket or a dash sets apart only who is spoken to or speaks and how may
    stand, and beside any other mark no bare words that are none of the known objects.
    """
    told, remarked, apart = "", False, False
    for aside, part in _parts(pieces):
        apart = apart or aside
        if all(map(_addresses, part)):
            continue
        text = " ".join(piece.text for piece in part)
        remark = _is_remark(part)
        if told and (apart or remark or remarked):
            text = f"{told!r} and {text!r} stand apart, and one may say anything of the other"
            raise NoObjectError(Reason.CONDITIONAL, text)
        told, remarked, apart = text, remark, False


def _parts(pieces: Sequence[Chunk]) -> list[tuple[bool, list[Chunk]]]:
    """What stands between marks, and whether an aside begins it; a list is one part."""
    parts: list[tuple[bool, list[Chunk]]] = [(False, [])]
    for piece in pieces:
        if piece.kind is Kind.PAUSE:
            parts.append((piece.head == ASIDE, []))
            continue
        if piece.kind is Kind.CONJUNCTION and not parts[-1][1]:  # "garlic, salt, and onion"
            while len(parts) > 1 and not parts[-1][0] and _lists(parts[-2][1]):
                parts[-2][1].extend(parts.pop()[1])
        parts[-1][1].append(piece)
    return parts


def _lists(part: Sequence[Chunk]) -> bool:
    return all(piece.kind in (Kind.NOUN, Kind.CONJUNCTION, Kind.ADVERB) for piece in part)


def _addresses(piece: Chunk) -> bool:
    """Whether a piece leaves what is done as it is: "please", "robot", "slowly"."""
    polite = (grammar.FILLERS | grammar.MANNERS).issuperset(piece.words)
    return polite or (piece.kind is Kind.NOUN and piece.head in grammar.PERSONS)


def _is_remark(part: Sequence[Chunk]) -> bool:
    """Whether a part is nothing but words that name nothing: "failed", "on standby"."""
    nouns = [piece for piece in part if piece.kind is Kind.NOUN]
    unknown = [piece for piece in nouns if piece.known is None and not piece.acts]
    if part[0].head in grammar.STATE_PREPOSITIONS:
        bare = len(part) == 2 and len(unknown) == 1 and unknown[0].stop - unknown[0].start == 1
        return bare and unknown[0].head not in grammar.PARTITIVES
    works = all(grammar.is_verb(word, grammar.WORKING_ALONE) for n in nouns for word in n.words)
    named = len(unknown) < len(nouns) or any(piece.head in ("one", "ones") for piece in nouns)
    past = any(grammar.is_past(piece.text) for piece in unknown)
    return bool(nouns) and _lists(part) and (past or not (named or works))


def _to_come(words: Sequence[str], pieces: Sequence[Chunk], place: int) -> Reason | None:
    """What the preposition at a place says with what follows it, if that is a time or a signal."""
    before, named = pieces[place].head, pieces[place + 1]
    if named.head in grammar.PARTITIVES:
        # "in half an hour", "in a couple of minutes", "in a bit of oil"
        rest = itertools.dropwhile(lambda piece: piece.head == "of", pieces[place + 2 :])
        part_of = next(rest, named)
        named = part_of if part_of.kind is Kind.NOUN else named
    # At the beginning what is done may follow without a mark: "on command take cup".
    signal = place == 0 or named.known is None
    if signal and before in grammar.SIGNAL_PREPOSITIONS and grammar.SIGNALS & set(named.words):
        return Reason.CONDITIONAL
    phrase = tuple(words[named.start : named.stop])
    now = before == "at" and phrase in grammar.AGAIN_AND_AGAIN
    timed = before in grammar.TIME_PREPOSITIONS and bool(grammar.TIMES & set(named.words))
    verbs = [piece.head for piece in pieces[:place] if piece.kind is Kind.VERB]
    clock = before in grammar.CLOCK_PREPOSITIONS and grammar.is_number(phrase[0])
    clock = clock and _CLOCK.issuperset(word for word in phrase if not grammar.is_number(word))
    counted = bool(verbs) and len(phrase) == 1 and _counts(verbs[-1], before, phrase[0])
    return Reason.PLANNED if (timed and not now) or (clock and not counted) else None


def _counts(verb: str, before: str, number: str) -> bool:
    """Whether a number behind a verb tells parts or a setting: "cut in two", "set at 180"."""
    degrees = grammar.degrees(number)
    if before in ("in", "by"):
        parts = grammar.DIVIDING if before == "in" else frozenset({"divide"})
        return grammar.is_verb(verb, parts) and (number in grammar.NUMBERS or degrees is not None)
    # "At 6" may be a time of the day, and "on three" a signal.
    high = degrees is not None and (before == "on" or degrees > _LAST_HOUR)
    return high and before in ("on", "at") and grammar.is_verb(verb, grammar.SETTING)


def _reason(word: str, following: str, last: str) -> Reason | None:
    """What one word says, with the one after it and the last one of the narration."""
    if pair := _PAIRS.get((word, following)):
        return pair
    forbidding, off = grammar.KEEP_OFF
    left_alone = grammar.is_verb(word, grammar.LEAVING) and last in grammar.ALONE
    if word in grammar.NEGATIONS or word in grammar.WARNINGS or left_alone:
        return Reason.NEGATED
    if not word.strip("0.") and grammar.is_number(word) and following not in _ENDS_NAME:
        return Reason.NEGATED
    if (word in forbidding and following in off) or grammar.is_verb(word, grammar.FORBIDDING):
        return Reason.NEGATED
    if word in grammar.CONDITIONS and not (word == "once" and following in ("", "more")):
        return Reason.CONDITIONAL
    if word in grammar.PASTS or grammar.is_verb(word, grammar.ENDING):
        return Reason.ENDED
    if word in ("next", "this", "any") and following in grammar.TIMES:
        return Reason.PLANNED
    if word in grammar.PLANS or grammar.is_verb(word, grammar.SAYING):
        return Reason.PLANNED
    return None


def check_verb(word: str, after_be: bool) -> None:
    """Refuses a verb that says that what it is about is not done now.

    Args:
        word: The verb as it stands.
        after_be: Whether it follows "is": "is cutting".

    Raises:
        NoObjectError: It is a past, one of the verbs that refuse, end or wish another, or one of
            eyes alone.
    """
    if grammar.is_verb(word, grammar.PERCEIVING):
        raise NoObjectError(Reason.NO_OBJECT, f"{word!r} touches nothing")
    if not after_be and grammar.is_past(word):
        raise NoObjectError(Reason.ENDED, f"{word!r} says that it has been done")
    kinds = (
        (grammar.ENDING | grammar.ENDING_VERBS, Reason.ENDED),
        (grammar.FORBIDDING | grammar.REFUSING, Reason.NEGATED),
        (grammar.WISHING, Reason.PLANNED),
    )
    for verbs, reason in kinds:
        if grammar.is_verb(word, verbs):
            raise NoObjectError(reason, f"{word!r} {SAYS[reason]}")


def _check_question(words: Sequence[str]) -> None:
    if QUESTION_MARK in words or any(map(_inverted, words, words[1:])):
        raise NoObjectError(Reason.QUESTION, "it is a question")
    asked = _without_fillers(words)
    if len(asked) > 1 and (asked[0] in _ASKING or _asks_person(asked)):
        raise NoObjectError(Reason.QUESTION, f"it begins with {asked[0]!r} as a question does")


_INVERTING = (grammar.MODALS | grammar.BE | grammar.TENSED | frozenset({"do", "have"})) - frozenset(
    {"being"}
)
_ASKING = (_INVERTING - frozenset({"can", "do", "have", "be"})) | grammar.QUESTION_WORDS
"""Words that only a question begins with."""


def _inverted(word: str, following: str) -> bool:
    """As in "should I" and "do you"."""
    return word in _INVERTING and following in grammar.SUBJECT_PRONOUNS


def _asks_person(words: Sequence[str]) -> bool:
    """As in "can the robot take the cup"."""
    subject = words[1:3] if words[1] in grammar.DETERMINERS else words[1:2]
    return words[0] in _INVERTING and not grammar.PERSONS.isdisjoint(subject)


def _without_fillers(words: Iterable[str]) -> list[str]:
    """The words from the first one on that says something."""
    kept = [word for word in words if word[0].isalnum()]
    while kept and kept[0] in grammar.FILLERS:
        kept.pop(0)
    return kept
