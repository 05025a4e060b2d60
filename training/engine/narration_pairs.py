"""Prompts without pictures, from which an own text encoder learns what a narration speaks of.

RoBERTa has read enough to know that "cut onion" speaks of the onion. A small encoder from scratch
sees too few clips for that, but names and narrations can be paired without end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from actiseg_ros.prompts import PROMPT_TEMPLATE
from training.data.splits import record_name
from training.noise.layer import LabelNoise
from training.noise.text import ClassNames, names_in_split


class NarrationPairs:
    """Draws prompts of a split's narrations with names of its classes, half of them narrated.

    Args:
        records: Clips in the form of ``ImageSets/SPLIT.json``, whose objects all say whether the
            narration names them (`read_split` asks for that fact); those whose narration names none
            of their objects, or every class that there is, are not used.
        seed: Seed of the draws.
        noise: Label noise of the split; what a clip's prompts with pictures call an object, those
            without pictures call it too, so that they tell no clean name.
    """

    def __init__(
        self, records: Sequence[Mapping[str, Any]], seed: int, noise: LabelNoise | None = None
    ) -> None:
        self._names = names_in_split(records)
        self._seed = seed
        self._clips: list[tuple[str, list[int], ClassNames, list[int]]] = []
        for record in records:
            objects = record["object_classes"].values()
            narrated = {int(entry["class_id"]) for entry in objects if entry["narration"]}
            present = {int(entry["class_id"]) for entry in objects} - narrated
            if narrated and self._names.keys() - narrated:
                own = self._names if noise is None else _noisy_names(record, noise)
                clip = record["narration"], sorted(narrated), own, sorted(present)
                self._clips.append(clip)

    def __bool__(self) -> bool:
        return bool(self._clips)

    def draw(self, count: int, *key: int) -> tuple[list[str], list[float]]:
        """Draws prompts.

        Args:
            count: How many.
            key: Numbers that make this draw differ from others, e.g. step and process.

        Returns:
            Prompts in lower case, and 1 where the name's class is narrated, else 0.
        """
        rng = np.random.default_rng((self._seed, *key))
        classes = list(self._names)
        prompts, labels = [], []
        for _ in range(count):
            clip = self._clips[int(rng.integers(len(self._clips)))]
            narration, narrated, names_of, present = clip
            label = rng.random() < 0.5
            if label:
                chosen = narrated[int(rng.integers(len(narrated)))]
            elif present and rng.random() < 0.5:
                chosen = present[int(rng.integers(len(present)))]
            else:
                others = [class_id for class_id in classes if class_id not in narrated]
                chosen, names_of = others[int(rng.integers(len(others)))], self._names
            names = names_of[chosen]
            name = names[int(rng.integers(len(names)))]
            prompts.append(PROMPT_TEMPLATE.format(object=name, narration=narration).lower())
            labels.append(float(label))
        return prompts, labels


def _noisy_names(record: Mapping[str, Any], noise: LabelNoise) -> ClassNames:
    """What the noise calls the objects of each class in a clip."""
    clip = record_name(record)
    names: dict[int, tuple[str, ...]] = {}
    for key, entry in record["object_classes"].items():
        class_id = int(entry["class_id"])
        drawn = noise.name(clip, int(key), str(entry["name"]), class_id)
        names[class_id] = (*names.get(class_id, ()), drawn)
    return names
