"""Label noise as a layer over clean data, drawn while a training run reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from training.config.noise import Negatives, NoiseOptions, Order
from training.noise.mask import MaskNoise
from training.noise.text import (
    TextNoise,
    classes_digest,
    holds_noise,
    names_digest,
    names_in_split,
    noisy_split,
    read_names,
)

UInt8 = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class LabelNoise:
    """Algorithms 1 and 2 together; the clean files are never written over.

    Attributes:
        text: Algorithm 1.
        kernel: Side of Algorithm 2's square in pixels, odd; 0 leaves the masks clean.
        negatives: See `MaskNoise`.
        order: See `MaskNoise`.
        recompute_weights: Whether the weights follow the masks.
    """

    text: TextNoise
    kernel: int
    negatives: Negatives = "vanish"
    order: Order = "ascending"
    recompute_weights: bool = False

    @property
    def mask(self) -> MaskNoise | None:
        """Algorithm 2, or None where the masks stay clean."""
        return MaskNoise(self.kernel, self.negatives, self.order) if self.kernel else None

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        """The noun in the object's prompt."""
        return self.text.draw(sequence, object_id, clean_name, class_id)

    def labels(
        self, sequence: str, frame: str, clean_labels: UInt8, positive_ids: frozenset[int]
    ) -> UInt8:
        """The label map that is learned from, uint8 [H, W]."""
        return self.mask.labels(clean_labels, positive_ids) if self.mask else clean_labels

    def weights(self, clean_labels: UInt8, noisy_labels: UInt8, clean_weights: UInt8) -> UInt8:
        """The weights that go with a noisy label map, uint8 [H, W] like both maps."""
        if not self.mask or not self.recompute_weights:
            return clean_weights
        return self.mask.weights(clean_labels, noisy_labels, clean_weights)

    def record(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the noise is, for ``run.json``: two runs with equal records learn equal labels.

        Args:
            records: Clips in the form of ``ImageSets/SPLIT.json``; if their names are noisy
                already (``stored_names``), these are learned.

        Raises:
            ActisegError: If their names are noisy already, and this noise would draw others.
        """
        stored = holds_noise(records)
        drawn = self.text.rate > 0 or self.text.within_class_only
        names = records if stored and not drawn else noisy_split(records, self.text)
        return {
            "text_noise": self.text.rate,
            "mask_noise": self.kernel,
            "seed": self.text.seed,
            "stored_names": stored,
            "classes": len(self.text.names),
            "classes_sha256": classes_digest(self.text.names),
            "within_class_only": self.text.within_class_only,
            "negatives": self.negatives,
            "order": self.order,
            "recompute_weights": self.recompute_weights,
            "names_sha256": names_digest(names),
        }


def make_noise(
    text_noise: float,
    mask_noise: int,
    options: NoiseOptions,
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
        records: The training split.
        seed: Seed of the run.
        negative_masks: Whether the run learns masks of objects that are not active.

    Raises:
        ActisegError: If a level or the list of names is unusable.
    """
    clean = not holds_noise(records)
    if clean and not text_noise and not mask_noise and not options.within_class_only:
        return None
    names = read_names(options.classes) if options.classes else names_in_split(records)
    text = TextNoise(
        names, text_noise, seed if options.seed is None else options.seed, options.within_class_only
    )
    negatives = options.negatives or ("keep" if negative_masks else "vanish")
    return LabelNoise(text, mask_noise, negatives, options.order, options.recompute_weights)
