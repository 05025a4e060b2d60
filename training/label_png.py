"""Label images: PNG files with one label per pixel and the VOC palette."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.errors import ActisegError


def voc_palette() -> NDArray[np.uint8]:
    """The 256 colours of PASCAL VOC and DAVIS label images, uint8 [256, 3].

    Bits 0, 1, 2 of the label are the highest bits of red, green and blue, bits 3, 4, 5 the next
    ones, and so on.
    """
    labels = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for channel in range(3):
        for bit in range(8):
            source = 3 * bit + channel
            if source < 8:
                palette[:, channel] |= ((labels >> source & 1) << (7 - bit)).astype(np.uint8)
    return palette


_PALETTE = voc_palette().tobytes()


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Reads a label PNG (palette or grey) as uint8 [H, W].

    Raises:
        ActisegError: the file is missing, unreadable or not a label image.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise ActisegError(
                    f"{path} has mode {image.mode}; a label image must be palette or 8-bit grey"
                )
            return np.asarray(image, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ActisegError(f"{path} is missing; every frame of the split needs one") from error
    except (OSError, SyntaxError) as error:
        raise ActisegError(f"{path} cannot be read as an image: {error}") from error


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Writes a palette PNG; the file appears only when it is complete.

    Args:
        path: target; its folder is made.
        labels: uint8 [H, W].
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(np.ascontiguousarray(labels, np.uint8))
    image.putpalette(_PALETTE)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    image.save(partial, format="PNG")
    partial.replace(path)
