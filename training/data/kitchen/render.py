"""Composes frames: background, shadows, sprites, motion blur, exposure and noise."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.motion import Affine, chain
from training.data.kitchen.painter import RESOLUTION
from training.data.kitchen.scene import Moment, Placed
from training.data.kitchen.shapes.registry import SILHOUETTE
from training.data.kitchen.style import Style
from training.data.kitchen.worktop import HEIGHT, MARGIN, WIDTH

_SCALE = 0.5
SIZE = (int(WIDTH * _SCALE), int(HEIGHT * _SCALE))
_DRIFT = 40
"""Reserve of the noise pattern, which is shifted at random from frame to frame."""
_WIDE = 2.3
"""Spread of the cameras of randomised kitchens."""
_LIGHT = np.array([0.75, 1.0])
"""Direction in which shadows fall, scene axes."""

Image = NDArray[np.float32]


def _to_canvas(matrix: Affine, origin: tuple[float, float], pixel: float) -> Affine:
    """From sprite canvas pixels to composition pixels."""
    place = np.array([[pixel, 0, -origin[0]], [0, pixel, -origin[1]]])
    m = chain(matrix, place) * _SCALE
    m[:, 2] += 0.5 * m[:, :2].sum(1) - 0.5
    return m


def _region(
    matrix: Affine, shape: tuple[int, ...], pad: int = 2
) -> tuple[int, int, int, int] | None:
    corners = (
        np.array([[0, 0], [shape[1], 0], [0, shape[0]], [shape[1], shape[0]]]) @ matrix[:, :2].T
        + matrix[:, 2]
    )
    x0, y0 = np.maximum(np.floor(corners.min(0)).astype(int) - pad, 0)
    x1, y1 = np.minimum(np.ceil(corners.max(0)).astype(int) + pad, SIZE)
    return None if x1 <= x0 or y1 <= y0 else (int(x0), int(y0), int(x1), int(y1))


def _shadow(image: Image, item: Placed, strength: float) -> None:
    height = 0.35 * item.sprite.stance.height + item.lift
    small = cv2.GaussianBlur(item.sprite.silhouette, (0, 0), 1.0 + height / 28)
    shift = _to_canvas(item.matrix, item.sprite.origin, item.sprite.pixel)
    matrix = chain(shift, SILHOUETTE)
    matrix[:, 2] += _LIGHT * (3 + height * 0.32) * _SCALE
    box = _region(matrix, small.shape)
    if box is None:
        return
    x0, y0, x1, y1 = box
    matrix[:, 2] -= (x0, y0)
    a = cv2.warpAffine(small, matrix, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR)
    image[y0:y1, x0:x1] *= (1 - strength * a)[..., None]


def _lay(image: Image, item: Placed, blur: NDArray[np.float32] | None) -> None:
    matrix = _to_canvas(item.matrix, item.sprite.origin, item.sprite.pixel)
    box = _region(matrix, item.sprite.alpha.shape, 2 if blur is None else 2 + max(blur.shape))
    if box is None:
        return
    x0, y0, x1, y1 = box
    matrix[:, 2] -= (x0, y0)
    size = (x1 - x0, y1 - y0)
    a = cv2.warpAffine(item.sprite.alpha, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    rgb = cv2.warpAffine(
        item.sprite.rgb, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    if blur is not None:
        rgb = cv2.filter2D(rgb * a, -1, blur)
        a = cv2.filter2D(a, -1, blur)[..., None]
        image[y0:y1, x0:x1] *= 1 - a
        image[y0:y1, x0:x1] += rgb
        return
    view = image[y0:y1, x0:x1]
    view += a * (rgb - view)


def streak(dx: float, dy: float) -> NDArray[np.float32] | None:
    """Kernel of a straight motion blur of dx, dy composition pixels; None if there is none."""
    length = float(np.hypot(dx, dy))
    if length < 1.5:
        return None
    n = int(length) // 2 * 2 + 1
    kernel = np.zeros((n, n), np.float32)
    c, u = n // 2, np.array([dx, dy]) / length * (n // 2)
    ends = [[round(float(v)) for v in c - u], [round(float(v)) for v in c + u]]
    cv2.line(kernel, ends[0], ends[1], 1.0, 1, cv2.LINE_AA)
    return kernel / kernel.sum()


class Lens:
    """Exposure, colour cast, vignette, focus and noise of one camera.

    Args:
        rng: Random numbers of the camera.
        spread: How far cameras differ, 1 as ever; above it, some lamps shine on parts of the view.
    """

    def __init__(self, rng: np.random.Generator, spread: float = 1.0) -> None:
        def draw(low: float, high: float, size: int | None = None) -> NDArray[np.floating]:
            more = (spread - 1) * (high - low) / 2
            return np.asarray(np.maximum(rng.uniform(low - more, high + more, size), 0.0))

        y, x = np.mgrid[-1 : 1 : SIZE[1] * 1j, -1 : 1 : SIZE[0] * 1j].astype(np.float32)
        self._vignette = (1 - float(draw(0.05, 0.3)) * (x * x + y * y) / 2)[..., None].astype(
            np.float32
        )
        self._cast = draw(0.94, 1.06, 3).astype(np.float32)
        self._exposure = float(draw(0.78, 1.18))
        self._gamma = float(draw(0.9, 1.15))
        self._focus = float(draw(0.0, 0.9))
        coarse = (SIZE[0] // 2 + _DRIFT, SIZE[1] // 2 + _DRIFT)
        strength = np.float32(draw(1.5, 6.0))
        grain = strength * rng.standard_normal((*coarse[::-1], 3), dtype=np.float32)
        self._grain = cv2.resize(grain, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
        if spread > 1:
            lamps = rng.uniform(0.6, 1.3, (2, 3)).astype(np.float32)
            self._vignette *= cv2.resize(lamps, SIZE, interpolation=cv2.INTER_CUBIC)[..., None]

    def expose(self, image: Image, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Turn light into an 8-bit picture; the exposure drifts a little from frame to frame."""
        if self._focus > 0.35:
            image = cv2.GaussianBlur(image, (0, 0), self._focus)
        image = image * (self._vignette * (self._cast * self._exposure * rng.uniform(0.96, 1.04)))
        x, y = rng.integers(0, 2 * _DRIFT, 2)
        image += self._grain[y : y + SIZE[1], x : x + SIZE[0]]
        table = (255 * (np.arange(256) / 255) ** self._gamma).astype(np.uint8)
        return cv2.LUT(np.clip(image, 0, 255).astype(np.uint8), table)


def lens_of(style: Style, seed: tuple[int, ...]) -> Lens:
    """The camera of a video."""
    spread = _WIDE if style == "randomised" else 1.0
    return Lens(np.random.default_rng([*seed, 2]), spread)


def render(
    worktop: Image,
    moment: Moment,
    *,
    hands: bool = True,
    shadow: float = 0.45,
    smear: NDArray[np.float32] | None = None,
    hand_smear: NDArray[np.float32] | None = None,
) -> Image:
    """Compose one frame.

    Args:
        worktop: From ``draw_worktop``.
        moment: What is where.
        hands: False paints the hands out: what lies under them is drawn instead.
        shadow: Darkness of cast shadows, 0 to 1.
        smear: Motion blur kernel of the whole picture.
        hand_smear: Additional motion blur kernel of the hands.

    Returns:
        float32 [540, 960, 3], BGR, not clipped.
    """
    back = _to_canvas(moment.camera, (MARGIN, MARGIN), 1 / RESOLUTION)
    image = cv2.warpAffine(
        worktop, back, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
    )
    for item in moment.placed:
        hand = item.thing is None
        if hand and not hands:
            continue
        _shadow(image, item, shadow)
        _lay(image, item, hand_smear if hand else None)
    return image if smear is None else cv2.filter2D(image, -1, smear)
