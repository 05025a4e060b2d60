"""Label noise as a layer over clean data, drawn while a training run reads it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.noise.mask import dilate_labels
from training.noise.text import TextNoise


@dataclass(frozen=True)
class LabelNoise:
    """Algorithms 1 and 2 together; the clean files are never written over.

    Attributes:
        text: Algorithm 1.
        kernel: Side of Algorithm 2's square in pixels, odd; 0 leaves the masks clean.
    """

    text: TextNoise
    kernel: int

    def name(self, sequence: str, object_id: int, clean_name: str, class_id: int) -> str:
        """The noun in the object's prompt."""
        return self.text.draw(sequence, object_id, clean_name, class_id)

    def labels(
        self,
        sequence: str,
        frame: str,
        clean_labels: npt.NDArray[np.uint8],
        positive_ids: frozenset[int],
    ) -> npt.NDArray[np.uint8]:
        """The label map that is learned from, uint8 [H, W]."""
        if self.kernel == 0:
            return clean_labels
        return dilate_labels(clean_labels, positive_ids, self.kernel)
