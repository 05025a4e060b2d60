"""What stays the same within a video: worktop, clutter, light, camera, hands and objects."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from actiseg_ros.prompts import HANDS
from training.data.kitchen.motion import Affine, chain
from training.data.kitchen.painter import RESOLUTION
from training.data.kitchen.render import SIZE, Lens, streak
from training.data.kitchen.worktop import draw_worktop, scatter
from training.data.labels import ANNOTATED_WIDTH, Entity
from training.data.surfaces.compose import Image, Light, lay
from training.data.surfaces.looks import (
    Surface,
    class_look,
    generator,
    instance_look,
    skin_look,
    surface,
)

_SCALE = SIZE[0] / ANNOTATED_WIDTH
_VIEW_FRAMES = 6
"""Frames that look at the same place; VISOR's subsequences have about six."""
_CLUTTER = 1 << 20
"""Class ids of unlabelled things begin here, so that none has the look of a class."""


class World:
    """Everything in a video that its annotations do not say.

    Args:
        seed: Other seeds give other worktops, clutter, light, hands and object instances.
        family: Family of the looks of classes.
        video: Its name; the part before `_` is the participant, whose hands stay the same.
    """

    def __init__(self, seed: int, family: int, video: str) -> None:
        self._seed, self._family, self._video = seed, family, video
        rng = self._generator("light")
        # From the upper half, as lamps and windows are.
        angle = rng.uniform(0.15, 0.85) * np.pi
        self._light = Light(
            float(np.cos(angle)),
            float(np.sin(angle)),
            float(rng.uniform(0.5, 1.0)),
            float(rng.uniform(0.25, 0.55)),
        )
        self._lens = Lens(self._generator("lens"))
        self._surfaces: dict[tuple[str, int], Surface] = {}

    def frame(self, index: int, name: str, entities: Sequence[Entity]) -> NDArray[np.uint8]:
        """Paints one frame.

        Args:
            index: Its place among the video's annotated frames.
            name: Its name, unique in the video.
            entities: Its objects; later ones cover earlier ones.

        Returns:
            uint8 [540, 960, 3], BGR.
        """
        rng = self._generator("frame", name)
        image = self.light_of(index, self.background(index, rng))
        self.lay(image, entities)
        image = self._shake(image, rng)
        return self._lens.expose(image, rng)

    def background(self, index: int, rng: np.random.Generator) -> Image:
        """The worktop with clutter as seen in one frame, float32 [540, 960, 3]."""
        matrix = chain(_hand_held(rng), self._view(index // _VIEW_FRAMES))
        return cv2.warpAffine(
            self._worktop, matrix, SIZE, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT
        )

    def lay(self, image: Image, entities: Sequence[Entity]) -> None:
        """Paints objects over a picture in their order."""
        for entity in entities:
            lay(image, entity.polygons, self.surface(entity.name, entity.class_id), self._light,
                _SCALE)  # fmt: skip

    def light_of(self, index: int, image: Image) -> Image:
        """A picture in the light of its place: brighter on one side, or in a corner."""
        rng = self._generator("lamp", index // _VIEW_FRAMES)
        corners = rng.uniform(0.72, 1.15, (2, 2)).astype(np.float32)
        return image * cv2.resize(corners, SIZE, interpolation=cv2.INTER_LINEAR)[..., None]

    def surface(self, name: str, class_id: int) -> Surface:
        """What an object of the video is made of; the same in all its frames."""
        key = name, class_id
        if key not in self._surfaces:
            self._surfaces[key] = self._new_surface(name, class_id)
        return self._surfaces[key]

    def _new_surface(self, name: str, class_id: int) -> Surface:
        if name in HANDS:
            person = generator("person", self._seed, self._video.partition("_")[0])
            return surface(skin_look(person), person)
        where = (self._seed, self._video)
        look = instance_look(
            class_look(class_id, self._family), class_id, name, self._family, *where
        )
        return surface(look, self._generator("surface", class_id, name))

    def _generator(self, *keys: int | str) -> np.random.Generator:
        return generator(self._seed, self._video, *keys)

    @cached_property
    def _worktop(self) -> Image:
        """The whole worktop with things on it that nobody has labelled."""
        rng = self._generator("worktop")
        canvas = draw_worktop(rng)
        scatter(canvas, self._light, self._clutter, rng)
        return canvas

    def _clutter(self, number: int, kind: int) -> Surface:
        look = class_look(_CLUTTER + kind, self._family)
        return surface(look, self._generator("clutter", number))

    def _view(self, place: int) -> Affine:
        """From the worktop's canvas to the picture, at one place of the kitchen."""
        rng = self._generator("view", place)
        height, width = self._worktop.shape[:2]
        zoom = _SCALE / RESOLUTION * rng.uniform(1.0, 1.5)
        angle = rng.normal(0, 0.12)
        c, s = zoom * np.cos(angle), zoom * np.sin(angle)
        turn = np.array([[c, -s], [s, c]]) @ np.diag([rng.choice([-1.0, 1.0]), 1.0])
        middle = np.array([width, height]) * (0.5 + rng.uniform(-0.22, 0.22, 2))
        return np.column_stack([turn, np.array(SIZE) / 2 - turn @ middle])

    def _shake(self, image: Image, rng: np.random.Generator) -> Image:
        """Motion blur, in some frames."""
        length = max(0.0, rng.normal(0, 4))
        angle = rng.uniform(0, 2 * np.pi)
        kernel = streak(length * np.cos(angle), length * np.sin(angle))
        return image if kernel is None else cv2.filter2D(image, -1, kernel)


def _hand_held(rng: np.random.Generator) -> Affine:
    """Small movements of the camera between the frames of one place."""
    angle, zoom = rng.normal(0, 0.03), np.exp(rng.normal(0, 0.03))
    c, s = zoom * np.cos(angle), zoom * np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    middle = np.array(SIZE) / 2
    return np.column_stack([turn, middle - turn @ middle + rng.normal(0, 14, 2)])
