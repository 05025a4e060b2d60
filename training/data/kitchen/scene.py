"""A scene: things and hands with their movements; a moment of it is what one frame shows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.hands import GRIPS, Person, draw_hand
from training.data.kitchen.motion import Affine, Camera, Track, chain, smoothstep, transform
from training.data.kitchen.shapes import Sprite
from training.data.kitchen.vocabulary import LEFT_HAND, RIGHT_HAND
from training.data.kitchen.worktop import HEIGHT, WIDTH

FINGERS = 100.0
"""Radius around a hand's origin that its fingers fill, for a hand of size 1."""
REACH = 0.55
"""Seconds that a hand takes to get to where it works."""


@dataclass
class Thing:
    """One object of the scene."""

    name: str
    class_id: int
    sprite: Sprite
    track: Track


@dataclass(frozen=True)
class Stay:
    """A hand at work between two times: in contact with a thing, or waiting at a point."""

    start: float
    stop: float
    thing: int | None
    point: tuple[float, float] = (0.0, 0.0)
    grip: float = 1.0


@dataclass
class Hand:
    """One hand over time; outside its stays it hangs out of view."""

    right: bool
    shoulder: float
    stays: list[Stay] = field(default_factory=list)


@dataclass(frozen=True)
class Placed:
    """A sprite in the picture at one moment."""

    name: str
    class_id: int
    sprite: Sprite
    matrix: Affine
    """From the sprite's frame to 1920x1080 image pixels."""
    lift: float
    thing: int | None
    """Index of the thing; None for hands."""
    waiting: bool = False
    """Whether it is a hand that touches nothing."""


@dataclass(frozen=True)
class Moment:
    """What the camera sees at one time, from back to front."""

    placed: tuple[Placed, ...]
    touched: frozenset[int]
    """Indices of the things that a hand touches."""
    camera: Affine

    def objects(self) -> Iterator[tuple[int, Placed]]:
        """Positions in the drawing order and the placed sprites."""
        return iter(enumerate(self.placed))


@dataclass
class Scene:
    """Things, hands and camera of one stretch of time."""

    things: list[Thing]
    hands: tuple[Hand, Hand]
    camera: Camera
    person: Person
    hand_sprites: dict[tuple[bool, float], Sprite]
    """Hands drawn so far, by right and grip; shared by the scenes of a video."""

    def outline(self, index: int, t: float) -> NDArray[np.float64]:
        """Outline points [N, 2] of a thing at time t, scene pixels."""
        thing = self.things[index]
        return transform(thing.track.at(t).matrix(), np.concatenate(thing.sprite.outline))

    def grip_point(self, index: int, t: float, shoulder: float) -> NDArray[np.float64]:
        """Scene point at which a hand from the given side would hold a thing at time t."""
        thing = self.things[index]
        matrix = thing.track.at(t).matrix()
        if thing.sprite.grip is not None:
            return transform(matrix, np.array([thing.sprite.grip]))[0]
        outline = self.outline(index, t)
        centre = matrix[:, 2]
        toward = elbow(centre, shoulder) - centre
        toward /= np.linalg.norm(toward)
        return centre + toward * 0.5 * float(((outline - centre) @ toward).max())

    def _tip(self, hand: Hand, t: float) -> tuple[NDArray[np.float64], float, int | None]:
        """Where the hand grips at time t, how closed it is, and what it touches."""
        hidden = np.array([hand.shoulder, HEIGHT + 520.0])

        def target(stay: Stay) -> NDArray[np.float64]:
            if stay.thing is None:
                return np.array(stay.point)
            return self.grip_point(stay.thing, min(max(t, stay.start), stay.stop), hand.shoulder)

        previous: Stay | None = None
        for stay in hand.stays:
            if t < stay.start:
                return self._travel(previous, stay, t, hidden, target)
            if t <= stay.stop:
                return target(stay), stay.grip, stay.thing
            previous = stay
        return self._travel(previous, None, t, hidden, target)

    @staticmethod
    def _travel(previous, following, t, hidden, target):  # type: ignore[no-untyped-def]
        leave = hidden if previous is None else target(previous)
        arrive = hidden if following is None else target(following)
        start = -np.inf if previous is None else previous.stop
        stop = np.inf if following is None else following.start
        if stop - start < 3 * REACH:
            f = smoothstep((t - start) / (stop - start)) if stop > start else 1.0
            return leave + f * (arrive - leave), 0.35, None
        if t - start < stop - t:
            return leave + smoothstep((t - start) / REACH) * (hidden - leave), 0.35, None
        return arrive + smoothstep((stop - t) / REACH) * (hidden - arrive), 0.35, None

    def _hand_sprite(self, right: bool, grip: float) -> Sprite:
        level = min(GRIPS, key=lambda g: abs(g - grip))
        if (right, level) not in self.hand_sprites:
            self.hand_sprites[right, level] = draw_hand(self.person, right, level)
        return self.hand_sprites[right, level]

    def at(self, t: float) -> Moment:
        """The scene at time t (seconds)."""
        camera = self.camera.matrix(t)
        placed, touched, arms = [], set(), []
        for hand in self.hands:
            tip, grip, contact = self._tip(hand, t)
            if contact is not None:
                touched.add(contact)
            heading = tip - elbow(tip, hand.shoulder)
            angle = np.arctan2(heading[0], -heading[1])
            rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
            name, class_id = RIGHT_HAND if hand.right else LEFT_HAND
            sprite = self._hand_sprite(hand.right, grip)
            matrix = chain(camera, np.column_stack([rotation, tip]))
            arms.append(Placed(name, class_id, sprite, matrix, 30.0, None, contact is None))
        for index, thing in enumerate(self.things):
            pose = thing.track.at(t)
            matrix = chain(camera, pose.matrix())
            placed.append(
                Placed(thing.name, thing.class_id, thing.sprite, matrix, pose.lift, index)
            )
        placed.sort(key=lambda q: (q.lift > 5, not q.sprite.stance.flat, q.matrix[1, 2] + q.lift))
        return Moment(tuple(placed + arms), frozenset(touched), camera)


def elbow(tip: NDArray[np.float64], shoulder: float) -> NDArray[np.float64]:
    """Scene point where the forearm comes from: below the view, on the hand's side."""
    return np.array([0.62 * shoulder + 0.38 * tip[0], max(HEIGHT + 420.0, tip[1] + 600)])


def label_map(moment: Moment, scale: float) -> NDArray[np.uint8]:
    """Which placed sprite is visible where.

    Args:
        moment: What to draw; later entries cover earlier ones.
        scale: Size of the result relative to 1920x1080.

    Returns:
        uint8 [round(1080 * scale), round(1920 * scale)]: 0 = none, i = i-th placed sprite from 1.
    """
    labels = np.zeros((round(HEIGHT * scale), round(WIDTH * scale)), np.uint8)
    for i, item in moment.objects():
        polygons = [
            np.round((transform(item.matrix, c) * scale - 0.5) * 16).astype(np.int32)
            for c in item.sprite.outline
        ]
        cv2.fillPoly(labels, polygons, i + 1, shift=4)
    return labels


def full_areas(moment: Moment) -> list[float]:
    """Area of every placed sprite in image pixels, as if nothing covered or cropped it."""
    areas = []
    for item in moment.placed:
        areas.append(
            sum(
                cv2.contourArea(transform(item.matrix, c).astype(np.float32))
                for c in item.sprite.outline
            )
        )
    return areas
