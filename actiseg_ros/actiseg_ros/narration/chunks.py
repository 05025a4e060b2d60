"""A narration in pieces: verbs, noun phrases with their head last, and the small words between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, auto

from actiseg_ros.narration import grammar
from actiseg_ros.narration.text import ARTICLES, MARKS, plain
from actiseg_ros.narration.vocabulary import KnownName, Vocabulary


class Kind(Enum):
    """What a piece does in the sentence."""

    VERB = auto()
    NOUN = auto()
    """A noun phrase."""
    PRONOUN = auto()
    AUXILIARY = auto()
    PREPOSITION = auto()
    PARTICLE = auto()
    INFINITIVE = auto()
    """The "to" before a verb."""
    CONJUNCTION = auto()
    SUBORDINATE = auto()
    """Begins a clause that describes, times or reasons."""
    EXCLUSION = auto()
    """What follows is not meant."""
    NEGATION = auto()
    ADVERB = auto()
    PAUSE = auto()


@dataclass(frozen=True)
class Chunk:
    """A piece of a narration.

    Attributes:
        kind: What it does.
        words: Its words; of a noun phrase without articles, counts and adverbs.
        start: Place of its first token.
        stop: Place after its last token.
        known: The longest known name that a noun phrase ends with.
    """

    kind: Kind
    words: tuple[str, ...]
    start: int
    stop: int
    known: KnownName | None = None

    @property
    def head(self) -> str:
        """Its last word; empty if there is none."""
        return self.words[-1] if self.words else ""

    @property
    def text(self) -> str:
        """Its words with blanks between them."""
        return " ".join(self.words)

    @property
    def is_hand(self) -> bool:
        """Whether a noun phrase means a part of the body."""
        return self.kind is Kind.NOUN and self.head in grammar.BODY

    @property
    def acts(self) -> bool:
        """Whether it can be who acts: a person, a hand or a pronoun."""
        return self.kind is Kind.PRONOUN or self.is_hand or self.head in grammar.PERSONS


class _Expect(Enum):
    """What a word that is in no list of `grammar` is, by where it stands."""

    CLAUSE = auto()
    """A verb, unless it is a known name or someone who acts."""
    VERB = auto()
    NOUN = auto()
    EITHER = auto()
    """A noun, unless it is a verb that has something after it."""


def split_words(tokens: Sequence[str]) -> list[str]:
    """The words and marks of a narration as the grammar knows them."""
    words: list[str] = []
    for token in tokens:
        found = [plain(word) for word in grammar.expand(token)]
        # "don t" and "do n t": an apostrophe that became a blank; "do n't": tokens of a treebank
        if found == ["t"] and words[-1:] == ["n"]:
            words.pop()
            found = ["nt"]
        if found in (["t"], ["nt"], ["n't"]) and words:
            split = grammar.expand(words[-1] + found[0])
            if split[-1] == "not":
                words.pop()
                found = list(split)
            elif found != ["t"]:
                found = ["not"]
        words += found
    return words


def chunk(tokens: Sequence[str], vocabulary: Vocabulary) -> list[Chunk]:
    """Cuts a narration in pieces, from left to right and without looking back.

    Args:
        tokens: `split_words` of a narration.
        vocabulary: Known names.
    """
    return _Chunker(tokens, vocabulary).run()


_STOPS = MARKS | {""}
_NEVER_NAMES = grammar.PREPOSITIONS | grammar.NEGATIONS | grammar.BE
"""No name begins with them, whatever a list of names says."""
_ENDS_CLAUSE = grammar.PREPOSITIONS | grammar.CONJUNCTIONS | _STOPS
_NO_NOUN_BEGINS = _ENDS_CLAUSE | grammar.PARTICLES | grammar.PRONOUNS | grammar.BE
_ENDS_NOUN = (
    _NO_NOUN_BEGINS
    | grammar.RELATIVES
    | grammar.SUBORDINATE
    | grammar.NEGATIONS
    | grammar.TENSED
    | (grammar.MODALS - {"can"})
    | (grammar.DETERMINERS - {"same", "few", "second", "last", "first"})
)


class _Chunker:
    def __init__(self, tokens: Sequence[str], vocabulary: Vocabulary) -> None:
        self._tokens = tokens
        self._vocabulary = vocabulary
        self._known: dict[int, KnownName | None] = {}
        self._chunks: list[Chunk] = []
        self._expect = _Expect.CLAUSE
        self._fronted = False  # a sentence that begins with "with the knife"

    def run(self) -> list[Chunk]:
        """Cuts everything."""
        place = 0
        while place < len(self._tokens):
            found = self._next(place)
            self._chunks.append(found)
            place = found.stop
        return self._chunks

    def _word(self, place: int) -> str:
        return self._tokens[place] if 0 <= place < len(self._tokens) else ""

    def _last(self) -> Kind | None:
        """Kind of the piece before, adverbs aside."""
        kinds = (piece.kind for piece in reversed(self._chunks))
        return next((kind for kind in kinds if kind is not Kind.ADVERB), None)

    def _piece(self, kind: Kind, place: int, length: int, expect: _Expect | None) -> Chunk:
        if expect is not None:
            self._expect = expect
        return Chunk(kind, tuple(self._tokens[place : place + length]), place, place + length)

    def _next(self, place: int) -> Chunk:
        word = self._word(place)
        if word in MARKS:
            expect = None if self._last() is Kind.VERB else _Expect.EITHER
            return self._piece(Kind.PAUSE, place, 1, expect if self._chunks else None)
        if length := self._exclusion(place):
            return self._piece(Kind.EXCLUSION, place, length, _Expect.EITHER)
        if self._named(place):
            return self._noun(place)
        return self._small(place, word) or self._open(place, word)

    def _exclusion(self, place: int) -> int:
        """How many words here exclude what follows them."""
        lengths = (
            len(words)
            for words in grammar.EXCLUSIONS
            if tuple(self._tokens[place : place + len(words)]) == words
        )
        return max(lengths, default=0)

    def _small(self, place: int, word: str) -> Chunk | None:
        """A word of a closed class, or None."""
        after_noun = self._last() in (Kind.NOUN, Kind.PRONOUN)
        if word in grammar.NEGATIONS and word != "no":
            return self._negation(place, after_noun)
        if word in grammar.BE or self._is_auxiliary(place, word):
            return self._piece(Kind.AUXILIARY, place, 1, _Expect.VERB)
        if word == "to" and self._is_infinitive(place):
            return self._piece(Kind.INFINITIVE, place, 1, _Expect.VERB)
        if word in grammar.SUBORDINATE or (word in grammar.RELATIVES and after_noun):
            return self._piece(Kind.SUBORDINATE, place, 1, _Expect.CLAUSE)
        if word in grammar.PARTITIVES and self._word(place + 1) == "of":
            return self._noun(place)
        opens = self._expect in (_Expect.CLAUSE, _Expect.VERB)
        if opens and word in grammar.COMPOUNDING and grammar.is_verb(self._word(place + 1)):
            return self._piece(Kind.ADVERB, place, 1, _Expect.VERB)
        if word in grammar.FILLERS and self._expect is _Expect.CLAUSE and self._word(place + 1):
            return self._piece(Kind.ADVERB, place, 1, None)
        if self._is_particle(place, word):
            return self._piece(Kind.PARTICLE, place, 1, None)
        if word in grammar.PREPOSITIONS or (word in grammar.PARTICLES and not opens):
            self._fronted = self._fronted or not self._chunks
            return self._piece(Kind.PREPOSITION, place, 1, _Expect.NOUN)
        if word in grammar.CONJUNCTIONS:
            return self._piece(Kind.CONJUNCTION, place, 1, _Expect.EITHER)
        if word in grammar.PRONOUNS:
            return self._piece(Kind.PRONOUN, place, 1, _Expect.CLAUSE if opens else _Expect.EITHER)
        if grammar.is_adverb(word) and not self._known_at(place, 1):
            return self._piece(Kind.ADVERB, place, 1, None)
        return None

    def _open(self, place: int, word: str) -> Chunk:
        """A verb or a noun phrase."""
        if self._expect is _Expect.VERB:
            return self._verb(place, word)
        if self._expect is _Expect.CLAUSE and word not in grammar.DETERMINERS:
            named = self._known_at(place, 1) or self._who_acts(place)
            verb = (
                grammar.is_verb(word)
                or self._word(place + 1) in ARTICLES
                or (self._word(place + 1) in grammar.PARTICLES and self._begins_noun(place + 2))
            )
            if not named or (verb and not self._who_acts(place)):
                return self._verb(place, word)
        if self._expect is _Expect.EITHER and (
            self._verb_with_object(place) or self._word(place + 1) in ARTICLES
        ):
            return self._verb(place, word)
        return self._noun(place)

    def _verb(self, place: int, word: str) -> Chunk:
        following = self._word(place + 1)
        chain = grammar.is_verb(word, grammar.GOING_ON | grammar.WISHING | grammar.ENDING)
        takes_verb = chain and (following.endswith("ing") or grammar.is_verb(following))
        takes_verb = takes_verb and not self._known_at(place + 1, 2)
        return self._piece(Kind.VERB, place, 1, _Expect.VERB if takes_verb else _Expect.NOUN)

    def _noun(self, place: int) -> Chunk:
        """Everything up to the next small word; the head is the last word."""
        words: list[str] = []
        end = place
        while end < len(self._tokens) and not self._ends_noun(end, words):
            word = self._word(end)
            if known := self._known_at(end, 2):
                words += self._tokens[end : end + known.length]
                end += known.length
                continue
            skipped = (
                (word in grammar.DETERMINERS and not words)
                or grammar.is_adverb(word)
                or self._inside(end, words)
            )
            if not skipped or self._known_at(end, 1):
                words.append(word)
            end += 1
        self._expect = _Expect.EITHER
        stop = max(end, place + 1)
        if not words:
            return Chunk(Kind.PRONOUN, tuple(self._tokens[place:stop]), place, stop)
        known = self._vocabulary.ending(words)
        if known is None and words[-1] in grammar.PARTITIVES:
            known = self._vocabulary.ending(words[:-1])
        return Chunk(Kind.NOUN, tuple(words), place, stop, known)

    def _ends_noun(self, place: int, words: Sequence[str]) -> bool:
        word = self._word(place)
        if word in MARKS or self._exclusion(place):
            return True
        if self._known_at(place, 2):
            return False
        if word in grammar.PARTITIVES and self._word(place + 1) == "of" and not words:
            return False
        if not words:
            # The noun itself has not come yet; its counts and qualities may.
            return word in _NEVER_NAMES
        if word in _ENDS_NOUN:
            return not self._inside(place, words)
        if words[-1] in grammar.PERSONS or words[-1] in grammar.BODY:
            return grammar.is_verb(word) or word in grammar.FILLERS or word in ("can", "have", "do")
        return (
            self._fronted
            and self._vocabulary.ending(words) is not None
            and self._verb_with_object(place)
        )

    def _inside(self, place: int, words: Sequence[str]) -> bool:
        """Whether this is the "up" of "washing up bowl": it belongs to the participle before it."""
        return (
            self._word(place) in grammar.PARTICLES
            and bool(words)
            and words[-1].endswith("ing")
            and self._begins_noun(place + 1)
            and self._word(place + 1) not in grammar.DETERMINERS
        )

    def _begins_noun(self, place: int) -> bool:
        return self._word(place) not in _NO_NOUN_BEGINS

    def _known_at(self, place: int, least: int) -> KnownName | None:
        """The longest known name of at least so many words that begins here."""
        if place not in self._known:
            small = self._word(place) in _NEVER_NAMES
            found = None if small else self._vocabulary.beginning(self._tokens[place:])
            self._known[place] = found
        known = self._known[place]
        return known if known is not None and known.length >= least else None

    def _named(self, place: int) -> bool:
        """Whether a known name of several words stands here.

        Lists that people have typed hold names such as "take knife" and "using knife": where a
        verb may stand, a verb before a name of the same class is a verb.
        """
        known = self._known_at(place, 2)
        if known is None or self._expect is _Expect.NOUN:
            return known is not None
        rest = self._vocabulary.beginning(self._tokens[place + 1 : place + known.length])
        same = rest is not None and rest.class_id == known.class_id
        word = self._word(place)
        return not (same and grammar.is_verb(word) and not word.endswith("ing"))

    def _who_acts(self, place: int) -> bool:
        """Whether someone who acts, or a hand, begins here and something follows."""
        while self._word(place) in ("left", "right", "both") or (
            self._word(place) in grammar.DETERMINERS
        ):
            place += 1
        word, following = self._word(place), self._word(place + 1)
        acting = (
            following in grammar.BE or following in grammar.MODALS or grammar.is_verb(following)
        )
        if word in grammar.BODY:
            # "hand me the cup", "left hand takes cup"
            return acting and not self._known_at(place, 2)
        return word in grammar.PERSONS and following != ""

    def _verb_with_object(self, place: int) -> bool:
        following = self._word(place + 1)
        return (
            grammar.is_verb(self._word(place))
            and (following not in _ENDS_CLAUSE or following in grammar.PARTICLES)
            and not self._known_at(place, 2)
        )

    def _after_adverbs(self, place: int) -> int:
        while grammar.is_adverb(self._word(place)):
            place += 1
        return place

    def _is_infinitive(self, place: int) -> bool:
        place = self._after_adverbs(place + 1)
        word = self._word(place)
        if word in grammar.DETERMINERS:
            return False
        if word == "be" or self._last() is None:
            return True
        plain_form = grammar.is_verb(word) and not word.endswith(("ing", "ed"))
        if self._last() is Kind.VERB:
            return plain_form or not self._known_at(place, 1)
        return plain_form and self._verb_with_object(place)

    def _is_auxiliary(self, place: int, word: str) -> bool:
        following = self._word(place + 1)
        subject = self._chunks[-1].acts if self._chunks else False
        inverted = following in grammar.SUBJECT_PRONOUNS or following in ("not", "never")
        if word in grammar.TENSED or (word in grammar.MODALS and word not in ("can", "will")):
            return True
        if word in ("can", "will", "have", "do"):
            return subject or inverted or (word == "will" and self._last() is Kind.NOUN)
        return False

    def _is_particle(self, place: int, word: str) -> bool:
        if self._last() is Kind.VERB or self._last() is Kind.PARTICLE:
            verbs = (piece.head for piece in reversed(self._chunks) if piece.kind is Kind.VERB)
            verb = next(verbs, "")
            if word in grammar.PARTICLES:
                bare = not self._begins_noun(self._after_adverbs(place + 1))
                takes = bare or grammar.takes_particle(verb, word)
                return takes and self._word(place + 1) != "of"
            switching = grammar.is_verb(verb, grammar.SWITCHING_VERBS)
            return word in grammar.SWITCHED_PARTICLES and switching
        following = self._word(place + 1)
        after = self._last() in (Kind.NOUN, Kind.PRONOUN)
        return (
            after and word in grammar.PARTICLES and following in _ENDS_CLAUSE and following != "of"
        )

    def _negation(self, place: int, after_noun: bool) -> Chunk:
        """A negation; in "take the cup, not the knife" it excludes only what follows."""
        following = self._word(place + 1)
        noun = following in ("the", "a", "an", "that", "this") or bool(self._known_at(place + 1, 1))
        joining = (Kind.PAUSE, Kind.CONJUNCTION)
        kinds = (piece.kind for piece in reversed(self._chunks) if piece.kind not in joining)
        after = after_noun or next(kinds, None) is Kind.NOUN
        if self._word(place) == "not" and after and noun and not grammar.is_verb(following):
            return self._piece(Kind.EXCLUSION, place, 1, _Expect.NOUN)
        return self._piece(Kind.NEGATION, place, 1, _Expect.CLAUSE)
