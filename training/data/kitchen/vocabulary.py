"""The kitchen's nouns and verbs, with their EPIC-KITCHENS-100 class ids.

Only class facts (identifiers and names) are taken from EPIC-KITCHENS. Several names of one class
stand for synonyms, and where the words suggest it they look different too.
"""

from __future__ import annotations

from dataclasses import dataclass

LEFT_HAND = ("left hand", 300)
RIGHT_HAND = ("right hand", 301)


@dataclass(frozen=True)
class NounClass:
    """One EPIC noun class: its id and the names under which the kitchen uses it."""

    class_id: int
    names: tuple[str, ...]


NOUN_CLASSES: tuple[NounClass, ...] = (
    NounClass(1, ("spoon", "teaspoon", "wooden spoon")),
    NounClass(2, ("plate", "saucer", "dish")),
    NounClass(4, ("knife", "chef knife", "cleaver")),
    NounClass(5, ("pan", "frying pan", "saucepan")),
    NounClass(6, ("lid", "pan lid")),
    NounClass(7, ("bowl", "salad bowl")),
    NounClass(9, ("sponge", "scourer")),
    NounClass(10, ("glass", "pint glass")),
    NounClass(13, ("cup", "mug", "coffee cup")),
    NounClass(14, ("fork", "wooden fork")),
    NounClass(15, ("bottle", "oil bottle", "water bottle")),
    NounClass(16, ("onion", "red onion")),
    NounClass(17, ("cloth", "dishcloth", "rag")),
    NounClass(18, ("chopping board", "cutting board", "wooden chopping board")),
    NounClass(20, ("spatula", "wooden spatula")),
    NounClass(21, ("container", "food container")),
    NounClass(22, ("washing liquid", "detergent")),
    NounClass(23, ("box", "cereal box", "lunch box")),
    NounClass(29, ("pot", "pasta pot")),
    NounClass(30, ("potato", "sweet potato")),
    NounClass(32, ("cheese", "mozzarella")),
    NounClass(33, ("bread", "toast", "loaf")),
    NounClass(35, ("tray", "baking tray")),
    NounClass(37, ("pepper", "bell pepper")),
    NounClass(39, ("colander", "sieve")),
    NounClass(40, ("jar", "honey jar")),
    NounClass(41, ("carrot",)),
    NounClass(43, ("tomato", "cherry tomato")),
    NounClass(44, ("kettle",)),
    NounClass(52, ("towel", "tea towel")),
    NounClass(53, ("egg",)),
    NounClass(56, ("mushroom",)),
    NounClass(61, ("can", "tin")),
    NounClass(64, ("milk", "soy milk")),
    NounClass(66, ("jug", "measuring jug")),
    NounClass(67, ("aubergine",)),
    NounClass(72, ("cucumber",)),
    NounClass(79, ("scissors",)),
    NounClass(87, ("peeler", "potato peeler")),
    NounClass(97, ("ladle",)),
    NounClass(105, ("lemon",)),
    NounClass(146, ("banana",)),
    NounClass(218, ("whisk",)),
)

CLASS_OF_NAME: dict[str, int] = {n: c.class_id for c in NOUN_CLASSES for n in c.names}
NAMES_OF_CLASS: dict[int, tuple[str, ...]] = {c.class_id: c.names for c in NOUN_CLASSES}

# Nouns that narrations mention although nothing on the worktop is annotated with them.
SCENERY: dict[str, int] = {"tap": 0, "hob": 24, "top": 42, "sink": 63}

VERB_CLASSES: dict[str, int] = {
    "take": 0, "pick-up": 0, "grab": 0, "get": 0,
    "put": 1, "put-down": 1, "place": 1, "put-on": 1, "put-next-to": 1,
    "wash": 2, "clean": 2, "rinse": 2, "wipe": 2,
    "open": 3, "close": 4, "turn-on": 6, "turn-off": 8,
    "cut": 7, "slice": 7, "chop": 7,
    "pour": 9, "pour-into": 9, "stir": 10, "mix": 10, "move": 11, "dry": 14, "scoop": 16,
    "peel": 19, "check": 24, "look": 38, "search": 48,
}  # fmt: skip


def epic_noun(name: str) -> str:
    """Return a name in EPIC's noun column form: head first, then its modifiers after colons.

    >>> epic_noun("wooden chopping board")
    'board:wooden:chopping'
    """
    *modifiers, head = name.split()
    return ":".join([head, *modifiers])
