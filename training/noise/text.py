"""Text prompt noise (paper Alg. 1): another class's noun, or another noun of the same class."""

from __future__ import annotations

import ast
import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from training.files.errors import ActisegError

ClassNames = Mapping[int, tuple[str, ...]]
"""Class id -> the nouns ("categories") of that class; the mapping M of Alg. 1."""
_RECORD = ("seq_id", "video", "verb", "noun", "object_classes")
"""What a split says about each clip at least."""
_ENTRY = frozenset({"name", "class_id", "positive"})
"""What a split says about each object at least."""


def spoken_name(noun: str) -> str:
    """An EPIC noun as it is spoken: ``container:food`` reads ``food container``."""
    head, *modifiers = noun.strip().lower().split(":")
    return " ".join([*modifiers, head])


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

    Rows of one id are joined.

    Raises:
        ActisegError: If the file is missing or no csv, or a row lacks its columns or has a
            malformed list.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (OSError, ValueError, csv.Error) as error:
        raise ActisegError(f"{path}: cannot be read ({error}); give EPIC's noun list") from error
    names: dict[int, dict[str, None]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            nouns = ast.literal_eval(row["instances"])
            if not isinstance(nouns, (list, tuple)):
                raise TypeError(f"instances is {nouns!r}")
            spoken = dict.fromkeys(spoken_name(str(noun)) for noun in nouns or [row["key"]])
            names.setdefault(int(row["id"]), {}).update(spoken)
        except (KeyError, TypeError, ValueError, SyntaxError) as error:
            raise ActisegError(
                f"{path}, line {line}: expected the columns id, key and instances, the last one "
                f"a list of nouns ({error})"
            ) from error
    if len(names) < 2:
        raise ActisegError(f"{path}: {len(names)} classes; Algorithm 1 needs at least two")
    return {class_id: tuple(nouns) for class_id, nouns in names.items()}


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

    Given the names, the draw depends on the seed, the clip and the object alone, so the result is
    the same in any order, for any subset and any number of workers. A subset needs the names of
    the whole split for that, not its own.

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
        if self.rate and not self.within_class_only and len(self.names) < 2:
            raise ActisegError(
                f"noise rate {self.rate} needs names of at least two classes, there are "
                f"{len(self.names)}; give a list with --classes"
            )

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


def holds_noise(records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a split is one that `noisy_split` made."""
    return any(
        "clean_name" in entry for record in records for entry in record["object_classes"].values()
    )


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
        f"{sequence_name(record)}\0{int(key)}\0{entry['name']}\n"
        for record in records
        for key, entry in record["object_classes"].items()
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def sequence_name(record: Mapping[str, Any]) -> str:
    """Folder name of a clip in the ActionVOS layout."""
    return f"{int(record['seq_id']):08d}_{record['video']}_{record['verb']}_{record['noun']}"


def read_split(path: Path) -> list[dict[str, Any]]:
    """Reads ``ImageSets/SPLIT.json``.

    Raises:
        ActisegError: If the file is missing, no JSON, or not of that form; names the record.
    """
    try:
        records = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ActisegError(f"{path}: not a readable split ({error})") from error
    if not isinstance(records, list):
        raise ActisegError(f"{path}: expected a list of clips, as ImageSets has")
    for number, record in enumerate(records, start=1):
        problem = _problem(record)
        if problem:
            raise ActisegError(
                f"{path}, clip {number}: {problem}; expected seq_id, video, verb, noun and "
                f"object_classes with {', '.join(sorted(_ENTRY))} of each object id from 1 to 255, "
                "as ImageSets has"
            )
    return records


def refuse_overwriting(targets: Iterable[Path], sources: Iterable[Path | None]) -> None:
    """Keeps what is read from being written over.

    Raises:
        ActisegError: If a target is one of the sources.
    """
    read = {source.resolve() for source in sources if source is not None}
    for target in targets:
        if target.resolve() in read:
            raise ActisegError(f"{target} would be overwritten; choose another --out")


def write_json(path: Path, value: object) -> None:
    """Writes JSON; the file appears complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path)


def _problem(record: Any) -> str:
    """What keeps a record from being a clip of a split; empty if nothing does."""
    if not isinstance(record, dict):
        return f"is {type(record).__name__}, not an object"
    missing = [name for name in _RECORD if name not in record]
    if missing:
        return f"{missing[0]} is missing"
    if not _is_integer(record["seq_id"]):
        return f"seq_id is {record['seq_id']!r}"
    for field in ("video", "verb", "noun"):
        if not _is_text(record[field]):
            return f"{field} is {record[field]!r}"
    if not isinstance(record["object_classes"], dict):
        return "object_classes is no object"
    for key, entry in record["object_classes"].items():
        if not _is_integer(key) or not 0 < int(key) < 256:
            return f"object id {key!r} is no label"
        if not isinstance(entry, dict) or not entry.keys() >= _ENTRY:
            return f"object {key} is {entry!r}"
        if not _is_integer(entry["class_id"]):
            return f"class_id of object {key} is {entry['class_id']!r}"
        for field in ("name", "clean_name"):
            # Only noisy splits have clean names.
            if field in entry and not _is_text(entry[field]):
                return f"{field} of object {key} is {entry[field]!r}"
        if entry["positive"] not in (0, 1):
            return f"positive of object {key} is {entry['positive']!r}, not 0 or 1"
    return ""


def _is_integer(value: Any) -> bool:
    """Whether a number is whole, or a text that holds one."""
    return type(value) is int or (isinstance(value, str) and value.strip().isdecimal())


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _generator(seed: int, clip: str, object_id: int) -> np.random.Generator:
    key = hashlib.blake2b(f"{seed}\0{clip}\0{object_id}".encode(), digest_size=16).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(key, "little")))
