"""Seamless patterns: how a surface mixes its two colours."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

TILE = 256
"""Side of a pattern in its own pixels; every pattern continues seamlessly over its borders."""

Field = NDArray[np.float32]
"""[TILE, TILE]: share of the second colour, 0 to 1."""
Pattern = Callable[[np.random.Generator], Field]

PATTERNS: dict[str, Pattern] = {}


def _pattern(function: Pattern) -> Pattern:
    PATTERNS[function.__name__.removeprefix("_")] = function
    return function


def seamless_noise(cells_y: int, cells_x: int, rng: np.random.Generator) -> Field:
    """Band-limited noise [TILE, TILE] in about -1 to 1 with so many features along each side."""
    coarse = rng.uniform(-1, 1, (cells_y, cells_x)).astype(np.float32)
    around = np.pad(coarse, 2, mode="wrap")
    size = (TILE * (cells_x + 4) // cells_x, TILE * (cells_y + 4) // cells_y)
    large = cv2.resize(around, size, interpolation=cv2.INTER_CUBIC)
    y, x = 2 * TILE // cells_y, 2 * TILE // cells_x
    return np.ascontiguousarray(large[y : y + TILE, x : x + TILE])


def _grid() -> tuple[Field, Field]:
    """Coordinates x and y, 0 to 1 over the tile."""
    y, x = np.mgrid[0:TILE, 0:TILE].astype(np.float32) / TILE
    return x, y


def _step(distance: Field, softness: float = 0.04) -> Field:
    """0 to 1 as a signed distance grows through zero."""
    return np.clip(distance / softness + 0.5, 0, 1).astype(np.float32)


def _wave(t: Field) -> Field:
    """Triangle wave of period 1 from 0 to 1."""
    return np.abs((t % 1) * 2 - 1)


@_pattern
def _plain(rng: np.random.Generator) -> Field:
    return np.clip(0.1 + 0.1 * seamless_noise(4, 4, rng), 0, 1)


@_pattern
def _clouds(rng: np.random.Generator) -> Field:
    noise = seamless_noise(4, 4, rng) + 0.5 * seamless_noise(16, 16, rng)
    return np.clip(0.5 + 0.6 * noise, 0, 1)


@_pattern
def _blotches(rng: np.random.Generator) -> Field:
    return _step(seamless_noise(8, 8, rng) + 0.3 * seamless_noise(32, 32, rng), 0.12)


@_pattern
def _speckles(rng: np.random.Generator) -> Field:
    return _step(seamless_noise(64, 64, rng) - 0.45, 0.3)


@_pattern
def _veins(rng: np.random.Generator) -> Field:
    ridge = np.abs(seamless_noise(4, 4, rng) + 0.45 * seamless_noise(16, 16, rng))
    return np.exp(-((ridge / 0.09) ** 2)).astype(np.float32)


@_pattern
def _grain(rng: np.random.Generator) -> Field:
    _, y = _grid()
    bent = y * 8 + 0.35 * seamless_noise(4, 2, rng)
    rings = _wave(bent.astype(np.float32))
    return np.clip(0.7 * rings + 0.4 * seamless_noise(128, 4, rng), 0, 1)


@_pattern
def _brushed(rng: np.random.Generator) -> Field:
    return np.clip(0.4 + 0.5 * seamless_noise(128, 2, rng), 0, 1)


@_pattern
def _stripes(rng: np.random.Generator) -> Field:
    _, y = _grid()
    return _step(_wave(y * 8) - 0.5, 0.16)


@_pattern
def _bands(rng: np.random.Generator) -> Field:
    _, y = _grid()
    thin = _step(_wave(y * 4) - 0.82, 0.08)
    return np.maximum(thin, _step(0.12 - _wave(y * 4), 0.08))


@_pattern
def _checks(rng: np.random.Generator) -> Field:
    x, y = _grid()
    return (0.5 * _step(_wave(x * 6) - 0.5, 0.12) + 0.5 * _step(_wave(y * 6) - 0.5, 0.12)).astype(
        np.float32
    )


@_pattern
def _board(rng: np.random.Generator) -> Field:
    x, y = _grid()
    a, b = _step(_wave(x * 6) - 0.5, 0.1), _step(_wave(y * 6) - 0.5, 0.1)
    return a + b - 2 * a * b


@_pattern
def _dots(rng: np.random.Generator) -> Field:
    x, y = _grid()
    row = np.floor(y * 10) % 2
    dx, dy = (x * 10 + 0.5 * row) % 1 - 0.5, (y * 10) % 1 - 0.5
    return _step((0.3 - np.hypot(dx, dy)).astype(np.float32), 0.12)


@_pattern
def _rings(rng: np.random.Generator) -> Field:
    x, y = _grid()
    dx, dy = (x * 4) % 1 - 0.5, (y * 4) % 1 - 0.5
    return _step((0.1 - np.abs(np.hypot(dx, dy) - 0.32)).astype(np.float32), 0.06)


@_pattern
def _net(rng: np.random.Generator) -> Field:
    x, y = _grid()
    return np.maximum(_step(_wave(x * 8) - 0.78, 0.12), _step(_wave(y * 8) - 0.78, 0.12))


@_pattern
def _bricks(rng: np.random.Generator) -> Field:
    x, y = _grid()
    row = np.floor(y * 8) % 2
    upright = _step(_wave((x * 4 + 0.5 * row).astype(np.float32)) - 0.88, 0.08)
    return np.maximum(upright, _step(_wave(y * 8) - 0.78, 0.14))


@_pattern
def _zigzag(rng: np.random.Generator) -> Field:
    x, y = _grid()
    return _step(_wave(y * 6 + 0.5 * _wave(x * 4)) - 0.5, 0.14)


@_pattern
def _weave(rng: np.random.Generator) -> Field:
    x, y = _grid()
    a, b = np.sin(2 * np.pi * 20 * x), np.sin(2 * np.pi * 20 * y)
    return np.clip(0.5 + 0.5 * a * b + 0.15 * seamless_noise(8, 8, rng), 0, 1).astype(np.float32)


@_pattern
def _flakes(rng: np.random.Generator) -> Field:
    coarse = rng.uniform(0, 1, (20, 20)).astype(np.float32)
    return cv2.resize(coarse, (TILE, TILE), interpolation=cv2.INTER_NEAREST)
