"""Text in any spelling becomes words.

Two narrations that differ only in capitals, punctuation, articles or typographic marks have the
same `Narration.text`: that is what the network reads and what counts as "the same action".
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

MAX_NARRATION = 200
"""Longer narrations are cut here (characters); EPIC's longest has about 100."""

PAUSE = ","
"""Token for any mark that separates parts of a sentence."""
QUESTION_MARK = "?"
ARTICLES = frozenset({"a", "an", "the"})

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u00b4\u2032\uff07`"), "'")
_PAUSES = frozenset(",;:.!\u2013\u2014\u2015()[]{}\u3001\u3002")
_MARKS = re.compile(r"([,?])")


@dataclass(frozen=True)
class Narration:
    """A narration, cleaned.

    Attributes:
        text: For the network: lower-case words without articles and punctuation, one blank
            between them; empty if there is none. At most the limit asked for.
        tokens: For the parser: all words, `PAUSE` and `QUESTION_MARK`.
        notes: What had to be changed beyond spelling, for the log.
        cut: Whether words at the end are missing.
    """

    text: str
    tokens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cut: bool = False


NOTHING_NARRATED = Narration("")


def clean_narration(text: str, limit: int = MAX_NARRATION) -> Narration:
    """Normalises a narration.

    Args:
        text: Any text, e.g. from a topic.
        limit: Longest result in characters; a longer text is cut at a word.
    """
    # Cut before normalising: some characters expand, and the input may be megabytes long.
    tokens = _tokens(text[: 8 * limit])
    words = [token for token in tokens if token not in (PAUSE, QUESTION_MARK, *ARTICLES)]
    while words and words[0] == "and":
        words = words[1:]
    clean = " ".join(words)
    notes = []
    cut = len(clean) > limit or len(text) > 8 * limit
    if len(clean) > limit:
        clean = clean[: limit + 1]
        clean = (clean.rsplit(" ", 1)[0] if " " in clean else clean)[:limit].rstrip()
    if cut:
        notes.append(f"narration of {len(text)} characters was cut to {len(clean)}")
    if text.strip() and not clean:
        notes.append("narration has no word")
    elif any(ord(char) > 127 and char.isalpha() for char in clean):
        notes.append("narration has letters that are not English; the model knows English only")
    return Narration(clean, tuple(tokens), tuple(notes), cut)


def clean_name(text: str, limit: int) -> str:
    """An object's name as it is shown: as written, in lower case, one blank between words."""
    shown = unicodedata.normalize("NFKC", text[: 8 * limit])
    kept = (" " if unicodedata.category(char)[0] == "C" else char for char in shown)
    return " ".join("".join(kept).lower().split())[:limit].rstrip()


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared: without marks and without accents."""
    return tuple(plain(token) for token in _tokens(text) if token not in (PAUSE, QUESTION_MARK))


def plain(word: str) -> str:
    """A word without the accents of Latin letters: ``purée`` is ``puree``."""
    if word.isascii():
        return word
    kept: list[str] = []
    for char in unicodedata.normalize("NFD", word):
        if not (unicodedata.category(char) == "Mn" and kept and kept[-1].isascii()):
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def _tokens(text: str) -> list[str]:
    """Words, pauses and question marks; never two pauses in a row, none at either end."""
    shown = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES).replace("\u2026", ","))
    shown = unicodedata.normalize("NFKC", shown.translate(_APOSTROPHES).lower())
    tokens: list[str] = []
    for chunk in _MARKS.sub(r" \1 ", "".join(_spelt(shown))).split():
        word = chunk.strip("'")
        if word == PAUSE and (not tokens or tokens[-1] == PAUSE):
            continue
        if word:
            tokens.append(word)
    while tokens and tokens[-1] == PAUSE:
        tokens.pop()
    return tokens


def _spelt(text: str) -> list[str]:
    """Each character as a letter, a blank or a mark."""
    spelt = []
    for place, char in enumerate(text):
        kind = unicodedata.category(char)
        around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        if kind[0] in "LNM" or char == "'":
            spelt.append(char)
        elif char in ".," and len(around) == 2 and around.isdigit():
            spelt.append("." if char == "." else " ")
        elif char == QUESTION_MARK or char in "¿؟":
            spelt.append(QUESTION_MARK)
        elif (char == "-" and around in ("", " ", "  ")) or char in _PAUSES:
            spelt.append(PAUSE)
        elif char in "&+":
            spelt.append(" and ")
        elif kind == "Cf" and char != "\u200b":
            continue  # joiners, soft hyphens and marks of direction stand inside words
        else:
            # Dashes, quotation marks, currency, pictures: nothing is said by them.
            spelt.append(" ")
    return spelt
