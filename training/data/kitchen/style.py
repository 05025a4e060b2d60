"""Other ways to draw the same kitchen than the usual one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from actiseg_ros.errors import ActisegError

Style = Literal["plain", "randomised", "ink", "infrared"]
"""`plain` as ever; `randomised`: other surfaces, clutter, hands, light and lens in every video
(`training.data.kitchen.randomised`); `ink`: flat colours of another palette with dark outlines;
`infrared`: grey, the bright things dark, with glowing edges."""
STYLES: tuple[Style, ...] = get_args(Style)

Image = NDArray[np.float32]

_LEVELS = 6
_PALETTE = np.array([[0.25, 0.6, 0.2], [0.55, 0.1, 0.4], [0.2, 0.35, 0.5]], np.float32)
"""Blue, green and red of `ink` as mixtures of blue, green and red; rows add up to about 1."""


def _edges(grey: NDArray[np.uint8]) -> Image:
    """Strength of the outlines, float32 [H, W] in [0, 1]."""
    soft = cv2.GaussianBlur(grey, (0, 0), 1.0).astype(np.float32)
    strength = np.hypot(cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1))
    return np.asarray(np.clip((strength - 30) / 60, 0, 1), np.float32)


def _ink(image: Image) -> Image:
    flat = cv2.medianBlur(np.clip(image, 0, 255).astype(np.uint8), 5)
    lines = _edges(cv2.cvtColor(flat, cv2.COLOR_BGR2GRAY))
    mixed = flat.astype(np.float32) @ _PALETTE.T
    step = 255 / (_LEVELS - 1)
    painted = 90 + 165 * (np.round(mixed / step) * step) / 255
    return np.asarray(painted * (1 - 0.9 * lines[..., None]), np.float32)


def _infrared(image: Image) -> Image:
    flat = np.clip(image, 0, 255).astype(np.uint8)
    grey = cv2.cvtColor(flat, cv2.COLOR_BGR2GRAY)
    glow = cv2.GaussianBlur(_edges(grey), (0, 0), 2.0)
    dark = 30 + 0.7 * (255 - grey.astype(np.float32)) + 90 * glow
    return np.asarray(np.repeat(dark[..., None], 3, axis=2), np.float32)


_DRAWN: Mapping[str, Callable[[Image], Image]] = {"ink": _ink, "infrared": _infrared}


def check_style(style: str) -> None:
    """Refuses a style that there is not.

    Raises:
        ActisegError: Naming those that there are.
    """
    if style not in STYLES:
        raise ActisegError(f"style: {style!r}; there are {', '.join(STYLES)}")


def restyled(image: Image, style: Style) -> Image:
    """The composed picture in another style; nothing moves, so annotations stay true.

    Args:
        image: float32 [H, W, 3], BGR, about 0 to 255.
        style: How it is drawn.

    Returns:
        float32 [H, W, 3]; `image` itself for `plain` and `randomised`, whose parts were drawn so.
    """
    return _DRAWN[style](image) if style in _DRAWN else image
