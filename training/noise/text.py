"""Text prompt noise (paper Alg. 1): another class's noun, or another noun of the same class."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.errors import ActisegError

ClassNames = Mapping[int, tuple[str, ...]]
"""Class id -> the nouns ("categories") of that class; the mapping M of Alg. 1."""
_ENTRY = frozenset({"name", "class_id", "positive"})
"""What a split says about each object at least."""


def spoken_name(noun: str) -> str:
    """An EPIC noun as it is spoken: ``container:food`` reads ``food container``."""
    head, *modifiers = noun.strip().lower().split(":")
    return " ".join([*modifiers, head])


def names_in_split(records: Sequence[Mapping[str, Any]]) -> dict[int, tuple[str, ...]]:
    """The nouns that a split itself uses for each class id, in alphabetical order.

    Args:
        records: Clips in the form of ``ImageSets/SPLIT.json``.
    """
    names: dict[int, set[str]] = {}
    for record in records:
        for entry in record["object_classes"].values():
            names.setdefault(int(entry["class_id"]), set()).add(str(entry["name"]))
    return {class_id: tuple(sorted(found)) for class_id, found in sorted(names.items())}


def read_class_names(path: Path) -> dict[int, tuple[str, ...]]:
    """The nouns of each class in EPIC-KITCHENS' own list (``EPIC_100_noun_classes_v2.csv``).

    Raises:
        ActisegError: If the file is missing, or a row lacks its columns or has a malformed list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise ActisegError(
            f"{path}: cannot be read ({error.strerror}); give EPIC's noun list"
        ) from error
    names: dict[int, tuple[str, ...]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            nouns = ast.literal_eval(row["instances"])
            spoken = dict.fromkeys(spoken_name(str(noun)) for noun in nouns)
            names[int(row["id"])] = tuple(spoken) or (spoken_name(row["key"]),)
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise ActisegError(
                f"{path}, line {line}: expected the columns id, key and instances, the last one "
                f"a list of nouns ({error})"
            ) from error
    if len(names) < 2:
        raise ActisegError(f"{path}: {len(names)} classes; Algorithm 1 needs at least two")
    return names


def read_names(path: Path) -> dict[int, tuple[str, ...]]:
    """The nouns of each class in a file: EPIC's noun list (csv), or those that a split uses (json).

    Raises:
        ActisegError: If the file has neither form.
    """
    if path.suffix == ".json":
        return names_in_split(read_split(path))
    return read_class_names(path)


@dataclass(frozen=True)
class TextNoise:
    """Algorithm 1 with one draw per object of a clip.

    The draw depends on the seed, the clip and the object alone, so the result is the same in any
    order, for any subset and any number of workers.

    Attributes:
        names: The mapping M; its keys are the class set Omega.
        rate: Probability rho of another class, in [0, 1]. Rate 0 is clean: nothing is drawn, as in
            the paper's Table I (Alg. 1 itself would still exchange nouns within a class).
        seed: Seed of the draws.
        within_class_only: Never change the class, only the noun: the second half of Alg. 1 alone,
            also at rate 0.
    """

    names: ClassNames
    rate: float
    seed: int = 0
    within_class_only: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ActisegError(f"noise rate {self.rate} is no probability; it must be in [0, 1]")

    def draw(self, clip: str, object_id: int, name: str, class_id: int) -> str:
        """The noun that replaces `name`.

        Args:
            clip: Sequence name of the clip.
            object_id: Label of the object in the clip.
            name: Clean noun.
            class_id: Its class.

        Raises:
            ActisegError: If the class is not among `names`.
        """
        if self.rate == 0 and not self.within_class_only:
            return name
        if class_id not in self.names:
            raise ActisegError(
                f"{clip}, object {object_id} ({name!r}): class {class_id} is not in the list; "
                "take the list that belongs to this split, or leave --classes out"
            )
        random = _generator(self.seed, clip, object_id)
        flipped = random.random() < self.rate and not self.within_class_only
        if flipped:
            others = [other for other in self.names if other != class_id]
            class_id = others[int(random.integers(len(others)))]
        nouns = self.names[class_id]
        return nouns[int(random.integers(len(nouns)))]


def noisy_split(records: Sequence[Mapping[str, Any]], noise: TextNoise) -> list[dict[str, Any]]:
    """The split with noisy nouns; ids, classes, flags and narration stay those of the clean one.

    Each object keeps its clean noun under ``clean_name``, which also marks a split as noisy.

    Raises:
        ActisegError: If the split is noisy already.
    """
    noisy: list[dict[str, Any]] = []
    for record in records:
        clip = sequence_name(record)
        objects = {}
        for key, entry in record["object_classes"].items():
            if "clean_name" in entry:
                raise ActisegError(
                    f"{clip}, object {key}: the split is noisy already; use the clean one"
                )
            noun = noise.draw(clip, int(key), str(entry["name"]), int(entry["class_id"]))
            objects[key] = {**entry, "name": noun, "clean_name": entry["name"]}
        noisy.append({**record, "object_classes": objects})
    return noisy


def names_digest(records: Sequence[Mapping[str, Any]]) -> str:
    """SHA-256 of all names of a split with their clips and objects; equal for equal names.

    The order of clips and objects in the file does not matter.
    """
    lines = sorted(
        f"{sequence_name(record)}\0{int(key)}\0{entry['name']}\n"
        for record in records
        for key, entry in record["object_classes"].items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sequence_name(record: Mapping[str, Any]) -> str:
    """Folder name of a clip in the ActionVOS layout."""
    return f"{record['seq_id']:08d}_{record['video']}_{record['verb']}_{record['noun']}"


def read_split(path: Path) -> list[dict[str, Any]]:
    """Reads ``ImageSets/SPLIT.json``.

    Raises:
        ActisegError: If the file is missing, no JSON, or not of that form.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ActisegError(f"{path}: not a readable split ({error})") from error
    if not isinstance(records, list) or not all(
        isinstance(record, dict)
        and isinstance(record.get("object_classes"), dict)
        and all(entry.keys() >= _ENTRY for entry in record["object_classes"].values())
        for record in records
    ):
        raise ActisegError(
            f"{path}: expected a list of clips whose `object_classes` have "
            f"{', '.join(sorted(_ENTRY))}, as ImageSets has"
        )
    return records


def write_json(path: Path, value: object) -> None:
    """Writes JSON; the file appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _generator(seed: int, clip: str, object_id: int) -> np.random.Generator:
    key = hashlib.blake2b(f"{seed}\0{clip}\0{object_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))
