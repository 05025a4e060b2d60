"""Narrations in any state become prompts, or a clear refusal."""

import pytest

from actiseg_ros.errors import PromptError
from actiseg_ros.narration.mood import Reason
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import (
    HANDS,
    MAX_OBJECTS,
    choose_target,
    clean_names,
    objects_of_narration,
    says_no_more,
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
    assert objects_of_narration(clean_narration(narration), VOCABULARY) == names + HANDS


def test_objects_of_a_narration_are_bounded() -> None:
    many = Vocabulary({i: [f"noun{i}"] for i in range(200)})
    text = " and ".join(f"noun{i}" for i in range(80))
    objects = objects_of_narration(clean_narration(text), many)
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
        ("take spoon", ("teaspoon", "spoon"), "", "spoon"),
        ("take spoon", ("teaspoon", "wooden spoon"), "", ""),
        ("take teaspoon", ("wooden spoon", "spoon"), "", ""),
        ("take it", ("teaspoon", "wooden spoon"), "spoon", ""),
        ("take it", ("teaspoon", "wooden spoon"), "wooden spoon", "wooden spoon"),
        ("cut tomato without touching the knife", ("tomato", "knife"), "knife", ""),
        ("cut tomato without touching the knife", ("tomato", "knife"), "tomato", "tomato"),
        ("take the tomato, not the teaspoon", ("tomato", "spoon"), "spoon", ""),
        ("take everything but the knife", ("tomato", "knife"), "knife", ""),
        ("take anything except for the knife", ("tomato", "knife"), "knife", ""),
        ("the knife is off limits", ("tomato", "knife"), "knife", ""),
        ("the knife is sharp", ("tomato", "knife"), "knife", ""),
        ("stay back from the knife", ("tomato", "knife"), "knife", ""),
        ("step away from the gizmo", ("tomato", "gizmo"), "gizmo", ""),
        ("take tomato, not the gizmo", ("tomato", "gizmo"), "gizmo", ""),
        # Which of two is meant, where one is a kind that nobody knows or a class of its own?
        ("take spoon", ("teaspoon", "gizmo spoon"), "", ""),
        ("take box", ("cereal box", "gizmo box", "cereal"), "", ""),
        ("take knife", ("knife", "gizmo knife"), "", "knife"),
        ("take teaspoon", ("spoon", "gizmo knife"), "", "spoon"),
        # A dust pan is no pan.
        ("take knife", ("gizmo knife", "widget"), "", ""),
        ("take everything but the gizmo knife", ("knife", "tomato"), "knife", ""),
        ("hand over cup", ("person", "tomato"), "person", ""),
    ],
)
def test_target(narration: str, names: tuple[str, ...], explicit: str, target: str) -> None:
    assert choose_target(clean_narration(narration), names, VOCABULARY, explicit).name == target


def test_candidates_of_one_class_are_told_apart_or_none_is_the_target() -> None:
    narration = clean_narration("take spoon")
    for names in (("teaspoon", "wooden spoon"), ("wooden spoon", "teaspoon")):
        found = choose_target(narration, names, VOCABULARY)
        assert found.reason is Reason.AMBIGUOUS
        assert f"may be {names[0]} or {names[1]}" in found.advice


@pytest.mark.parametrize(
    ("names", "more"),
    [
        (("tomato", "knife", *HANDS), False),
        (("tomato",), False),
        (("hand:left", "knives"), False),
        (("tomato", "gizmo"), False),
        (("tomato", "knife", "board", *HANDS), True),
        (("cherry",), True),
        (("tomato", "widget"), True),
    ],
)
def test_a_list_that_names_what_the_narration_names_says_no_more(
    names: tuple[str, ...], more: bool
) -> None:
    narration = clean_narration("cut tomato with knife and gizmo")
    assert says_no_more(names, narration, VOCABULARY) is not more
