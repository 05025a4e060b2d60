"""Contacts from VISOR's own annotations, by the rules of the published hand-object files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.contacts import annotated_contacts, says_contacts, unknown_objects


def square(x: float, y: float, side: float) -> list[list[float]]:
    return [[x, y], [x + side, y], [x + side, y + side], [x, y + side]]


def thing(name: str, *segments: list[list[float]], **fields: Any) -> dict[str, Any]:
    return {"id": name, "name": name, "class_id": 1, "segments": list(segments), **fields}


def hand(held: str | None, *segments: list[list[float]], side: str = "right") -> dict[str, Any]:
    return thing(f"{side} hand", *(segments or (square(100, 100, 50),)), in_contact_object=held)


CUP = thing("cup", square(155.9, 120, 40))


def boxes(*annotations: dict[str, Any], split: str = "train") -> list[tuple[int, ...]]:
    contacts = annotated_contacts(annotations, split)
    return [] if contacts is None else list(contacts.boxes)


def test_the_box_ends_before_the_last_corner_and_corners_are_truncated() -> None:
    assert boxes(hand("cup"), CUP) == [(155, 120, 40, 40)]
    assert boxes(hand("hand-not-in-contact"), CUP) == []
    assert boxes(hand(None), CUP) == []
    assert boxes(CUP) == []


def test_shapes_have_two_decimals_and_are_then_truncated() -> None:
    cup = thing("cup", [[140.996, 120], [180.994, 120], [150, 160.5]])
    contacts = annotated_contacts([hand("cup"), cup], "train")
    assert contacts is not None
    assert contacts.shapes[0][0].tolist() == [[141, 120], [180, 120], [150, 160]]
    assert contacts.boxes == ((140, 120, 40, 40),)


@pytest.mark.parametrize(("gap", "held"), [(1, True), (10, True), (11, False)])
def test_parts_count_that_a_hand_reaches(gap: int, held: bool) -> None:
    near, far = square(150 + gap, 120, 30), square(600, 600, 30)
    found = boxes(hand("cup"), thing("cup", near, far))
    assert found == ([(150 + gap, 120, 30, 30)] if held else [])


@settings(max_examples=60, deadline=None)
@given(st.tuples(*[st.integers(-60, 60)] * 2), st.integers(3, 20), st.booleans())
def test_reach_is_ten_steps_along_the_axes(at: tuple[int, int], side: int, edge: bool) -> None:
    """As two dilations by five steps each find it."""
    x, y = (at[0] + 60, at[1] + 60) if not edge else (at[0] + 1870, at[1] + 1030)
    own = (60, 60) if not edge else (1880, 1040)
    own_pixels, pixels = (
        np.stack(np.meshgrid(np.arange(a, a + s + 1), np.arange(b, b + s + 1))).reshape(2, -1)
        for a, b, s in ((*own, 30), (x, y, side))
    )
    inside = (pixels >= 0).all(0) & (pixels[0] < 1920) & (pixels[1] < 1080)
    own_inside = (own_pixels[0] < 1920) & (own_pixels[1] < 1080)
    distances = np.abs(own_pixels[:, own_inside, None] - pixels[:, None, inside]).sum(0)
    reached = bool(distances.size) and int(distances.min()) <= 10
    cup = thing("cup", square(x, y, side))
    assert bool(boxes(hand("cup", square(*own, 30)), cup)) == reached


def test_lines_and_points_are_neither_hand_nor_part() -> None:
    line = [[140.0, 110.0], [190.0, 110.0]]
    assert boxes(hand("cup"), thing("cup", line, square(150, 120, 30))) == [(150, 120, 30, 30)]
    assert boxes(hand("cup"), thing("cup", line, [])) == []
    assert boxes(hand("cup", line), CUP) == []


def test_a_worn_glove_is_part_of_its_hand_and_holds_for_it() -> None:
    glove = thing("glove", square(150, 100, 40), on_which_hand=["right hand"],
                  in_contact_object="pan")  # fmt: skip
    pan = thing("pan", square(195, 100, 60))
    assert boxes(hand("glove"), glove, pan) == [(195, 100, 60, 60)]
    assert boxes(hand("glove"), {**glove, "in_contact_object": "glove-not-in-contact"}, pan) == []
    # One that is not worn is an object like others, and so is another hand's.
    carried = {**glove, "on_which_hand": None, "in_contact_object": None}
    assert boxes(hand("glove"), carried, pan) == [(150, 100, 40, 40)]
    lefts = {**glove, "on_which_hand": ["left hand"]}
    assert (150, 100, 40, 40) in boxes(hand("glove"), lefts, pan)


def test_a_worn_glove_is_the_hand_where_that_is_not_seen() -> None:
    glove = thing("glove", square(150, 100, 40), on_which_hand=["right hand"],
                  in_contact_object="pan")  # fmt: skip
    pan = thing("pan", square(195, 100, 60))
    assert boxes(glove, pan) == [(195, 100, 60, 60)]
    assert boxes(hand(None), glove, pan) == [], "the hand is seen"
    both = {**glove, "on_which_hand": ["left hand", "rigth hand"]}
    assert boxes(hand("glove"), both, pan) == [(195, 100, 60, 60)], "misspelt in the data"


@pytest.mark.parametrize("contact", ["inconclusive", "none-of-the-above"])
def test_validation_frames_with_an_unknown_contact_have_no_contacts(contact: str) -> None:
    unknown = hand(contact, square(800, 500, 50), side="left")
    assert boxes(hand("cup"), CUP, unknown) == [(155, 120, 40, 40)]
    assert boxes(hand("cup"), CUP, unknown, split="val") == []
    glove = thing("left glove", square(800, 500, 50), on_which_hand=["left hand"],
                  in_contact_object=contact)  # fmt: skip
    assert boxes(hand("cup"), CUP, glove, split="val") == []
    lying = {**glove, "on_which_hand": None}
    assert boxes(hand("cup"), CUP, lying, split="val") == [(155, 120, 40, 40)]


def test_what_annotations_say() -> None:
    assert says_contacts([CUP, hand(None)]) and not says_contacts([CUP])
    assert unknown_objects([hand("cup"), CUP]) == []
    assert unknown_objects([hand("pan"), CUP, hand("inconclusive", side="left")]) == ["pan"]
