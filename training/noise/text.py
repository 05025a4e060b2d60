"""Text prompt noise (paper Alg. 1): another class's noun, or another noun of the same class."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from actiseg_ros.errors import ActisegError
from actiseg_ros.narration.vocabulary import readable_name
from actiseg_ros.prompts import HANDS
from actiseg_ros.tables import TableError, read_table
from training.config.noise import Draws, NameOptions, Unflipped
from training.data.splits import read_split, record_name

ClassNames = Mapping[int, tuple[str, ...]]
"""Class id -> the nouns ("categories") of that class; the mapping M of Alg. 1."""
_SPLITS = ("train.json", "val.json")
"""Splits whose names the published noise draws from."""


def names_in_split(records: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, ...]]:
    """The nouns that a split itself uses for each class id, in alphabetical order.

    Args:
        records: Clips in the form of ``ImageSets/SPLIT.json``; of noisy ones the clean nouns count.
    """
    names: dict[int, set[str]] = {}
    for record in records:
        for entry in record["object_classes"].values():
            noun = str(entry.get("clean_name", entry["name"]))
            names.setdefault(int(entry["class_id"]), set()).add(noun)
    return {class_id: tuple(sorted(found)) for class_id, found in sorted(names.items())}


def read_class_names(path: Path) -> dict[int, tuple[str, ...]]:
    """The nouns of each class in EPIC-KITCHENS' own list (``EPIC_100_noun_classes_v2.csv``).

    Nouns are as spoken (``container:food`` reads ``food container``), in lower case. Rows of one id
    are joined.

    Raises:
        ActisegError: If the file is no table, or a row lacks its columns or has a malformed list.
    """
    names: dict[int, dict[str, None]] = {}
    try:
        for row in read_table(path, ("id", "key", "instances")):
            nouns = row.listed("instances") or [row["key"]]
            spoken = dict.fromkeys(readable_name(str(noun).lower()) for noun in nouns)
            names.setdefault(row.integer("id"), {}).update(spoken)
    except TableError as error:
        raise ActisegError(f"{error}; give EPIC's noun list") from error
    if len(names) < 2:
        raise ActisegError(f"{path}: {len(names)} classes; Algorithm 1 needs at least two")
    return {class_id: tuple(nouns) for class_id, nouns in names.items()}


def vocabulary(
    split_file: Path, records: Sequence[Mapping[str, Any]], options: NameOptions
) -> dict[int, tuple[str, ...]]:
    """The mapping M that a split's names are exchanged with.

    Args:
        split_file: File of the split, in the folder of its siblings.
        records: Its clips.
        options: Say where names come from.

    Raises:
        ActisegError: If a list of names is unusable.
    """
    if options.classes is not None:
        return read_names(options.classes)
    joined = list(records)
    if options.vocabulary == "all":
        for name in _SPLITS:
            sibling = split_file.with_name(name)
            if sibling.name != split_file.name and sibling.exists():
                joined += read_split(sibling)
    return names_in_split(joined)


def read_names(path: Path) -> dict[int, tuple[str, ...]]:
    """The nouns of each class in a file: EPIC's noun list (csv), or those that a split uses (json).

    Raises:
        ActisegError: If the file has neither form.
    """
    if path.suffix == ".json":
        return names_in_split(read_split(path))
    return read_class_names(path)


@dataclass(frozen=True)
class NoisyName:
    """What an object is called under noise."""

    name: str
    class_id: int
    """Class that the name was taken from."""


NameTable = Mapping[tuple[str, int], NoisyName]
"""Sequence name and object id -> what the object is called."""


@dataclass(frozen=True)
class TextNoise:
    """Algorithm 1 for all objects of a split.

    With keyed draws, given the names, a name depends on the seed, the clip and the object alone, so
    the result is the same in any order, for any subset and any number of workers. A subset needs
    the names of the whole split for that, not its own.

    Attributes:
        names: The mapping M; its keys are the class set Omega.
        rate: Probability rho of another class, in [0, 1]. Rate 0 is clean: nothing is drawn, as in
            the paper's Table I (Alg. 1 itself would still exchange nouns within a class).
        seed: Seed of the draws.
        within_class_only: Never change the class, only the noun: the second half of Alg. 1 alone,
            also at rate 0.
        unflipped: See `NameOptions`, as for what follows.
        inactive_names: Whether objects that are not active get other names too.
        hand_names: Whether hands do.
        draws: One generator for each object, or one for all.

    Raises:
        ActisegError: If the rate is no probability, or there is nothing to exchange.
    """

    names: ClassNames
    rate: float
    seed: int = 0
    within_class_only: bool = False
    unflipped: Unflipped = "any"
    inactive_names: bool = True
    hand_names: bool = True
    draws: Draws = "keyed"

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ActisegError(f"noise rate {self.rate} is no probability; it must be in [0, 1]")
        if self.rate and not self.within_class_only and len(self.names) < 2:
            raise ActisegError(
                f"noise rate {self.rate} needs names of at least two classes, there are "
                f"{len(self.names)}; give a list with --classes"
            )
        if self.within_class_only and self.unflipped == "same":
            raise ActisegError(
                "within-class-only exchanges names within their class, and unflipped `same` keeps "
                "them; choose one of the two"
            )

    @property
    def clean(self) -> bool:
        """Whether no name changes."""
        return self.rate == 0 and not self.within_class_only

    def draw(
        self, clip: str, object_id: int, name: str, class_id: int, positive: bool = True
    ) -> NoisyName:
        """What an object is called, from a generator of its own.

        Args:
            clip: Sequence name of the clip.
            object_id: Label of the object in the clip.
            name: Clean noun.
            class_id: Its class.
            positive: Whether the object is active.

        Raises:
            ActisegError: If the class is not among `names`.
        """
        return self._exchanged(
            lambda: _generator(self.seed, clip, object_id),
            clip,
            object_id,
            name,
            class_id,
            positive,
        )

    def table(self, records: Sequence[Mapping[str, Any]]) -> dict[tuple[str, int], NoisyName]:
        """What every object of a split is called.

        Args:
            records: Clips in the form of ``ImageSets/SPLIT.json``.

        Raises:
            ActisegError: If a class is not among `names`.
        """
        stream = _Stream(self.seed)
        drawn = {}
        for record in records:
            clip = record_name(record)
            for key, entry in record["object_classes"].items():
                known = str(entry["name"]), int(entry["class_id"]), bool(entry["positive"])
                drawn[clip, int(key)] = (
                    self.draw(clip, int(key), *known)
                    if self.draws == "keyed"
                    else self._exchanged(lambda: stream, clip, int(key), *known)
                )
        return drawn

    def _exchanged(
        self,
        generator: Callable[[], np.random.Generator | _Stream],
        clip: str,
        object_id: int,
        name: str,
        class_id: int,
        positive: bool,
    ) -> NoisyName:
        """One object of Algorithm 1; the generator is made only where something is drawn."""
        fixed = (not positive and not self.inactive_names) or (
            name in HANDS and not self.hand_names
        )
        if self.clean or fixed:
            return NoisyName(name, class_id)
        if class_id not in self.names:
            raise ActisegError(
                f"{clip}, object {object_id} ({name!r}): class {class_id} is not in the list; "
                "take the list that belongs to this split, or leave --classes out"
            )
        random = generator()
        if random.random() < self.rate and not self.within_class_only:
            others = [other for other in self.names if other != class_id]
            class_id = others[int(random.integers(len(others)))]
            nouns = self.names[class_id]
        elif self.unflipped == "any":
            nouns = self.names[class_id]
        else:
            others_of_class = tuple(noun for noun in self.names[class_id] if noun != name)
            nouns = others_of_class if self.unflipped == "other" and others_of_class else (name,)
        # A single noun is not drawn, so that a stream goes on as the released script's does.
        return NoisyName(nouns[int(random.integers(len(nouns))) if len(nouns) > 1 else 0], class_id)


def noisy_split(
    records: Sequence[Mapping[str, Any]], noise: TextNoise | NameTable
) -> list[dict[str, Any]]:
    """The split with noisy nouns; ids, classes, flags and narration stay those of the clean one.

    Each object keeps its clean noun under ``clean_name``, which also marks a split as noisy.

    Args:
        records: Clips in the form of ``ImageSets/SPLIT.json``.
        noise: Algorithm 1, or what it or somebody else has drawn for every object.

    Raises:
        ActisegError: If the split is noisy already.
    """
    for record in records:
        for key, entry in record["object_classes"].items():
            if "clean_name" in entry:
                raise ActisegError(
                    f"{record_name(record)}, object {key}: the split is noisy already; "
                    "use the clean one"
                )
    names = noise.table(records) if isinstance(noise, TextNoise) else noise
    return [
        {
            **record,
            "object_classes": {
                key: {
                    **entry,
                    "name": names[record_name(record), int(key)].name,
                    "clean_name": entry["name"],
                }
                for key, entry in record["object_classes"].items()
            },
        }
        for record in records
    ]


def holds_noise(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a split is one that `noisy_split` made."""
    return any(
        "clean_name" in entry for record in records for entry in record["object_classes"].values()
    )


def flipped_share(records: Sequence[Mapping[str, Any]], names: NameTable) -> float:
    """Share of a split's objects whose name is taken from another class."""
    flips = [
        names[record_name(record), int(key)].class_id != int(entry["class_id"])
        for record in records
        for key, entry in record["object_classes"].items()
    ]
    return sum(flips) / max(1, len(flips))


def classes_digest(names: ClassNames) -> str:
    """SHA-256 of the mapping M; equal for equal nouns of equal classes in equal order.

    The order of the classes counts too, because the draws pick by position.
    """
    listed = json.dumps([[class_id, *nouns] for class_id, nouns in names.items()])
    return hashlib.sha256(listed.encode()).hexdigest()


def names_digest(records: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of all names of a split with their clips and objects; equal for equal names.

    The order of clips and objects in the file does not matter.
    """
    lines = sorted(
        f"{record_name(record)}\0{int(key)}\0{entry['name']}\n"
        for record in records
        for key, entry in record["object_classes"].items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def refuse_overwriting(targets: Iterable[Path], sources: Iterable[Path | None]) -> None:
    """Keeps what is read from being written over.

    Raises:
        ActisegError: If a target is one of the sources.
    """
    read = {source.resolve() for source in sources if source is not None}
    for target in targets:
        if target.resolve() in read:
            raise ActisegError(f"{target} would be overwritten; choose another --out")


class _Stream:
    """One generator for all objects: NumPy's legacy one, which the released script draws from."""

    def __init__(self, seed: int) -> None:
        self._state = np.random.RandomState(seed)

    def random(self) -> float:
        return float(self._state.random_sample())

    def integers(self, high: int) -> int:
        return int(self._state.randint(high))


def _generator(seed: int, clip: str, object_id: int) -> np.random.Generator:
    key = hashlib.blake2b(f"{seed}\0{clip}\0{object_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))
