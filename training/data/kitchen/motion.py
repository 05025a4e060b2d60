"""Poses as functions of time: what sparse frames and videos are samples of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]
"""[2, 3] matrix that takes points of one frame to another."""


@dataclass(frozen=True)
class Pose:
    """Where a thing lies: scene pixels, degrees, and height over the worktop in scene pixels."""

    x: float
    y: float
    angle: float = 0.0
    lift: float = 0.0

    def matrix(self) -> Affine:
        """From the thing's own frame to the scene; a lifted thing is nearer and so larger."""
        a, s = np.deg2rad(self.angle), 1 + self.lift / 900
        c, d = s * np.cos(a), s * np.sin(a)
        return np.array([[c, -d, self.x], [d, c, self.y]])


def transform(matrix: Affine, points: NDArray[np.floating]) -> NDArray[np.float64]:
    """Apply an affine matrix to [N, 2] points."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def chain(outer: Affine, inner: Affine) -> Affine:
    """The affine matrix of ``inner`` followed by ``outer``."""
    return np.column_stack([outer[:, :2] @ inner[:, :2], outer[:, :2] @ inner[:, 2] + outer[:, 2]])


def smoothstep(t: float) -> float:
    """0 to 1 with zero slope at both ends."""
    t = min(1.0, max(0.0, t))
    return t * t * (3 - 2 * t)


@dataclass(frozen=True)
class Wiggle:
    """A periodic movement between two times, as in stirring or cutting."""

    start: float
    stop: float
    x: float
    y: float
    angle: float
    frequency: float

    def offset(self, t: float) -> tuple[float, float, float]:
        """Displacement x, y, angle at time t; fades in and out within a quarter of a second."""
        fade = smoothstep((t - self.start) / 0.25) * smoothstep((self.stop - t) / 0.25)
        phase = 2 * np.pi * self.frequency * (t - self.start)
        return (
            fade * self.x * np.sin(phase),
            fade * self.y * np.cos(phase),
            fade * self.angle * np.sin(phase),
        )


@dataclass
class Track:
    """Pose of a thing over time: key poses in time order, and wiggles."""

    keys: list[tuple[float, Pose]]
    wiggles: list[Wiggle] = field(default_factory=list)

    def move(self, t: float, pose: Pose) -> None:
        """Append a key pose; it must not lie before the last one.

        Raises:
            ValueError: If time runs backwards.
        """
        if t < self.keys[-1][0]:
            raise ValueError(f"key pose at {t} s lies before the last one at {self.keys[-1][0]} s")
        self.keys.append((t, pose))

    @property
    def last(self) -> Pose:
        """The final key pose."""
        return self.keys[-1][1]

    def at(self, t: float) -> Pose:
        """Pose at time t (seconds)."""
        before = self.keys[0][1]
        after, f = before, 0.0
        for (t0, p0), (t1, p1) in zip(self.keys, self.keys[1:], strict=False):
            if t >= t0:
                before, after, f = p0, p1, smoothstep((t - t0) / (t1 - t0)) if t1 > t0 else 1.0
        values = [
            a + f * (b - a)
            for a, b in zip(vars(before).values(), vars(after).values(), strict=True)
        ]
        for wiggle in self.wiggles:
            if wiggle.start <= t <= wiggle.stop:
                for k, d in enumerate(wiggle.offset(t)):
                    values[k] += d
        return Pose(*values)


@dataclass(frozen=True)
class Camera:
    """A head-worn camera: a fixed offset plus smooth sway."""

    x: float
    y: float
    angle: float
    zoom: float
    sway: float
    phases: tuple[float, ...]

    def matrix(self, t: float) -> Affine:
        """From the scene to 1920x1080 image pixels at time t (seconds)."""
        p = self.phases
        dx = self.x + self.sway * (np.sin(0.9 * t + p[0]) + 0.5 * np.sin(2.3 * t + p[1]))
        dy = self.y + self.sway * 0.7 * (np.sin(1.1 * t + p[2]) + 0.5 * np.sin(2.9 * t + p[3]))
        angle = self.angle + self.sway / 30 * np.sin(0.7 * t + p[4])
        a, s = np.deg2rad(angle), self.zoom * (1 + self.sway / 2500 * np.sin(0.5 * t + p[5]))
        linear = s * np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]])
        centre = np.array([960.0, 540.0])
        return np.column_stack([linear, centre + np.array([dx, dy]) - linear @ centre])


def draw_camera(rng: np.random.Generator) -> Camera:
    """A random camera: where the wearer looks and how calmly."""
    return Camera(
        x=rng.uniform(-70, 70),
        y=rng.uniform(-40, 40),
        angle=rng.uniform(-4, 4),
        zoom=rng.uniform(0.95, 1.08),
        sway=rng.uniform(6, 24),
        phases=tuple(rng.uniform(0, 6.28, 6)),
    )
