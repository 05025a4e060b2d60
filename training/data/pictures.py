"""Pictures of a data set: read strictly, and made into what a network reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from actiseg_ros.bags.orientation import UPRIGHT, of_picture
from actiseg_ros.errors import ActisegError, ImageError
from actiseg_ros.vision.compressed import decode_compressed
from training.data.palette import read_label_png

UInt8 = npt.NDArray[np.uint8]

SUFFIXES = frozenset({".jpg", ".jpeg", ".png"})
"""Of the files that are read, in lower case."""


def pictures_below(folder: Path) -> list[Path]:
    """JPEG and PNG files of a folder and of those below it, sorted.

    Raises:
        ActisegError: There is none.
    """
    listed = folder.rglob("*") if folder.is_dir() else ()
    found = sorted(path for path in listed if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        raise ActisegError(f"{folder}: no JPEG or PNG picture there; is --images right?")
    return found


def decode_upright(content: bytes) -> tuple[UInt8, bool]:
    """Decodes a JPEG or PNG and turns it as its EXIF orientation says, if that can be read.

    Returns:
        RGB, uint8 [H, W, 3], and whether it was upright already.

    Raises:
        ImageError: It is damaged.
    """
    try:
        rgb = decode_compressed(content)
    except ImageError as error:
        what = str(error).partition("; ")[0]
        raise ImageError(f"cannot be decoded: {what}; copy it again") from error
    orientation = of_picture(content)
    return orientation.upright(rgb), orientation == UPRIGHT


def read_rgb(path: Path) -> UInt8:
    """Reads a JPEG or PNG; what is damaged is refused, never filled in.

    Returns:
        RGB, uint8 [H, W, 3].

    Raises:
        ActisegError: If the file is missing or damaged.
    """
    try:
        return decode_compressed(path.read_bytes())
    except FileNotFoundError as error:
        raise ActisegError(f"{path}: not found; the split lists this frame") from error
    except (OSError, ImageError) as error:
        raise ActisegError(f"{path}: not a readable picture ({error})") from error


def read_clip(paths: Sequence[Path]) -> list[UInt8]:
    """Reads the frames of a clip, RGB, uint8 [H, W, 3] each.

    Raises:
        ActisegError: If a file is missing or damaged, or they differ in size.
    """
    frames: list[UInt8] = []
    for path in paths:
        frame = read_rgb(path)
        if frames and frame.shape != frames[0].shape:
            raise ActisegError(
                f"{path}: has {frame.shape[1]}x{frame.shape[0]} pixels, the first frame of its "
                f"clip {frames[0].shape[1]}x{frames[0].shape[0]}; a clip needs frames of one size"
            )
        frames.append(frame)
    return frames


def read_labels(path: Path, picture: Path, size: Sequence[int]) -> UInt8:
    """Reads the label image of a picture.

    Args:
        path: The label image.
        picture: File of the picture, for messages.
        size: Of the picture: height and width, pixels.

    Returns:
        Labels, uint8 [H, W]; not writable.

    Raises:
        ActisegError: If the file is missing, no label image or not of the picture's size.
    """
    labels = read_label_png(path)
    if labels.shape != tuple(size):
        raise ActisegError(
            f"{path}: has {labels.shape[1]}x{labels.shape[0]} pixels, its picture {picture} "
            f"{size[1]}x{size[0]}; prepare the data anew, so that both have one size"
        )
    return labels


def normalise(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scales pictures to [0, 1], takes off the mean and divides by the standard deviation.

    Args:
        frames: RGB, uint8 [..., 3, H, W].
        mean: Of each channel.
        std: Of each channel.

    Returns:
        float32 [..., 3, H, W].
    """
    off, scale = (
        torch.tensor(values).to(frames.device, non_blocking=True)[:, None, None]
        for values in (mean, std)
    )
    return frames.float().div_(255).sub_(off).div_(scale)
