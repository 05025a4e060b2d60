"""How a stored picture is to be turned for display: videos' display matrices and pictures' EXIF."""

from __future__ import annotations

import io
import struct
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from actiseg_ros.bags.account import BagError

_EXIF_ORIENTATION = 0x0112
_ONE = 1 << 16
"""1 in the display matrix's fixed-point numbers."""


class Orientation(NamedTuple):
    """Directions of a stored picture's axes on the display.

    Attributes:
        right: Where the columns go: (right, down), one of them 1 or -1 and the other 0.
        down: Where the rows go.
    """

    right: tuple[int, int]
    down: tuple[int, int]

    def upright(self, picture: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Turns a picture [H, W, 3] as it is to be seen."""
        turned = picture
        if self.right[0] == 0:
            turned = turned.swapaxes(0, 1)
        if -1 in (self.right[0], self.down[0]):
            turned = turned[:, ::-1]
        if -1 in (self.right[1], self.down[1]):
            turned = turned[::-1]
        return np.ascontiguousarray(turned)

    def __str__(self) -> str:
        return _TOLD[self]


UPRIGHT = Orientation((1, 0), (0, 1))
_EXIF = {
    1: UPRIGHT,
    2: Orientation((-1, 0), (0, 1)),
    3: Orientation((-1, 0), (0, -1)),
    4: Orientation((1, 0), (0, -1)),
    5: Orientation((0, 1), (1, 0)),
    6: Orientation((0, 1), (-1, 0)),
    7: Orientation((0, -1), (-1, 0)),
    8: Orientation((0, -1), (1, 0)),
}
_TOLD = dict(
    zip(
        _EXIF.values(),
        (
            "as stored",
            "mirrored",
            "turned by 180 degrees",
            "flipped upside down",
            "mirrored and turned by 270 degrees clockwise",
            "turned by 90 degrees clockwise",
            "mirrored and turned by 90 degrees clockwise",
            "turned by 270 degrees clockwise",
        ),
        strict=True,
    )
)
_CLOCKWISE = {0: UPRIGHT, 90: _EXIF[6], 180: _EXIF[3], 270: _EXIF[8]}


def of_display_matrix(matrix: bytes) -> Orientation:
    """Orientation by the display matrix of a video (ISO 14496-12, `tkhd`).

    Args:
        matrix: Nine int32 in the machine's byte order, as FFmpeg hands them out.

    Raises:
        BagError: It turns by other than a multiple of 90 degrees.
    """
    a, b, _, c, d, *_ = struct.unpack("=9i", matrix)
    # Some cameras write a scale here too; only the directions matter.
    least = max(map(abs, (a, b, c, d))) // 100
    axes = [(value > least) - (value < -least) for value in (a, b, c, d)]
    found = Orientation((axes[0], axes[1]), (axes[2], axes[3]))
    if found not in _TOLD:
        values = ", ".join(f"{value / _ONE:g}" for value in (a, b, c, d))
        raise BagError(f"its display matrix ({values}) is no turn by a multiple of 90 degrees")
    return found


def of_rotate_tag(text: str) -> Orientation:
    """Orientation by the tag ``rotate`` of older videos: degrees clockwise.

    Raises:
        BagError: It is no multiple of 90.
    """
    try:
        return _CLOCKWISE[round(float(text)) % 360]
    except (KeyError, ValueError, OverflowError):
        raise BagError(f"its tag `rotate` is {text!r}, not a multiple of 90") from None


def of_picture(data: bytes) -> Orientation:
    """Orientation by the EXIF data of a JPEG or PNG file; upright if it has none that is valid."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of broken EXIF data, which are taken for none
            with Image.open(io.BytesIO(data)) as picture:
                value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error, Image.DecompressionBombError):
        return UPRIGHT
    return _EXIF.get(value, UPRIGHT) if isinstance(value, int) else UPRIGHT
