"""Narrations in any state become prompts, or a clear refusal."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.errors import PromptError
from actiseg_ros.prompts import (
    HANDS,
    MAX_NARRATION,
    MAX_OBJECTS,
    Vocabulary,
    choose_target,
    clean_names,
    clean_narration,
    objects_of_narration,
    read_noun_classes,
    readable_name,
)

VOCABULARY = Vocabulary(
    {
        1: ["spoon", "teaspoon", "spoon:wooden"],
        2: ["knife"],
        3: ["board:chopping", "board"],
        4: ["tomato"],
        5: ["cherry"],
        6: ["box", "box:cereal"],
        7: ["cereal"],
        11: ["hand", "finger"],
        300: ["left hand"],
    }
)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("  Cut\tthe\n Pepper ", "cut the pepper"),
        ("ｔａｋｅ　ｃｕｐ", "take cup"),
        ("take\x00cup\u200b", "take cup"),
        ("", ""),
        ("\n\t ", ""),
    ],
)
def test_cleaning(text: str, clean: str) -> None:
    assert clean_narration(text).text == clean


@given(st.text(max_size=400))
def test_cleaning_is_stable_and_bounded(text: str) -> None:
    once = clean_narration(text).text
    assert len(once) <= MAX_NARRATION
    assert once == " ".join(once.split())
    assert clean_narration(once).text == once


def test_long_narrations_are_cut_at_a_word_with_a_note() -> None:
    result = clean_narration("take cup " * 100_000)
    assert result.text.endswith(("take", "cup")) and len(result.text) <= MAX_NARRATION
    assert "900000 characters" in result.notes[0]
    assert len(clean_narration("x" * 1000).text) == MAX_NARRATION


def test_other_languages_are_noted_and_not_refused() -> None:
    result = clean_narration("нарезать перец")
    assert result.text == "нарезать перец" and "not English" in result.notes[0]
    assert clean_narration("take cup").notes == ()


def test_epic_names_become_words() -> None:
    assert readable_name("cup:coffee") == "coffee cup"
    assert readable_name("board:chopping:wooden") == "chopping wooden board"
    assert readable_name("tap") == "tap"


@pytest.mark.parametrize(
    ("narration", "names"),
    [
        ("cut tomato with knife", ("tomato", "knife")),
        ("put wooden spoon on chopping board", ("wooden spoon", "chopping board")),
        ("wash tomatoes, cherries and knives", ("tomato", "cherry", "knife")),
        ("take knife and put down knife", ("knife",)),
        ("take cereal box", ("cereal box",)),
        ("open boxes", ("box",)),
        ("knifes", ("knife",)),
        ("unknife spoonful", ()),
        ("wash hand", ()),
        ("", ()),
    ],
)
def test_objects_are_the_longest_known_names_and_both_hands(
    narration: str, names: tuple[str, ...]
) -> None:
    assert objects_of_narration(narration, VOCABULARY) == names + HANDS


def test_objects_of_a_narration_are_bounded() -> None:
    many = Vocabulary({i: [f"noun{i}"] for i in range(200)})
    text = " ".join(f"noun{i}" for i in range(200))
    objects = objects_of_narration(text, many)
    assert len(objects) == MAX_OBJECTS and objects[-2:] == HANDS


def test_names_lose_repetitions_and_blanks() -> None:
    assert clean_names(["Cup", "cup ", "", "cup:coffee", "coffee cup"]) == ("cup", "coffee cup")


def test_a_thousand_different_names_or_an_endless_one_are_refused() -> None:
    assert clean_names(["cup"] * 1000) == ("cup",)
    with pytest.raises(PromptError, match="more than 64"):
        clean_names([f"thing {i}" for i in range(1000)])
    with pytest.raises(PromptError, match="name 1 has 5000 characters"):
        clean_names(["cup", "x" * 5000])


@pytest.mark.parametrize(
    ("narration", "names", "explicit", "target"),
    [
        ("cut tomato with knife", ("knife", "tomato", *HANDS), "", "tomato"),
        ("cut tomato with knife", ("knife", "tomato"), "Knife", "knife"),
        ("take teaspoon", ("spoon",), "", "spoon"),
        ("take teaspoons", ("wooden spoon", "teaspoon"), "", "teaspoon"),
        ("take gizmo", ("gizmo", "knife"), "", "gizmo"),
        ("wash left hand", ("left hand", "knife"), "", ""),
        ("take spoon", ("knife",), "", ""),
        ("cut tomato", ("left hand", "tomato"), "hand:left", ""),
        ("cut tomato", ("left_hand", "tomato"), "left hand", ""),
        ("cut tomato", ("hand left", "tomato"), "hand left", ""),
        ("cut tomato", ("finger", "tomato"), "finger", ""),
        ("wash hands", ("hands", "knife"), "", ""),
        ("take hand blender", ("left hand", "hand blender"), "", "hand blender"),
        ("take spoon", ("spoon",), "plate", ""),
        ("open", ("knife",), "", ""),
        ("take spoon", (), "", ""),
    ],
)
def test_target(narration: str, names: tuple[str, ...], explicit: str, target: str) -> None:
    assert choose_target(narration, names, VOCABULARY, explicit) == target


def test_noun_csv_extends_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "nouns.csv"
    path.write_text(
        "id,key,instances,category\n0,tap,\"['tap', 'tap:hot']\",appliances\n"
        "8,whisk,\"['whisk', 'beater']\",utensils\n"
    )
    extended = VOCABULARY.extended(read_noun_classes(path))
    assert extended.find("turn on hot tap, take beater and knife") == ["hot tap", "beater", "knife"]
    assert extended.class_of("whisks") == 8
    assert VOCABULARY.class_of("whisk") is None


@pytest.mark.parametrize(
    "content",
    ["id,key\n0,tap\n", "id,key,instances\nx,tap,['tap']\n", "id,key,instances\n0,tap,__import__\n",
     "id,key,instances\n0,tap,5\n", "\x00"],
)  # fmt: skip
def test_bad_noun_csv_names_file_and_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "nouns.csv"
    path.write_text(content)
    if content.startswith("id"):
        with pytest.raises(PromptError, match=r"nouns.csv, line [12]: "):
            read_noun_classes(path)
    with pytest.raises(PromptError, match=r"missing\.csv"):
        read_noun_classes(tmp_path / "missing.csv")


def test_the_real_noun_list(shared: Path) -> None:
    classes = read_noun_classes(shared / "epic" / "EPIC_100_noun_classes_v2.csv")
    vocabulary = Vocabulary(classes)
    assert len(classes) >= 300
    assert vocabulary.find("put cereals bag into cereals box")
    assert objects_of_narration("pick up two spoons", vocabulary) == ("spoon", *HANDS)
