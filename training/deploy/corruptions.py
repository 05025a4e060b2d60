"""Images that lie: what cameras do wrong, for trying the gate."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.vision.compressed import decode_compressed, encode_jpeg

Rgb = npt.NDArray[np.uint8]
Corruption = Callable[[Rgb, np.random.Generator], Rgb]
"""Spoils an image uint8 [H, W, 3]; the result has the same shape."""


def occlusion(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """Something dark lies on the lens: a blurred ellipse over about a quarter of the image."""
    height, width = rgb.shape[:2]
    cover = np.zeros((height, width), np.float32)
    centre = (int(random.uniform(0.2, 0.8) * width), int(random.uniform(0.2, 0.8) * height))
    axes = (int(0.28 * width), int(0.35 * height))
    cv2.ellipse(cover, centre, axes, float(random.uniform(0, 180)), 0, 360, 1.0, -1)
    cover = cv2.GaussianBlur(cover, (0, 0), 0.025 * width)[..., None]
    return (rgb * (1 - cover) + random.integers(10, 90, 3) * cover).astype(np.uint8)


def darkness(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """A quarter of the light, with the sensor noise that comes with it."""
    dark = rgb * 0.25 + random.normal(0, 3, rgb.shape)
    return np.clip(dark, 0, 255).astype(np.uint8)


def blur(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """Out of focus: Gaussian, deviation 1 % of the width."""
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), 0.01 * rgb.shape[1]), np.uint8)


def noise(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """Gaussian noise of deviation 30 (of 255) in every channel."""
    return np.clip(rgb + random.normal(0, 30, rgb.shape), 0, 255).astype(np.uint8)


def jpeg(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """JPEG of quality 5."""
    return decode_compressed(encode_jpeg(np.ascontiguousarray(rgb), 5))


def channels(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """Red and blue exchanged, as by a wrong encoding."""
    return np.ascontiguousarray(rgb[..., ::-1])


def mirrored(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """Left and right exchanged."""
    return np.ascontiguousarray(rgb[:, ::-1])


def turned(rgb: Rgb, random: np.random.Generator) -> Rgb:
    """The camera hangs upside down."""
    return np.ascontiguousarray(rgb[::-1, ::-1])


CORRUPTIONS: Mapping[str, Corruption] = {
    function.__name__: function
    for function in (occlusion, darkness, blur, noise, jpeg, channels, mirrored, turned)
}
"""By name, as `actiseg gate-study --corruption` takes them."""

MOVES: Mapping[str, Callable[[Rgb], Rgb]] = {
    "mirrored": lambda labels: labels[:, ::-1],
    "turned": lambda labels: labels[::-1, ::-1],
}
"""What the corruptions that move pixels do to label images [H, W]."""
