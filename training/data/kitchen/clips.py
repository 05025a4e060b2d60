"""One kitchen (a video) as a list of clips: actions with their scenes and sparse frames."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from training.data.kitchen import choreography
from training.data.kitchen.actions import Cast, cast_action
from training.data.kitchen.choreography import Span
from training.data.kitchen.hands import Person, draw_person
from training.data.kitchen.motion import Pose, draw_camera
from training.data.kitchen.randomised import random_person, random_sprite, random_worktop
from training.data.kitchen.scene import Hand, Scene, Thing
from training.data.kitchen.shapes import Sprite, draw
from training.data.kitchen.style import Style
from training.data.kitchen.vocabulary import CLASS_OF_NAME
from training.data.kitchen.worktop import draw_worktop

FPS = 60.0
_ATTEMPTS = 24


@dataclass
class Kitchen:
    """Worktop, wearer and object instances of one video; instances are drawn when first used."""

    seed: tuple[int, ...]
    worktop: NDArray[np.float32]
    person: Person
    style: Style = "plain"
    instances: dict[str, Sprite] = field(default_factory=dict)
    hand_sprites: dict[tuple[bool, float], Sprite] = field(default_factory=dict)

    def thing(self, name: str) -> Thing:
        """This kitchen's instance of a noun, not yet placed."""
        if name not in self.instances:
            code = list(name.encode())
            sprite = draw(name, np.random.default_rng([*self.seed, *code]))
            if self.style == "randomised":
                sprite = random_sprite(sprite, np.random.default_rng([*self.seed, 8, *code]))
            self.instances[name] = sprite
        track = choreography.new_track(-1e6, Pose(0, 0))
        return Thing(name, CLASS_OF_NAME[name], self.instances[name], track)


def draw_kitchen(seed: tuple[int, ...], style: Style = "plain") -> Kitchen:
    """Draw the kitchen of a video from its seed."""
    rng = np.random.default_rng([*seed, 0])
    worktop, person = draw_worktop(rng), draw_person(rng)
    if style == "randomised":
        other = np.random.default_rng([*seed, 7])
        worktop, person = random_worktop(worktop, other), random_person(person, other)
    return Kitchen(seed, worktop, person, style)


@dataclass(frozen=True)
class KitchenClip:
    """One narrated action: its scene, and the frames to annotate."""

    cast: Cast
    scene: Scene
    span: Span
    frames: tuple[int, ...]
    """Frame numbers at ``rate``, within the narrated part."""
    rate: float = FPS
    """Frames a second; frame n is shown at n / rate seconds."""


def lay_out(rng: np.random.Generator, things: list[Thing], which: list[int]) -> None:
    """Give the chosen things new places, the largest first."""
    fixed = [t for i, t in enumerate(things) if i not in which]
    for index in sorted(which, key=lambda i: -things[i].sprite.radius):
        things[index].track = choreography.new_track(
            -1e6, choreography.free_pose(rng, things[index], fixed, 0.0)
        )
        fixed.append(things[index])


def compose_clip(rng: np.random.Generator, kitchen: Kitchen, span: Span) -> KitchenClip:
    """Stage one action so that its labels follow from narration and hands.

    Things that would become active by accident, or that are hardly visible, are moved; bystanders
    for which no place is found are left out.
    """
    while True:
        cast = cast_action(rng)
        clip = _stage(rng, kitchen, cast, span)
        if clip is not None:
            return clip


def _stage(
    rng: np.random.Generator, kitchen: Kitchen, cast: Cast, span: Span
) -> KitchenClip | None:
    names = [*cast.used, *cast.bystanders]
    things = [kitchen.thing(name) for name in names]
    times = choreography.sparse_times(rng, span)
    frames = tuple(round(t * FPS) for t in times)
    times = [f / FPS for f in frames]
    camera, seed = draw_camera(rng), int(rng.integers(2**31))
    shoulders = (rng.uniform(250, 620), rng.uniform(1300, 1670))
    lay_out(rng, things, list(range(len(things))))
    homes = [t.track.last for t in things]
    for attempt in range(_ATTEMPTS + len(cast.bystanders)):
        for thing, home in zip(things, homes, strict=True):
            thing.track = choreography.new_track(-1e6, home)
        hands = (Hand(False, shoulders[0]), Hand(True, shoulders[1]))
        scene = Scene(things, hands, camera, kitchen.person, kitchen.hand_sprites)
        index_of = {t.name: i for i, t in enumerate(things)}
        idle = tuple(n for n in cast.bystanders if n in index_of)
        staged = Cast(cast.template, cast.narration, cast.verb, cast.names, cast.extras, idle)
        choreography.perform(np.random.default_rng(seed), scene, staged, span, index_of)
        accidental, hidden = choreography.troubles(
            scene, times, {index_of[n] for n in staged.untouched}
        )
        spoilt = accidental | hidden
        if not spoilt:
            return KitchenClip(staged, scene, span, frames)
        if attempt >= _ATTEMPTS:
            gone = {i for i in spoilt if things[i].name in idle}
            if not gone or len(idle) - len(gone) < 1:
                return None
            things = [t for i, t in enumerate(things) if i not in gone]
            homes = [h for i, h in enumerate(homes) if i not in gone]
            continue
        for thing, home in zip(things, homes, strict=True):
            thing.track = choreography.new_track(-1e6, home)
        lay_out(rng, things, sorted(spoilt))
        homes = [t.track.last for t in things]
    return None


def compose_clips(seed: tuple[int, ...], kitchen: Kitchen, count: int) -> list[KitchenClip]:
    """The consecutive clips of one video; their narrated parts never share a frame."""
    clips = []
    clock = 2.0
    for k in range(count):
        rng = np.random.default_rng([*seed, 1, k])
        start = clock + rng.uniform(1.6, 4.0)
        stop = start + rng.uniform(1.4, 5.0)
        clips.append(compose_clip(rng, kitchen, Span(start - 0.8, start, stop, stop + 0.8)))
        clock = stop
    return clips
