"""From a narration to prompts: candidate objects, and the target among them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from actiseg_ros.errors import PromptError
from actiseg_ros.narration.grammar import BODY, PERSONS
from actiseg_ros.narration.mood import Reason
from actiseg_ros.narration.reading import read
from actiseg_ros.narration.text import Narration, clean_name, words_of
from actiseg_ros.narration.vocabulary import MAX_NAME, Vocabulary, readable_name, spellings

PROMPT_TEMPLATE = "{object} used in the action of {narration}"
_JOIN = PROMPT_TEMPLATE.format(object="", narration="")
HANDS = ("left hand", "right hand")
MAX_OBJECTS = 64
"""Largest number of candidate objects in one prompt batch."""
MAX_DURATION = 3600.0
"""Longest time that one narration holds, seconds."""


Candidates = Literal["named", "narration", "target"]
"""Where a prompt's candidates come from: named by somebody who sees the scene, taken from the
narration (or named, but no others than it names), or the target alone. The gate is calibrated for
each by itself."""
CANDIDATES: tuple[Candidates, ...] = ("named", "narration", "target")


def parse_prompt(expression: str) -> tuple[str, str] | None:
    """Object name and narration of a text in the form of `PROMPT_TEMPLATE`; None if it has none."""
    name, join, narration = expression.partition(_JOIN)
    return (name, narration) if join else None


@dataclass(frozen=True)
class Prompt:
    """What to look for.

    Attributes:
        narration: What is being done, cleaned (`clean_narration`).
        names: Candidate objects, cleaned (`clean_names`).
        target: The one of `names` that may be grasped; empty if there is none.
        candidates: Where `names` come from.
    """

    narration: str
    names: tuple[str, ...]
    target: str = ""
    candidates: Candidates = "named"


@dataclass(frozen=True)
class Target:
    """The object that a decision is about.

    Attributes:
        name: One of the candidates; empty if none can be told to be the target.
        reason: Why.
        text: The same in words, for people.
    """

    name: str
    reason: Reason
    text: str

    @property
    def advice(self) -> str:
        """`text`, and what a user can do about a target that is not found."""
        remedy = _REMEDIES.get(self.reason)
        return f"{self.text}; {remedy}" if remedy else self.text


_REMEDIES = {
    Reason.UNKNOWN_OBJECT: (
        "give it in an `action` message or by `~/set_objects`, or extend the vocabulary by "
        "`nouns_csv`"
    ),
    Reason.NOT_A_CANDIDATE: "name it among the candidates, or let the narration name them",
    Reason.AMBIGUOUS: "say which one is meant, in the words of its candidate",
    Reason.CUT: "say it in fewer words, or give the object a shorter name",
    Reason.TOO_MANY: "raise `max_objects`, or name those that matter now",
}


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
        clean = clean_name(readable_name(name), MAX_NAME)
        if clean:
            unique[clean] = None
        if len(unique) > limit:
            raise PromptError(
                f"more than {limit} different object names; give the {limit} that matter now"
            )
    return tuple(unique)


def objects_of_narration(narration: Narration, vocabulary: Vocabulary) -> tuple[str, ...]:
    """Candidate objects that a narration itself names, and both hands.

    Args:
        narration: Cleaned narration.
        vocabulary: Known names.

    Returns:
        Names in order of appearance, then the hands; at most `MAX_OBJECTS`.
    """
    mentions = read(narration, vocabulary).mentions
    found = [name for name in mentions if not is_hand(name, vocabulary)]
    return tuple(found[: MAX_OBJECTS - len(HANDS)]) + HANDS


def says_no_more(names: Sequence[str], narration: Narration, vocabulary: Vocabulary) -> bool:
    """Whether a list of candidates names nothing that the narration does not name, hands aside.

    Whoever made such a list may have seen the narration alone.
    """
    local = _with(names, vocabulary)
    narrated = objects_of_narration(narration, local)
    return all(is_hand(name, local) or _matching(name, narrated, local) for name in names)


def choose_prompt(
    narration: Narration,
    given: Sequence[str],
    vocabulary: Vocabulary,
    target_name: str = "",
    limit: int = MAX_OBJECTS,
    unread: Callable[[Prompt], Sequence[str]] = lambda prompt: (),
) -> tuple[Prompt, Target]:
    """Chooses what is asked for a narration, and by which of the gate's limits it is judged.

    Args:
        narration: Cleaned narration.
        given: Candidates that somebody named (cleaned); empty takes them from the narration.
        vocabulary: Known names and synonyms.
        target_name: See `choose_target`.
        limit: Largest number of candidates.
        unread: Names the candidates of whose text the network does not read the end
            (`Segmenter.unread`).

    Returns:
        The prompt, and its target or why there is none. A list that names no more than the
        narration is judged as the narration is, so what that names and the hands join it: the
        limits were set with them.
    """
    names = tuple(given)
    candidates: Candidates = "named"
    target = choose_target(narration, names, vocabulary, target_name) if names else None
    if target is not None and names == (target.name,):
        candidates = "target"
    elif not names or says_no_more(names, narration, vocabulary):
        candidates = "narration"
        names += _unnamed(names, narration, vocabulary)
        target = choose_target(narration, names, vocabulary, target_name)
    assert target is not None
    if len(names) > limit:
        # What does not fit into one prompt could not be kept clear of.
        told = f"{len(names)} candidates are more than {limit}"
        target, names = Target("", Reason.TOO_MANY, told), names[:limit]
    prompt = Prompt(narration.text, names, target.name, candidates)
    if prompt.target and (cut := unread(prompt)):
        # What chose the target would not be what the network has read.
        told = f"with {cut[0]!r} the narration is longer than the network reads"
        prompt, target = replace(prompt, target=""), Target("", Reason.CUT, told)
    return prompt, target


def _unnamed(names: Sequence[str], narration: Narration, vocabulary: Vocabulary) -> tuple[str, ...]:
    """What a narration names, and the hands, where a list of candidates does not have them."""
    if not names:
        return objects_of_narration(narration, vocabulary)
    local = _with(names, vocabulary)
    return tuple(
        name
        for name in objects_of_narration(narration, local)
        if name not in names and (name in HANDS or not _matching(name, names, local))
    )


def choose_target(
    narration: Narration, names: Sequence[str], vocabulary: Vocabulary, target_name: str = ""
) -> Target:
    """Chooses the object that the decision is about.

    Args:
        narration: Cleaned narration.
        names: Candidate objects (cleaned).
        vocabulary: Known names and synonyms.
        target_name: Explicit choice; must be one of `names` or a synonym of one, and no hand.

    Returns:
        No target where the narration forbids, asks, plans or ends what it names, or says how
        something is, whatever the explicit choice, and none where it excludes that. None where no
        candidate can be told to be the object, where several can, and where the explicit choice is
        no candidate: guessing another would move the robot to the wrong thing.
    """
    local = _with(names, vocabulary)
    reading = read(narration, local)
    wanted, reason, text = reading.name, reading.reason, reading.text
    if target_name:
        if reason in _NOT_DONE_NOW:
            return Target("", reason, text)
        wanted = clean_name(readable_name(target_name), MAX_NAME)
        reason, text = Reason.OBJECT, f"target {wanted!r} was named"
        if _matching(wanted, reading.excluded, local):
            return Target("", Reason.NEGATED, f"{wanted!r} is what is not meant")
    if not wanted:
        return Target("", reason, text)
    matches = _matching(wanted, names, vocabulary)
    if any(_is_of_somebody(name, vocabulary) for name in (wanted, *matches)):
        return Target("", Reason.HAND, f"{wanted!r} is a hand or a person, never to be grasped")
    if not matches:
        listed = ", ".join(names[:8])
        return Target("", Reason.NOT_A_CANDIDATE, f"{wanted!r} is none of the candidates {listed}")
    if len(matches) > 1:
        listed = " or ".join(matches[:8])
        return Target("", Reason.AMBIGUOUS, f"{wanted!r} may be {listed}")
    return Target(matches[0], reason, text)


def _with(names: Sequence[str], vocabulary: Vocabulary) -> Vocabulary:
    """A vocabulary that knows the candidates' own spelling too, of names that it does not have."""
    return vocabulary.extended({-1 - i: [name] for i, name in enumerate(names)})


_NOT_DONE_NOW = frozenset(
    {
        Reason.CUT,
        Reason.QUESTION,
        Reason.NEGATED,
        Reason.CONDITIONAL,
        Reason.ENDED,
        Reason.PLANNED,
        Reason.STATEMENT,
    }
)
"""Reasons that hold against an explicit target as well."""


def _is_of_somebody(name: str, vocabulary: Vocabulary) -> bool:
    """Whether a name in any spelling means a person or a hand."""
    return not PERSONS.isdisjoint(words_of(name)[-1:]) or is_hand(name, vocabulary)


def is_hand(name: str, vocabulary: Vocabulary) -> bool:
    """Whether a name in any spelling, or its class, means a hand, which is never to be grasped."""
    words = [word for word in words_of(name) if word not in ("left", "right")]
    if words and (words[-1].endswith(("hand", "hands")) or (len(words) == 1 and words[0] in BODY)):
        return True
    class_id = vocabulary.class_of(name)
    return class_id is not None and class_id in map(vocabulary.class_of, ("hand", *HANDS))


def _matching(name: str, names: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    """The candidates that may be meant: of this name, else spelt like it, else of its class.

    Beside one of its class, those count too that end in a name of it: which cup is meant where
    there is a tea cup as well? Alone they do not: a dust pan is no pan.
    """
    if name in names:
        return (name,)
    keys = set(spellings(name))
    if alike := tuple(one for one in names if keys & set(spellings(one))):
        return alike
    class_id = vocabulary.class_of(name)
    if class_id is None:
        return ()
    if not any(vocabulary.class_of(one) == class_id for one in names):
        return ()
    return tuple(one for one in names if class_id in _kinds(one, vocabulary))


def _kinds(name: str, vocabulary: Vocabulary) -> set[int | None]:
    """Classes of a name and of what it ends in: those of "tea cup" and "cup"."""
    words = words_of(name)
    return {vocabulary.class_of(" ".join(words[start:])) for start in range(len(words))}
