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
"""Token for a mark that separates parts of a sentence."""
ASIDE = ":"
"""Token for a mark that sets a heading or a note apart: colons, brackets and dashes."""
QUESTION_MARK = "?"
MARKS = frozenset({PAUSE, ASIDE, QUESTION_MARK})
ARTICLES = frozenset({"a", "an", "the"})

_APOSTROPHES = dict.fromkeys(map(ord, "\u2018\u2019\u201b\u02bc\u02b9\u00b4\u2032\uff07`"), "'")
_PAUSES = frozenset(",;.!\u3001\u3002")
_HYPHENS = frozenset("-\u2010\u2011")
_MARKS = re.compile(r"([,:?])")
_DRAWN = re.compile(r"[(\[{]\s*[)\]}]|:-?[()]")
"""Pictures of punctuation: an empty box, a face."""


@dataclass(frozen=True)
class Narration:
    """A narration, cleaned.

    Attributes:
        text: For the network: lower-case words without articles and punctuation, one blank
            between them; empty if there is none. At most the limit asked for.
        tokens: For the parser: all words and `MARKS`.
        notes: What had to be changed beyond spelling, for the log.
        cut: Whether words at the end are missing.
        signs: Pictures, symbols and strokes through letters, each once: they may say anything.
    """

    text: str
    tokens: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    cut: bool = False
    signs: tuple[str, ...] = ()


NOTHING_NARRATED = Narration("")


def clean_narration(text: str, limit: int = MAX_NARRATION) -> Narration:
    """Normalises a narration.

    Args:
        text: Any text, e.g. from a topic.
        limit: Longest result in characters; a longer text is cut at a word.
    """
    # Cut before normalising: some characters expand, and the input may be megabytes long.
    shown = _normalised(text[: 8 * limit])
    tokens = _tokens(shown)
    signs = dict.fromkeys(_DRAWN.findall(shown))
    signs |= dict.fromkeys(char for place, char in enumerate(shown) if _is_sign(shown, place))
    words = [token for token in tokens if token not in MARKS | ARTICLES]
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
    return Narration(clean, tuple(tokens), tuple(notes), cut, tuple(signs))


def clean_name(text: str, limit: int) -> str:
    """An object's name as it is shown: as written, in lower case, one blank between words."""
    shown = unicodedata.normalize("NFKC", text[: 8 * limit])
    kept = (" " if unicodedata.category(char)[0] == "C" else char for char in shown)
    return " ".join("".join(kept).lower().split())[:limit].rstrip()


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text as they are compared: without marks and without accents."""
    return tuple(plain(token) for token in _tokens(_normalised(text)) if token not in MARKS)


def plain(word: str) -> str:
    """A word without the accents of Latin letters: ``purée`` is ``puree``."""
    if word.isascii():
        return word
    kept: list[str] = []
    for char in unicodedata.normalize("NFD", word):
        if not (unicodedata.category(char) == "Mn" and kept and kept[-1].isascii()):
            kept.append(char)
    return unicodedata.normalize("NFC", "".join(kept))


def _normalised(text: str) -> str:
    """Lower case, one code for characters that look alike."""
    shown = unicodedata.normalize("NFKC", text.translate(_APOSTROPHES).replace("\u2026", ","))
    return unicodedata.normalize("NFKC", shown.translate(_APOSTROPHES).lower())


def _tokens(shown: str) -> list[str]:
    """Words and marks; never two pauses or asides in a row, none at either end."""
    parting = (PAUSE, ASIDE)
    tokens: list[str] = []
    for chunk in _MARKS.sub(r" \1 ", "".join(_spelt(shown))).split():
        word = chunk.strip("'")
        if word in parting and (not tokens or tokens[-1] in parting):
            tokens[-1:] = [ASIDE] if tokens and word == ASIDE else tokens[-1:]
        elif word:
            tokens.append(word)
    while tokens and tokens[-1] in parting:
        tokens.pop()
    return tokens


def _is_sign(text: str, place: int) -> bool:
    """Whether a character is neither a letter nor punctuation, or crosses a letter out."""
    char = text[place]
    kind = unicodedata.category(char)
    if char in "+\u00b0":  # "and", degrees
        return False
    if char in "/\u2044\\":
        around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        return not (len(around) == 2 and around.isdigit())
    struck = kind == "Me" or unicodedata.combining(char) == 1
    return struck or kind[0] == "S" or kind in ("Cn", "Co", "Cs")


def _spelt(text: str) -> list[str]:
    """Each character as a letter, a blank or a mark."""
    spelt = []
    for place, char in enumerate(text):
        kind = unicodedata.category(char)
        around = text[max(0, place - 1) : place] + text[place + 1 : place + 2]
        if _is_sign(text, place):
            spelt.append("" if kind[0] == "M" else " ")
        elif "\ufe00" <= char <= "\ufe0f":
            continue  # how the sign before is drawn
        elif kind[0] in "LNM" or char == "'":
            spelt.append(char)
        elif char in ".," and len(around) == 2 and around.isdigit():
            spelt.append("." if char == "." else " ")
        elif char == QUESTION_MARK or char in "¿؟":
            spelt.append(QUESTION_MARK)
        elif char in _PAUSES:
            spelt.append(PAUSE)
        elif char in _HYPHENS and around.strip() and "-" not in around:
            spelt.append(" ")
        elif char == ":" or kind in ("Pd", "Ps", "Pe"):
            spelt.append(ASIDE)
        elif char in "&+":
            spelt.append(" and ")
        elif kind == "Cf" and char != "\u200b":
            continue  # joiners, soft hyphens and marks of direction stand inside words
        else:
            # Quotation marks and the like: nothing is said by them.
            spelt.append(" ")
    return spelt
