"""Composes painted frames: objects as shaded, patterned surfaces over a background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.surfaces.looks import Surface

Image = NDArray[np.float32]
"""[H, W, 3], BGR, 0 to 255, changed in place."""
Outline = NDArray[np.floating] | NDArray[np.int32]
"""[N, 2], x before y."""
_SHIFT = 4
_FAR = 16_000
"""Corners beyond this (picture pixels) are drawn here: OpenCV's fixed point ends at 2^27."""
_TYPICAL = 300.0
"""Side of an object, in pixels of 1920x1080, on which patterns have their own scale."""


@dataclass(frozen=True)
class Light:
    """Where the light comes from."""

    x: float
    """Direction that shadows fall to; x and y have length 1."""
    y: float
    strength: float
    """How strongly it shades, 0 to 1."""
    shadow: float
    """Darkness of shadows, 0 to 1."""


@dataclass(frozen=True)
class _Patch:
    """A shape on the part of the picture that it, its shadow and its edge can reach."""

    rows: slice
    columns: slice
    mask: NDArray[np.uint8]
    """Coverage, 0 to 255."""


def lay(
    image: Image,
    outline: Sequence[Outline],
    surface: Surface,
    light: Light,
    scale: float,
) -> None:
    """Paints one object over a picture.

    Args:
        image: The picture.
        outline: Polygons [N, 2] in whole pixels of 1920x1080 (or of another plane), filled
            even-odd together as the label maps are.
        surface: What the object is made of.
        light: Light of the scene.
        scale: Picture pixels per pixel of the outline's plane.
    """
    height = surface.look.height * scale
    patch = _patch(image.shape[:2], outline, scale, 4 + int(1.5 * height))
    if patch is None or not patch.mask.any():
        return
    view = image[patch.rows, patch.columns]
    cover = patch.mask.astype(np.float32) / np.float32(255)
    _shadow(view, cover, light, height)
    color = _textured(patch.mask, surface, scale)
    _shade(color, patch.mask, surface, light, scale)
    soft = cv2.GaussianBlur(cover, (3, 3), 0.6)[..., None]
    view += soft * (color - view)


def cover(
    image: Image, mask: NDArray[np.float32], surface: Surface, scale: float, share: float
) -> None:
    """Gives what is drawn another surface, and leaves its light and shade.

    Args:
        image: The drawing, changed in place.
        mask: Where, [H, W] in [0, 1].
        surface: What it is covered with; its pattern is fixed to the drawing's corner.
        scale: Drawing pixels per pixel of 1920x1080.
        share: How much of its own colours it loses, 0 to 1; at 0 the pattern only shimmers through.
    """
    total = float(mask.sum())
    if total <= 0:
        return
    zoom = 1 / (surface.look.scale * scale)
    c, s = zoom * np.cos(surface.angle), zoom * np.sin(surface.angle)
    matrix = np.array([[c, -s, surface.shift[0]], [s, c, surface.shift[1]]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tile = cv2.warpAffine(
        surface.tile, matrix, mask.shape[::-1], flags=flags, borderMode=cv2.BORDER_WRAP
    )
    own = cv2.cvtColor(np.clip(image, 0, 255) / np.float32(255), cv2.COLOR_BGR2LAB)
    new = cv2.cvtColor(tile / np.float32(255), cv2.COLOR_BGR2LAB)
    mean = float((own[..., 0] * mask).sum()) / total
    kept = own + np.float32(0.5) * (new - new.mean((0, 1)))
    # Light and shade are the drawing's: lightness relative to its mean.
    new[..., 0] *= np.clip(own[..., 0] / max(mean, 5.0), 0.2, 2)
    mixed = kept + np.float32(share) * (new - kept)
    mixed[..., 0] = np.clip(mixed[..., 0], 0, 100)
    color = cv2.cvtColor(mixed, cv2.COLOR_LAB2BGR) * np.float32(255)
    image += mask[..., None] * (color - image)


def _patch(
    shape: tuple[int, ...], outline: Sequence[Outline], scale: float, margin: int
) -> _Patch | None:
    if not outline:
        return None
    # A corner (x, y) is the middle of its pixel, in both planes.
    polygons = [
        (np.clip(np.asarray(p, np.float64), -_FAR, _FAR) + 0.5) * scale - 0.5 for p in outline
    ]
    corners = np.concatenate(polygons)
    low = np.maximum(np.floor(corners.min(0)).astype(int) - margin, 0)
    high = np.minimum(np.ceil(corners.max(0)).astype(int) + 1 + margin, (shape[1], shape[0]))
    if (high <= low).any():
        return None
    mask = np.zeros((high[1] - low[1], high[0] - low[0]), np.uint8)
    points = [np.round((p - low) * 2**_SHIFT).astype(np.int32) for p in polygons]
    cv2.fillPoly(mask, points, 255, cv2.LINE_AA, _SHIFT)
    return _Patch(slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])), mask)


def _shadow(view: Image, cover: NDArray[np.float32], light: Light, height: float) -> None:
    """Darkens what lies behind an object, near it and on the side away from the light."""
    blurred = cv2.GaussianBlur(cover, (0, 0), max(0.8, 0.35 * height))
    move = np.array([[1, 0, light.x * 0.7 * height], [0, 1, light.y * 0.7 * height]])
    moved = cv2.warpAffine(blurred, move, cover.shape[::-1], borderMode=cv2.BORDER_REPLICATE)
    view *= (1 - light.shadow * np.maximum(moved, 0.5 * blurred))[..., None]


def _textured(mask: NDArray[np.uint8], surface: Surface, scale: float) -> Image:
    """The surface's pattern, fixed to the middle and the size of a shape."""
    moments = cv2.moments(mask, binaryImage=True)
    area = max(moments["m00"], 1.0)
    x, y = moments["m10"] / area, moments["m01"] / area
    # Larger in the picture mostly means nearer; large things also tend to be large-patterned.
    grown = (np.sqrt(area) / (_TYPICAL * scale)) ** 0.5
    zoom = 1 / (surface.look.scale * scale * float(np.clip(grown, 0.5, 1.8)))
    c, s = zoom * np.cos(surface.angle), zoom * np.sin(surface.angle)
    u, v = surface.shift
    matrix = np.array([[c, -s, u - c * x + s * y], [s, c, v - s * x - c * y]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        surface.tile, matrix, mask.shape[::-1], flags=flags, borderMode=cv2.BORDER_WRAP
    )


def _shade(
    color: Image, mask: NDArray[np.uint8], surface: Surface, light: Light, scale: float
) -> None:
    """Lights a surface as if it bulged towards the viewer, and darkens its edge."""
    look = surface.look
    distance = cv2.distanceTransform((mask > 127).astype(np.uint8), cv2.DIST_L2, 3)
    middle = float(distance.max())
    if middle <= 0:
        return
    width = min(middle, (20 + 130 * look.relief) * scale)
    inward = 1 - np.minimum(distance / np.float32(width), 1)
    bulge = np.sqrt(1 - inward * inward) * np.float32(width)
    bulge = cv2.GaussianBlur(bulge, (0, 0), max(0.8, 0.12 * width))
    slope = cv2.Sobel(bulge, cv2.CV_32F, 1, 0, scale=light.x / 8)
    slope += cv2.Sobel(bulge, cv2.CV_32F, 0, 1, scale=light.y / 8)
    # The lit side rises in the direction of the light, the other one falls.
    facing = np.clip(slope, -1, 1) * np.float32(light.strength * (0.35 + 0.65 * look.relief))
    edge = 1 - np.float32(0.3) * inward * inward
    color *= ((1 + np.float32(0.45) * facing) * edge)[..., None]
    if look.gloss > 0:
        peak = np.clip((facing - 0.25) * 3, 0, 1) ** 2
        color += (np.float32(90 * look.gloss) * peak)[..., None]
