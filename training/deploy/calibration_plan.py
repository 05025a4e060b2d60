"""How many clips a calibration needs for a promise, and what the clips at hand lack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from actiseg_ros.errors import ActisegError
from actiseg_ros.narration.vocabulary import Vocabulary
from training.data.layout import split_file
from training.data.splits import load_clips
from training.deploy.risk_control import (
    Criteria,
    Outcome,
    binomial_upper_bound,
    certified_step,
    keeps_risk,
    upper_bound,
)
from training.deploy.trials import prompt_of

_LESSER = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)
_MOST_FAILURES = 5
"""Failures up to which the plan tells how many clips they take."""


def clips_needed(failures: int, criteria: Criteria) -> int:
    """Fewest clips with a go for a promise although some of them fail.

    Args:
        failures: Clips with a go that fail.
        criteria: Risk, confidence and horizon.

    Returns:
        The smallest number of clips with which calibration certifies the risk
        (`risk_control.keeps_risk`).
    """
    return _fewest(failures, lambda clips: _kept_risk(failures, clips, criteria))


def clips_needed_in_the_long_run(failures: int, risk: float, confidence: float) -> int:
    """Fewest clips for a promise of the long run alone, which is the number that tables have.

    Args:
        failures: Clips with a go that fail.
        risk: Largest allowed share of failing clips, in (0, 1).
        confidence: Confidence that it holds, in (0, 1).

    Returns:
        The smallest number of clips for which the exact upper bound of `failures` is at most
        `risk` (`risk_control.binomial_upper_bound`).
    """
    return _fewest(
        failures, lambda clips: binomial_upper_bound(failures, clips, confidence) <= risk
    )


def _kept_risk(failures: int, clips: int, criteria: Criteria) -> bool:
    return bool(keeps_risk(np.array([failures]), np.array([clips]), criteria)[0])


def _fewest(failures: int, enough: Callable[[int], bool]) -> int:
    low, high = failures, failures + 1
    while not enough(high):
        low, high = high, 2 * high
    while high - low > 1:  # every further clip without a failure helps
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class Stock:
    """The clips of a split.

    Attributes:
        split: Its file.
        clips: All of its clips.
        targets: Clips whose narration names one of their objects, by recording. Only they count.
        narrated: Clips with a target that do not count, since their objects are no more than the
            narration names: the robot judges such lists as it judges narrations.
    """

    split: Path
    clips: int
    targets: Mapping[str, int]
    narrated: int = 0

    @property
    def usable(self) -> int:
        """Clips that count."""
        return sum(self.targets.values())


def read_stock(split: Path, vocabulary: Vocabulary) -> Stock:
    """Counts the clips of a split that calibration can use.

    Args:
        split: File in the form of ``ImageSets/val.json``.
        vocabulary: Names that the bundle knows.

    Raises:
        ActisegError: The file is missing or has another form.
    """
    clips = [clip for clip in load_clips(split) if not clip.flagged]
    targets = Counter({clip.video: 0 for clip in clips})
    narrated = 0
    for clip in clips:
        prompt = prompt_of(clip, "named", vocabulary)
        if prompt is not None:
            targets[clip.video] += bool(prompt.target)
        else:
            narrated += prompt_of(clip, "target", vocabulary) is not None
    return Stock(split, len(clips), dict(sorted(targets.items())), narrated)


def plan(
    criteria: Criteria,
    vocabulary: Vocabulary,
    data: Path | None = None,
    split: Path | None = None,
) -> list[str]:
    """Tells what a promise takes, and what the clips of a data set lack for it.

    Args:
        criteria: Risk and confidence of the promise.
        vocabulary: Names that the bundle knows.
        data: Root of the ActionVOS layout; None tells of the promise alone.
        split: Clips that were kept for calibration; by default ``ImageSets/val.json`` of `data`.

    Returns:
        Lines for the user.

    Raises:
        ActisegError: A split cannot be read, or `data` has none.
    """
    lines = _promise(criteria)
    if data is None and split is None:
        return lines
    train = None if data is None else split_file(data, "train")
    if split is None:
        assert data is not None
        split = split_file(data, "val")
    training = read_stock(train, vocabulary) if train and train.is_file() else None
    held: Stock | None = None
    if split.is_file():
        held = read_stock(split, vocabulary)
    elif training is None:
        raise ActisegError(f"{split}: missing; `actiseg import` or `prepare` writes it")
    same = training is not None and held is not None and split.samefile(training.split)
    lines += _kept(held, split, criteria)
    if held is not None and training is not None and not same:
        lines += _shared(held, training)
    wanted = clips_needed(0, criteria)
    missing = wanted - (held.usable if held else 0)
    if missing > 0 and training is not None and not same:
        lines += _move(training, held, missing)
    return lines


def _promise(criteria: Criteria) -> list[str]:
    risk, confidence = criteria.risk, criteria.confidence
    lines = [
        f"promise: of the clips with a go at most {risk:.1%} go wrong, with {confidence:.0%} "
        "confidence. Clips with a go that it takes:",
        f"  failures  for the long run  and for the next {criteria.horizon}, which is certified",
    ]
    lines += [
        f"  {failures:8}  {clips_needed_in_the_long_run(failures, risk, confidence):16}  "
        f"{clips_needed(failures, criteria)}"
        for failures in range(_MOST_FAILURES + 1)
    ]
    lines.append(
        "A clip is one narrated action, whole recordings of which training has seen nothing. Only "
        "clips whose narration names an annotated object count, and of them those that the gate "
        "lets go: it turns some away, so keep about twice as many."
    )
    return lines


def _kept(held: Stock | None, split: Path, criteria: Criteria) -> list[str]:
    if held is None:
        return [f"{split}: missing, so nothing is kept for calibration"]
    named = ", ".join(f"{video} {count}" for video, count in held.targets.items())
    lines = [
        f"{split}: {held.usable} of {held.clips} clips have a target, in {len(held.targets)} "
        f"recordings ({_short(named)})"
    ]
    if held.narrated:
        lines.append(
            f"  {held.narrated} more have no object that the narration does not name, hands aside: "
            "they count for candidates of the narration alone; annotate what else is in view"
        )
    borne = -1
    while clips_needed(borne + 1, criteria) <= held.usable:
        borne += 1
    if borne >= 0:
        need = clips_needed(borne, criteria)
        lines.append(
            f"  enough: it bears {borne} failures if the gate lets {need} of them go; "
            f"{clips_needed(borne + 1, criteria) - held.usable} more would bear one more"
        )
    else:
        best = upper_bound(0, held.usable, criteria)
        lines.append(
            f"  not enough: {clips_needed(0, criteria) - held.usable} clips are missing; "
            f"at best these could promise {best:.1%}"
        )
    if len(held.targets) == 1:
        lines.append(
            "  one recording only: keep two or more, or the gate learns one light and one worktop"
        )
    return lines


def _shared(held: Stock, training: Stock) -> list[str]:
    both = sorted(held.targets.keys() & training.targets.keys())
    if not both:
        return []
    return [
        f"  {len(both)} recordings are in {training.split.name} too ({_short(', '.join(both))}): "
        "frames of one recording are too alike for a promise; split by recording (`actiseg "
        "import … --val-videos`)"
    ]


def _move(training: Stock, held: Stock | None, missing: int) -> list[str]:
    """Recordings of the training split that would fill the gap."""
    known = held.targets.keys() if held else set[str]()
    spare = {video: count for video, count in training.targets.items() if video not in known}
    moved: list[str] = []
    for video, count in sorted(spare.items(), key=lambda item: (-item[1], item[0])):
        if missing <= 0:
            break
        moved.append(video)
        missing -= count
    if missing > 0 or len(moved) == len(spare):
        return [
            f"  {training.split.name} has {training.usable} clips with a target: too few for both; "
            "record and annotate more"
        ]
    names = ",".join(sorted([*moved, *known]))
    return [f"  for example: actiseg import … --val-videos {names}"]


def _short(text: str, most: int = 120) -> str:
    return text if len(text) <= most else f"{text[:most]}…"


def lesser_promise(outcome: Outcome, criteria: Criteria) -> float | None:
    """The smallest of some larger risks that the same clips would certify.

    It was chosen after the fact, so it is a hint what to ask for, on other clips best.

    Args:
        outcome: Of a calibration.
        criteria: What it asked for.

    Returns:
        The risk; None if the outcome is certified, or nothing would be.
    """
    if outcome.certified or not outcome.steps:
        return None
    for risk in _LESSER:
        asked = replace(criteria, risk=risk)
        if risk > criteria.risk and certified_step(outcome.steps, outcome.clips, asked) is not None:
            return risk
    return None
