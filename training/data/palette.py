"""Label images: 8-bit palette PNGs whose pixel value is the label, with the VOC/DAVIS colours."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from actiseg_ros.errors import ActisegError
from training.files.disk import replacing

UInt8 = npt.NDArray[np.uint8]


@lru_cache(maxsize=1)
def voc_palette() -> bytes:
    """The 256 colours of the PASCAL VOC and DAVIS label images, 768 bytes of RGB.

    The bits of a label are dealt out in turn to red, green and blue, highest colour bit first, so
    that neighbouring labels get clearly different colours.
    """
    labels = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            level = (labels >> channel) & 1
            colours[:, channel] |= (level << (7 - bit)).astype(np.uint8)
        labels >>= 3
    return colours.tobytes()


def write_label_png(path: Path, labels: UInt8) -> None:
    """Writes a label map as a palette PNG; the file appears complete or not at all.

    Args:
        path: File to write.
        labels: uint8 [H, W].
    """
    image = Image.frombytes("P", (labels.shape[1], labels.shape[0]), labels.tobytes())
    image.putpalette(voc_palette())
    with replacing(path) as temporary:
        # Half of Pillow's default time to write and two thirds to read, which every epoch does.
        image.save(temporary, format="PNG", compress_level=3)


def read_label_png(path: Path) -> UInt8:
    """Reads a palette or grey label image.

    Returns:
        Labels, uint8 [H, W]; not writable.

    Raises:
        ActisegError: If the file is missing, no image or has colours instead of labels.
    """
    try:
        with Image.open(path) as image:
            if image.mode not in ("P", "L", "1"):
                raise ActisegError(
                    f"{path}: mode {image.mode} holds colours; expected labels (P, L)"
                )
            return np.asarray(image, dtype=np.uint8)
    except FileNotFoundError as error:
        raise ActisegError(f"{path}: not found; every frame of the split needs one") from error
    except (OSError, SyntaxError, ValueError) as error:
        raise ActisegError(f"{path}: not a readable label image ({error})") from error
