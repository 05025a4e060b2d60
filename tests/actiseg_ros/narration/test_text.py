"""Narrations in any spelling become the same words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.narration.text import MAX_NARRATION, clean_name, clean_narration, words_of


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Cut\tthe\n Pepper ", "cut pepper"),
        ("ｔａｋｅ　ｃｕｐ", "take cup"),
        ("take\x00cup\u200b", "take cup"),
        ("to\u00admato", "tomato"),
        ("cut\u2014tomato\u2026", "cut tomato"),
        ("\u201cCut\u201d\u00a0the tomato!", "cut tomato"),
        ("don\u2019t cut", "don't cut"),
        ("tea-towel", "tea towel"),
        ("salt & pepper", "salt and pepper"),
        ("and an egg", "egg"),
        ("pour 1.5 l", "pour 1.5 l"),
        ("\N{TOMATO}", ""),
        ("cut \N{BALLOT BOX WITH CHECK}\ufe0f t\u0336omato", "cut tomato"),
        ("todo: cut (failed) \u2013 tomato", "todo cut failed tomato"),
        ("the.", ""),
        ("", ""),
        ("\n\t ", ""),
    ],
)
def test_cleaning(text: str, clean: str) -> None:
    assert clean_narration(text).text == clean


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("Cut the tomato - \u201cnow\u201d, (please)! #1 @5\u00b0 1/2 \u00bd a+b caf\u00e9", ()),
        ("\N{TOMATO} cut ~~t\u0336o\u0336mato~~", ("\N{TOMATO}", "~", "\u0336")),
        ("[ ] cut :( ()", ("[ ]", ":(", "()")),
    ],
)
def test_signs_that_are_no_words_are_told(text: str, signs: tuple[str, ...]) -> None:
    assert clean_narration(text).signs == signs


@given(st.text(max_size=400))
def test_cleaning_is_stable_and_bounded(text: str) -> None:
    once = clean_narration(text).text
    assert len(once) <= MAX_NARRATION
    assert once == " ".join(once.split())
    assert clean_narration(once).text == once


@pytest.mark.parametrize("text", ["take cup " * 100_000, "x" * 1000])
def test_long_narrations_are_cut_with_a_note_and_the_cut_is_known(text: str) -> None:
    result = clean_narration(text)
    assert result.text.endswith(("take", "cup", "x")) and len(result.text) <= MAX_NARRATION
    assert f"{len(text)} characters" in result.notes[0] and result.cut
    assert not clean_narration("take cup").cut


def test_other_languages_are_noted_and_not_refused() -> None:
    result = clean_narration("нарезать перец")
    assert result.text == "нарезать перец" and "not English" in result.notes[0]
    assert clean_narration("take cup").notes == ()


def test_names_keep_what_people_wrote() -> None:
    assert clean_name("  The\u00a0M&M's\x00Box ", 64) == "the m&m's box"
    assert words_of("Purée-Sieve") == ("puree", "sieve")
    assert words_of("нож") == ("нож",)
