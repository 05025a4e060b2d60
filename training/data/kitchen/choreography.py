"""Turns a cast into movements: where things lie, what each hand does, and when."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.actions import Cast, Part
from training.data.kitchen.motion import Pose, Track, Wiggle
from training.data.kitchen.scene import (
    FINGERS,
    Hand,
    Scene,
    Stay,
    Thing,
    elbow,
    full_areas,
    label_map,
)

_SCALE = 0.25
_SPACING = 0.8
"""Things keep this multiple of their mean radius as distance when they are laid out."""


@dataclass(frozen=True)
class Span:
    """Times of an action in seconds: preparation, narrated part, and clearing up."""

    begin: float
    start: float
    stop: float
    end: float


def free_pose(rng: np.random.Generator, thing: Thing, others: list[Thing], t: float) -> Pose:
    """A place on the worktop that keeps away from the other things where it can."""
    spin = thing.sprite.stance.spin
    best, best_gap = None, -np.inf
    for _ in range(40):
        r = min(thing.sprite.radius, 180)
        pose = Pose(
            rng.uniform(60 + r, 1860 - r),
            rng.uniform(90 + r * 0.7, 1010 - r * 0.6),
            rng.uniform(-spin, spin),
        )
        gap = np.inf
        for other in others:
            place = other.track.at(t)
            limit = _SPACING * (thing.sprite.radius + other.sprite.radius)
            gap = min(gap, np.hypot(place.x - pose.x, place.y - pose.y) - limit)
        if gap > best_gap:
            best, best_gap = pose, gap
        if gap > 0:
            break
    assert best is not None
    return best


def _near(rng: np.random.Generator, thing: Thing, target: Thing, t: float, distance: float) -> Pose:
    place = target.track.at(t)
    reach = distance * (target.sprite.radius + thing.sprite.radius)
    side = rng.uniform(-0.6, 0.6) + (0 if place.x < 960 else np.pi)
    x = np.clip(place.x + reach * np.cos(side), 150, 1770)
    y = np.clip(place.y + 0.8 * reach * np.sin(side), 120, 960)
    return Pose(float(x), float(y), thing.track.last.angle, 25)


def _use(
    rng: np.random.Generator,
    scene: Scene,
    hand: Hand,
    index: int,
    part: Part,
    onto: int | None,
    span: Span,
) -> None:
    """Let one hand do its part with one thing."""
    thing = scene.things[index]
    home = thing.track.last
    grip = float(rng.choice([0.7, 1.0]))
    if part.use == "press":
        hand.stays.append(Stay(span.begin, span.end, index, grip=float(rng.choice([0.35, 0.7]))))
        return
    if part.use == "reach":
        _approach(rng, scene, hand, index, span)
        return
    thing.track.move(span.begin, home)
    if part.use == "grasp":
        contact = span.start + rng.uniform(0.25, 0.55) * (span.stop - span.start)
        thing.track.move(contact + 0.15, home)
        lifted = Pose(
            home.x + 0.25 * (960 - home.x), home.y + 90, home.angle + rng.uniform(-15, 15), 70
        )
        thing.track.move(span.stop, lifted)
        hand.stays.append(Stay(contact, span.end, index, grip=grip))
    else:
        hand.stays.append(Stay(span.begin, span.end, index, grip=grip))
        target = None if onto is None else scene.things[onto]
        pose = _working_pose(rng, thing, target, part, hand, home, span.start)
        if part.use == "carry":
            thing.track.move(span.start, replace(home, lift=30.0))
            thing.track.move(span.start + rng.uniform(0.5, 0.9) * (span.stop - span.start), pose)
        else:
            thing.track.move(span.start, pose)
        thing.track.move(span.stop, pose)
        if part.use == "tool":
            swing = rng.uniform(12, 34)
            thing.track.wiggles.append(
                Wiggle(
                    span.start,
                    span.stop,
                    swing,
                    swing * 0.6,
                    rng.uniform(2, 8),
                    rng.uniform(1, 2.2),
                )
            )
    final = thing.track.last if part.use == "carry" else home
    thing.track.move(span.end, replace(final, lift=0.0))


def _working_pose(
    rng: np.random.Generator,
    thing: Thing,
    target: Thing | None,
    part: Part,
    hand: Hand,
    home: Pose,
    t: float,
) -> Pose:
    lean = (-1 if hand.right else 1) * rng.uniform(20, 50)
    if target is None:
        return Pose(home.x, home.y, home.angle, 20 if part.use == "hold" else 4)
    place = target.track.at(t)
    if part.use == "carry":
        return _near(rng, thing, target, t, 0.12 if target.sprite.stance.flat else 1.25)
    if part.use == "pour":
        side = 1 if hand.right else -1
        offset = 0.55 * target.sprite.radius + 0.75 * thing.sprite.radius
        return Pose(
            place.x + side * offset,
            place.y - 0.35 * thing.sprite.radius,
            -side * rng.uniform(50, 85),
            80,
        )
    if thing.sprite.radius < 150 or thing.sprite.stance.spin < 180 or thing.sprite.grip is None:
        return Pose(place.x + rng.uniform(-40, 40), place.y + rng.uniform(-30, 30), home.angle, 12)
    a = np.deg2rad(lean)
    length = 0.92 * thing.sprite.radius
    return Pose(place.x - np.sin(a) * length, place.y + np.cos(a) * length, lean, 30)


def _approach(rng: np.random.Generator, scene: Scene, hand: Hand, index: int, span: Span) -> None:
    """Wait beside a thing, with a visible gap, open-handed."""
    outline = scene.outline(index, span.start)
    centre = scene.things[index].track.at(span.start).matrix()[:, 2]
    toward = elbow(centre, hand.shoulder) - centre
    angle = np.arctan2(toward[1], toward[0]) + rng.uniform(-0.35, 0.35)
    toward = np.array([np.cos(angle), np.sin(angle)])
    gap = scene.person.size * rng.uniform(1.15, 1.8) * FINGERS
    x, y = centre + toward * (float(((outline - centre) @ toward).max()) + gap)
    hand.stays.append(Stay(span.start, span.stop, None, (float(x), float(y)), 0.0))


def _hands_for(rng: np.random.Generator, scene: Scene, indices: list[int]) -> list[Hand]:
    """Who takes what: the nearer hand first, the right one for a single central thing."""
    left, right = scene.hands
    if len(indices) == 1:
        x = scene.things[indices[0]].track.last.x
        return [right if x + rng.normal(0, 250) > 760 else left]
    a, b = (scene.things[i].track.last.x for i in indices[:2])
    return [left, right] if a < b else [right, left]


def perform(
    rng: np.random.Generator, scene: Scene, cast: Cast, span: Span, index_of: dict[str, int]
) -> None:
    """Append the movements of one action to the scene.

    Args:
        rng: Source of all choices.
        scene: Holds the things; tracks and hands are extended.
        cast: The action.
        span: When.
        index_of: Index of each noun among the scene's things.
    """
    jobs: list[tuple[int, Part, int | None]] = []
    for role, part in cast.template.parts.items():
        onto = index_of[cast.names[part.onto]] if part.onto else None
        if part.use != "none":
            jobs.append((index_of[cast.names[role]], part, onto))
    for name in cast.extras:
        jobs.append(
            (index_of[name], Part((), "press" if rng.random() < 0.6 else "hold", False), None)
        )
    if jobs:
        where = [job[2] if job[1].use == "tool" and job[2] is not None else job[0] for job in jobs]
        hands = _hands_for(rng, scene, where)
        if len(jobs) == 2 and where[0] == where[1]:
            tool_first = jobs[0][1].use == "tool"
            hands = (
                [scene.hands[1], scene.hands[0]] if tool_first else [scene.hands[0], scene.hands[1]]
            )
        for hand, (index, part, onto) in zip(hands, jobs, strict=True):
            _use(rng, scene, hand, index, part, onto, span)
    for hand in scene.hands:
        idle = not hand.stays or hand.stays[-1].stop < span.start
        if idle and cast.bystanders and rng.random() < 0.45:
            _approach(rng, scene, hand, index_of[str(rng.choice(cast.bystanders))], span)


def sparse_times(rng: np.random.Generator, span: Span) -> list[float]:
    """Two to four times within the narrated part."""
    count = int(rng.choice([2, 3, 4], p=[0.35, 0.45, 0.2]))
    step = (span.stop - span.start) / count
    return [span.start + step * (k + rng.uniform(0.25, 0.75)) for k in range(count)]


def troubles(
    scene: Scene, times: list[float], untouched: set[int], least_visible: float = 0.3
) -> tuple[set[int], set[int]]:
    """What spoils a layout.

    Returns:
        Indices of things that no hand is to touch but that lie in the box of a touched thing, which
        the official rule takes for contact, or that a waiting hand's fingers seem to touch; and of
        things hardly visible in some frame.
    """
    accidental: set[int] = set()
    hidden: set[int] = set()
    moments = [scene.at(t) for t in times]
    ever_touched = set().union(*(m.touched for m in moments))
    for moment in moments:
        labels = label_map(moment, _SCALE)
        areas = full_areas(moment)
        counts = np.bincount(labels.ravel(), minlength=len(moment.placed) + 1)
        index = [item.thing for item in moment.placed]
        near = np.zeros_like(labels)
        for item in moment.placed:
            if item.waiting:
                x, y = np.round(item.matrix[:, 2] * _SCALE).astype(int).tolist()
                cv2.circle(near, (x, y), round(FINGERS * scene.person.size * _SCALE), 1, -1)
        for i in np.unique(labels[near > 0]):
            if i and (thing := index[i - 1]) is not None:
                accidental.add(thing)
        for k, thing in enumerate(index):
            if thing is not None and counts[k + 1] < least_visible * areas[k] * _SCALE**2:
                hidden.add(thing)
        for k, thing in enumerate(index):
            if thing in moment.touched and counts[k + 1]:
                inside = _inside_box(labels, k + 1)
                within = (index[i - 1] for i in inside)
                accidental |= {i for i in within if i is not None}
    return (accidental & untouched) - ever_touched, hidden


def crowded(scene: Scene, t: float) -> set[int]:
    """Things that intrude into the bounding box of another thing."""
    moment = scene.at(t)
    labels = label_map(moment, _SCALE)
    found: set[int] = set()
    for k, item in enumerate(moment.placed):
        if item.thing is not None and (labels == k + 1).any():
            inside = {moment.placed[i - 1].thing for i in _inside_box(labels, k + 1)} - {item.thing}
            found |= {i for i in inside if i is not None}
    return found


def _inside_box(labels: NDArray[np.uint8], label: int) -> list[int]:
    rows, cols = np.nonzero(labels == label)
    box = labels[max(0, rows.min() - 1) : rows.max() + 2, max(0, cols.min() - 1) : cols.max() + 2]
    return [int(v) for v in np.unique(box) if v]


def new_track(t: float, pose: Pose) -> Track:
    """A track that begins at a pose."""
    return Track([(t, pose)])
