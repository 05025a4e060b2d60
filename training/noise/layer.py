"""Label noise as a layer over clean data, applied while a training run reads it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError
from training.config.noise import NoiseOptions
from training.noise.mask import MaskNoise
from training.noise.published import PublishedMasks, read_published_names
from training.noise.text import (
    NameTable,
    TextNoise,
    classes_digest,
    flipped_share,
    holds_noise,
    names_digest,
    noisy_split,
    vocabulary,
)

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelNoise:
    """Noisy names and label maps; the clean files are never written over.

    Attributes:
        names: What every object of the split is called; None leaves the names as they are stored.
        mask: Algorithm 2; None leaves the masks clean.
        published: Label maps to read in place of those that `mask` would make.
        recompute_weights: Whether the weights follow the masks.
        record: What the noise is, for ``run.json``: two runs with equal records learn equal labels.
    """

    names: NameTable | None = None
    mask: MaskNoise | None = None
    published: PublishedMasks | None = None
    recompute_weights: bool = False
    record: Mapping[str, Any] = field(default_factory=dict)

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        """The noun in the object's prompt.

        Raises:
            ActisegError: If the object is not of the split that the noise was made for.
        """
        if self.names is None:
            return clean_name
        try:
            return self.names[sequence, object_id].name
        except KeyError:
            raise ActisegError(f"{sequence}, object {object_id}: has no noisy name") from None

    def labels(
        self, sequence: str, frame: str, clean_labels: UInt8, positive_ids: frozenset[int]
    ) -> UInt8:
        """The label map that is learned from, uint8 [H, W]."""
        if self.published is not None:
            return self.published.labels(sequence, frame, clean_labels)
        return self.mask.labels(clean_labels, positive_ids) if self.mask else clean_labels

    def weights(self, clean_labels: UInt8, noisy_labels: UInt8, clean_weights: UInt8) -> UInt8:
        """The weights that go with a noisy label map, uint8 [H, W] like both maps."""
        if not self.mask or not self.recompute_weights:
            return clean_weights
        return self.mask.weights(clean_labels, noisy_labels, clean_weights)


def make_noise(
    text_noise: float,
    mask_noise: int,
    options: NoiseOptions,
    split_file: Path,
    records: Sequence[Mapping[str, Any]],
    *,
    seed: int,
    negative_masks: bool,
) -> LabelNoise | None:
    """The label noise of a training run; None if its labels are clean.

    Args:
        text_noise: Rate of Algorithm 1.
        mask_noise: Kernel of Algorithm 2 in pixels; 0 is clean.
        options: Everything else about the noise.
        split_file: File of the training split; its siblings know more names.
        records: Its clips. If their names are noisy already, these are learned.
        seed: Seed of the run.
        negative_masks: Whether the run learns masks of objects that are not active.

    Raises:
        ActisegError: If a level, the list of names or a folder of published noise is unusable.
    """
    stored = holds_noise(records)
    drawn = bool(text_noise) or options.within_class_only
    names_folder = _at_level(options.names_folder, "{text}", round(100 * text_noise))
    labels_folder = _at_level(options.labels_folder, "{mask}", mask_noise)
    if not (stored or drawn or mask_noise) and not (names_folder or labels_folder):
        return None
    if stored and (drawn or names_folder):
        raise ActisegError(
            f"{split_file}: its names are noisy already; take the clean split, or leave "
            "--text-noise and the other options of names out"
        )
    split = split_file.stem
    names: NameTable | None = None
    facts: dict[str, Any] = {"text_noise": text_noise, "mask_noise": mask_noise}
    if names_folder is not None:
        names = read_published_names(names_folder, split, records)
        share = flipped_share(records, names)
        # 0.05 for another reading of the level, and four standard errors for small splits.
        if abs(share - text_noise) > 0.05 + 4 * math.sqrt(
            text_noise * (1 - text_noise) / max(1, len(names))
        ):
            raise ActisegError(
                f"{names_folder}: {100 * share:.1f} % of its names are of another class, "
                f"but --text-noise says {text_noise:g}; give the level of the folder"
            )
        facts |= {"names_folder": names_folder.name, "flipped": share}
    elif drawn:
        text = TextNoise(
            vocabulary(split_file, records, options),
            text_noise,
            seed if options.seed is None else options.seed,
            **_name_choices(options),
        )
        names = text.table(records)
        facts |= {
            "seed": text.seed,
            "classes": len(text.names),
            "classes_sha256": classes_digest(text.names),
            **_name_choices(options),
        }
    facts |= {
        "stored_names": stored,
        "names_sha256": names_digest(records if names is None else noisy_split(records, names)),
    }
    mask = published = None
    negatives = options.negatives or ("keep" if negative_masks else "vanish")
    if labels_folder is not None:
        published = PublishedMasks(labels_folder, split, records)
        made = published.manifest
        if options.negatives is None:
            negatives = made.get("negatives", negatives)
        for option, name, value in (
            ("--mask-noise", "kernel", mask_noise),
            ("--noise.negatives", "negatives", negatives),
            ("--noise.order", "order", options.order),
        ):
            if not mask_noise or made.get(name, value) != value:
                made_with = f" made with {name} {made[name]}" if name in made else ""
                raise ActisegError(
                    f"{labels_folder}: holds noisy masks{made_with}, but {option} says {value}; "
                    "give what they were made with, or another folder"
                )
        facts |= {"labels_folder": labels_folder.name, "labels_sha256": published.sha256}
    if mask_noise:
        mask = MaskNoise(mask_noise, negatives, options.order)
        facts |= asdict(mask) | {"recompute_weights": options.recompute_weights}
    return LabelNoise(names, mask, published, options.recompute_weights, facts)


def _at_level(folder: Path | None, mark: str, level: int) -> Path | None:
    """A folder whose name may hold the level of its noise; None for that of level 0."""
    if folder is None or mark not in str(folder):
        return folder
    return Path(str(folder).replace(mark, str(level))) if level else None


def _name_choices(options: NoiseOptions) -> dict[str, Any]:
    """The options that `TextNoise` has under the same names."""
    names = ("within_class_only", "unflipped", "inactive_names", "hand_names", "draws")
    return {name: getattr(options, name) for name in names}
