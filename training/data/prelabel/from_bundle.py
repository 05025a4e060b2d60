"""Labels drawn by the network of a model bundle, as the robot runs it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.prompts import MAX_OBJECTS, Prompt, clean_names
from actiseg_ros.vision.segmenter import EncodedPrompt, Segmenter
from training.data.prelabel.drawn import DrawnObject


class BundleDrawer:
    """Draws all named objects, those that do not take part too, and says which do.

    Args:
        bundle: Model bundle.
        threads: Threads of the network; 0 lets ONNX Runtime choose.
    """

    def __init__(self, bundle: Bundle, threads: int = 0) -> None:
        self._active = bundle.thresholds.positive
        everything = dataclasses.replace(bundle.thresholds, positive=0.0)
        self._segmenter = Segmenter(
            dataclasses.replace(bundle, thresholds=everything), threads=threads
        )
        self._encoded: EncodedPrompt | None = None

    def draw(
        self, rgb: npt.NDArray[np.uint8], narration: str, names: Sequence[str]
    ) -> list[DrawnObject]:
        """Objects of a picture.

        Args:
            rgb: uint8 [H, W, 3].
            narration: What is being done.
            names: Objects that may be there; what is beyond `MAX_OBJECTS` is left out.
        """
        prompt = Prompt(clean_narration(narration).text, clean_names(names)[:MAX_OBJECTS])
        # Pictures of one action share their prompt.
        if self._encoded is None or self._encoded.prompt != prompt:
            self._encoded = self._segmenter.encode(prompt)
        result = self._segmenter.segment(rgb, self._encoded)
        return [
            DrawnObject(
                name,
                result.labels == index + 1,
                bool(result.active[index] >= self._active),
                float(result.objectness[index]),
            )
            for index, name in enumerate(prompt.names)
        ]
