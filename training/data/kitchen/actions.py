"""What people do in the kitchen: narrations, and which things the hands touch meanwhile.

The official label makes a thing active if a hand touches it or the narration names its class. The
templates therefore mix narrated things that nobody touches, touched things that nobody narrates
(tools, and whatever the other hand happens to hold), and bystanders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.data.kitchen.vocabulary import NAMES_OF_CLASS, VERB_CLASSES

_VEGETABLES = (16, 30, 37, 41, 43, 56, 67, 72)
_FRUIT = (105, 146)
_FOOD = (*_VEGETABLES, *_FRUIT, 32, 33, 53)
_TOOLS = (1, 4, 14, 20, 79, 87, 97, 218)
_VESSELS = (7, 10, 13, 29, 5, 66)
_WASHABLE = (1, 2, 4, 5, 6, 7, 10, 13, 14, 18, 20, 29, 35, 39, 66, 79, 87, 96, 97, 218)
_PACKAGES = (15, 21, 22, 23, 40, 61, 64)
_CLOTHS = (9, 17, 52)
EVERYTHING = tuple(NAMES_OF_CLASS)


@dataclass(frozen=True)
class Part:
    """One role in an action.

    Attributes:
        classes: Noun classes that can play it.
        use: What a hand does with it: ``none``, ``press`` (touch where it lies), ``grasp``
            (reach and lift), ``reach`` (approach without touching), ``hold``, ``carry`` (to the
            other part), ``tool`` (work on the other part), ``pour`` (tilt over the other part).
        narrated: Whether the narration names it.
        onto: Role that ``carry``, ``tool`` and ``pour`` aim at.
    """

    classes: tuple[int, ...]
    use: str
    narrated: bool = True
    onto: str = ""


@dataclass(frozen=True)
class Template:
    """One kind of action; ``phrase`` has a ``{role}`` for each narrated part."""

    verbs: tuple[tuple[str, str], ...]
    phrase: str
    parts: dict[str, Part]
    weight: float = 1.0
    scenery: str = ""

    @property
    def tight(self) -> bool:
        """Whether a carried thing ends up on top of the other one."""
        return " on " in self.phrase


def _template(
    verbs: str, phrase: str, weight: float = 1.0, scenery: str = "", **parts: Part
) -> Template:
    """Verbs are "spoken=verb" pairs separated by commas; a bare word is both."""
    pairs = []
    for item in verbs.split(","):
        spoken, _, verb = item.partition("=")
        pairs.append((spoken.strip(), (verb or spoken).strip().replace(" ", "-")))
    return Template(tuple(pairs), phrase, parts, weight, scenery)


TEMPLATES: tuple[Template, ...] = (
    _template("take,pick up,grab,get", "{x}", 0.9, x=Part(EVERYTHING, "grasp")),
    _template("take,pick up,get", "{x}", 2.0, x=Part(EVERYTHING, "reach")),
    _template(
        "take,get", "{x} and {y}", 3.0, x=Part(EVERYTHING, "reach"), y=Part(EVERYTHING, "none")
    ),
    _template("put down,move,place", "{x}", 0.6, x=Part(EVERYTHING, "hold")),
    _template(
        "put=put-next-to",
        "{x} next to {y}",
        1.4,
        x=Part(EVERYTHING, "carry", onto="y"),
        y=Part(EVERYTHING, "none"),
    ),
    _template(
        "put=put-on,place=put-on",
        "{x} on {y}",
        0.7,
        x=Part((*_FOOD, *_TOOLS, 10, 13), "carry", onto="y"),
        y=Part((2, 18, 35), "none"),
    ),
    _template(
        "pour=pour-into",
        "{x} into {y}",
        1.2,
        x=Part((15, 64, 66, 44, 40, 61), "pour", onto="y"),
        y=Part(_VESSELS, "none"),
    ),
    _template(
        "cut,slice,chop",
        "{x}",
        1.2,
        x=Part((*_FOOD, 32, 33), "press"),
        tool=Part((4, 79), "tool", False, "x"),
    ),
    _template(
        "cut,chop",
        "{x}",
        1.0,
        x=Part((*_FOOD, 32, 33), "none"),
        tool=Part((4, 79), "tool", False, "x"),
    ),
    _template(
        "peel",
        "{x}",
        0.7,
        x=Part((16, 30, 41, 67, 72, 105, 146), "press"),
        tool=Part((87, 4), "tool", False, "x"),
    ),
    _template(
        "stir,mix",
        "{x}",
        1.2,
        x=Part((5, 7, 29, 13, 66), "none"),
        tool=Part((1, 20, 97, 218, 14), "tool", False, "x"),
    ),
    _template(
        "scoop", "{x}", 0.6, x=Part((29, 7, 40, 21), "none"), tool=Part((1, 97), "tool", False, "x")
    ),
    _template(
        "wash,clean,rinse",
        "{x}",
        1.0,
        x=Part(_WASHABLE, "press"),
        tool=Part(_CLOTHS, "tool", False, "x"),
    ),
    _template(
        "wash,wipe,dry",
        "{x}",
        1.0,
        x=Part(_WASHABLE, "none"),
        tool=Part(_CLOTHS, "tool", False, "x"),
    ),
    _template("open,close", "{x}", 0.8, x=Part((*_PACKAGES, 29, 44), "press")),
    _template("check,look at=look", "{x}", 1.6, x=Part(EVERYTHING, "none")),
    _template(
        "check,look at=look,look for=search",
        "{x} and {y}",
        3.2,
        x=Part(EVERYTHING, "none"),
        y=Part(EVERYTHING, "none"),
    ),
    _template(
        "check,look at=look",
        "{x}, {y} and {z}",
        3.6,
        x=Part(EVERYTHING, "none"),
        y=Part(EVERYTHING, "none"),
        z=Part(EVERYTHING, "none"),
    ),
    _template(
        "take,get,move", "{x} and {y}", 1.2, x=Part(EVERYTHING, "press"), y=Part(EVERYTHING, "none")
    ),
    _template("wipe", "top", 0.6, "top", tool=Part(_CLOTHS, "tool", False)),
    _template("turn on,turn off", "hob", 0.35, "hob"),
    _template("turn on,turn off", "tap", 0.35, "tap"),
)

# Shares of the free choices, tuned so that neither narration nor hands decide alone.
OTHER_HAND = 0.8
"""Chance that a hand without a part in the action touches something unrelated."""
DECOY = 0.55
"""Chance that an unnarrated tool has an unused relative of its class beside it."""
BYSTANDERS = (2, 4)
"""Fewest and most things that the action leaves alone."""


@dataclass(frozen=True)
class Cast:
    """An action with its things chosen.

    Attributes:
        template: The kind of action.
        narration: As a narrator says it.
        verb: EPIC verb.
        names: Noun of every role.
        extras: Nouns that a free hand touches, in the order right hand, left hand.
        bystanders: Nouns of the things that are not used.
    """

    template: Template
    narration: str
    verb: str
    names: dict[str, str]
    extras: tuple[str, ...]
    bystanders: tuple[str, ...]

    @property
    def verb_class(self) -> int:
        """EPIC class id of the verb."""
        return VERB_CLASSES[self.verb]

    @property
    def narrated(self) -> tuple[str, ...]:
        """Nouns of the narration in order."""
        nouns = [self.names[role] for role, part in self.template.parts.items() if part.narrated]
        return tuple(nouns) or (self.template.scenery,)

    @property
    def untouched(self) -> tuple[str, ...]:
        """Everything that no hand is to touch, not even nearly: narrated things and bystanders."""
        parts = self.template.parts
        worked_on = {
            p.onto for p in parts.values() if p.use in ("tool", "pour") or self.template.tight
        }
        apart = [
            n
            for r, n in self.names.items()
            if parts[r].use in ("none", "reach") and r not in worked_on
        ]
        return (*apart, *self.bystanders)

    @property
    def used(self) -> tuple[str, ...]:
        """Everything that the action names or touches on purpose."""
        return (*self.names.values(), *self.extras)


Nouns = Mapping[int, Sequence[str]]
"""Names that are at hand, by class id."""


def _choose(
    rng: np.random.Generator, classes: tuple[int, ...], taken: set[int], nouns: Nouns
) -> int | None:
    free = [c for c in classes if c in nouns and c not in taken]
    return int(rng.choice(free)) if free else None


def _roles(
    rng: np.random.Generator, nouns: Nouns
) -> tuple[Template, dict[str, int], list[int]] | None:
    """A template with a class for each role, and the classes that a free hand touches."""
    weights = np.array([t.weight for t in TEMPLATES])
    template = TEMPLATES[int(rng.choice(len(TEMPLATES), p=weights / weights.sum()))]
    taken: set[int] = set()
    roles: dict[str, int] = {}
    for role, part in template.parts.items():
        class_id = _choose(rng, part.classes, taken, nouns)
        if class_id is None:
            return None
        roles[role] = class_id
        taken.add(class_id)
    busy = sum(part.use != "none" for part in template.parts.values())
    extras = []
    for _ in range(2 - busy):
        if rng.random() < OTHER_HAND:
            extra = _choose(rng, EVERYTHING, taken, nouns)
            if extra is not None:
                extras.append(extra)
                taken.add(extra)
    return template, roles, extras


def _spoken(rng: np.random.Generator, template: Template, names: dict[str, str]) -> tuple[str, str]:
    """A narration, and its EPIC verb."""
    spoken, verb = template.verbs[int(rng.integers(len(template.verbs)))]
    return f"{spoken} {template.phrase.format(**names)}", verb


def cast_action(rng: np.random.Generator) -> Cast:
    """Choose an action and its things.

    Bystanders are what other random actions would use, so that a class is about as often idle as
    it is active, whatever its affordances.
    """
    while (chosen := _roles(rng, NAMES_OF_CLASS)) is None:
        pass
    template, roles, extras = chosen
    names = {role: str(rng.choice(NAMES_OF_CLASS[c])) for role, c in roles.items()}
    touched = [str(rng.choice(NAMES_OF_CLASS[c])) for c in extras]
    taken = {*roles.values(), *extras}
    idle: list[str] = []
    for role, part in template.parts.items():
        relatives = [n for n in NAMES_OF_CLASS[roles[role]] if n != names[role]]
        if not part.narrated and relatives and rng.random() < DECOY:
            idle.append(str(rng.choice(relatives)))
    wanted = int(rng.integers(BYSTANDERS[0], BYSTANDERS[1] + 1))
    while len(idle) < wanted:
        other = _roles(rng, NAMES_OF_CLASS)
        if other is None:
            continue
        for class_id in [*other[1].values(), *other[2]]:
            if class_id not in taken and len(idle) < wanted:
                idle.append(str(rng.choice(NAMES_OF_CLASS[class_id])))
                taken.add(class_id)
    narration, verb = _spoken(rng, template, names)
    return Cast(template, narration, verb, names, tuple(touched), tuple(idle))


def cast_among(rng: np.random.Generator, present: Mapping[int, str]) -> Cast:
    """Choose an action with things that are there already.

    Args:
        rng: Source of all choices.
        present: One noun of every class in the scene; those without a part are bystanders.
    """
    nouns = {class_id: (name,) for class_id, name in present.items()}
    while (chosen := _roles(rng, nouns)) is None:
        pass
    template, roles, extras = chosen
    names = {role: present[c] for role, c in roles.items()}
    touched = tuple(present[c] for c in extras)
    idle = tuple(n for n in present.values() if n not in names.values() and n not in touched)
    narration, verb = _spoken(rng, template, names)
    return Cast(template, narration, verb, names, touched, idle)
