"""Names that are known, in every spelling, and lists of names from files."""

from __future__ import annotations

from pathlib import Path

import pytest

from actiseg_ros.errors import PromptError
from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes, readable_name

VOCABULARY = Vocabulary(
    {
        1: ["spoon", "spoon:wooden"],
        2: ["knife"],
        3: ["tea towel"],
        4: ["tomato"],
        5: ["chopsticks"],
        6: ["glass"],
        7: ["aubergine"],
        8: ["tin"],
    }
)


def known(text: str, vocabulary: Vocabulary = VOCABULARY) -> str:
    found = vocabulary.ending(text.split())
    return found.name if found else ""


def test_epic_names_become_words() -> None:
    assert readable_name("cup:coffee") == "coffee cup"
    assert readable_name("board:chopping:wooden") == "chopping wooden board"
    assert readable_name("tap") == "tap"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("big wooden spoons", "wooden spoon"),
        ("knives", "knife"),
        ("knifes", "knife"),
        ("tomatoes", "tomato"),
        ("tea towels", "tea towel"),
        ("teatowel", "tea towel"),
        ("chopstick", "chopsticks"),
        ("glasses", "glass"),
        ("glas", ""),
        ("eggplants", "eggplant"),
        ("can", "can"),
        ("unknife", ""),
        ("knife block", ""),
    ],
)
def test_a_name_is_known_by_its_end_in_every_number_and_spelling(text: str, name: str) -> None:
    assert known(text) == name


def test_synonyms_have_the_class_of_the_known_name() -> None:
    assert VOCABULARY.class_of("eggplant") == VOCABULARY.class_of("aubergine") == 7
    assert VOCABULARY.class_of("can") == 8
    # Said explicitly, a name means what was said.
    assert VOCABULARY.extended({20: ["can"]}).class_of("can") == 20
    assert len(VOCABULARY) == 9


def test_noun_csv_extends_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "nouns.csv"
    path.write_text(
        "id,key,instances,category\n0,tap,\"['tap', 'tap:hot']\",appliances\n"
        "8,whisk,\"['whisk', 'knife']\",utensils\n8,beater,\"['beater']\",utensils\n"
    )
    extended = VOCABULARY.extended(read_noun_classes(path))
    assert known("hot tap", extended) == "hot tap"
    assert extended.class_of("whisks") == extended.class_of("beater") == 8
    assert extended.class_of("knife") == 2
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
        with pytest.raises(PromptError, match=r"nouns.csv, line [12]"):
            read_noun_classes(path)
    with pytest.raises(PromptError, match=r"missing\.csv"):
        read_noun_classes(tmp_path / "missing.csv")


def test_the_real_noun_list(shared: Path) -> None:
    classes = read_noun_classes(shared / "epic" / "EPIC_100_noun_classes_v2.csv")
    vocabulary = Vocabulary(classes)
    assert len(classes) >= 300
    assert known("cereals box", vocabulary) and known("two spoons", vocabulary) == "spoon"
