"""What a page of decisions shows: one card for each judged picture."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.vision.compressed import encode_jpeg

_WIDTH, _QUALITY = 560, 80


@dataclass(frozen=True)
class Card:
    """One judged picture.

    Attributes:
        title: Where it comes from.
        narration: What was being done.
        jpeg: The picture with masks, hatching and banner.
        go: The decision.
        reasons: Against going.
        target: Name of the target; empty without one.
        objects: Names of what takes part.
        numbers: What the decision rests on, by name, as shown.
        degree: How unsure: 1 is at a limit, more beyond it; infinite where nothing could be judged.
        wrong: Whether going would fail; None where the truth is not known.
    """

    title: str
    narration: str
    jpeg: bytes
    go: bool
    reasons: tuple[str, ...]
    target: str
    objects: tuple[str, ...]
    numbers: Mapping[str, str]
    degree: float
    wrong: bool | None = None

    @property
    def verdict(self) -> str:
        """What the decision was, against the truth where that is known."""
        if self.wrong is None:
            return "go" if self.go else "no-go"
        if self.go:
            return "wrong go" if self.wrong else "right go"
        return "refused, and rightly" if self.wrong else "refused, though right"

    @property
    def rank(self) -> tuple[int, float]:
        """The worst has the smallest."""
        order = ("wrong go", "refused, and rightly", "refused, though right", "right go")
        place = order.index(self.verdict) if self.verdict in order else 0
        return place, -self.degree


@dataclass(frozen=True)
class Summary:
    """What the page says about all pictures, also those that it does not show.

    Attributes:
        counts: Pictures by verdict.
        reasons: How often each reason stood against going.
        objects: In how many pictures each object takes part.
        left_out: Pictures that are not shown, the best ones.
    """

    counts: Mapping[str, int]
    reasons: Mapping[str, int]
    objects: Mapping[str, int]
    left_out: int


def worst_first(cards: Iterable[Card], most: int) -> tuple[list[Card], Summary]:
    """Sorts cards and keeps so many of the worst."""
    ordered = sorted(cards, key=lambda card: card.rank)
    summary = Summary(
        dict(Counter(card.verdict for card in ordered).most_common()),
        dict(Counter(reason for card in ordered for reason in card.reasons).most_common()),
        dict(Counter(name for card in ordered for name in card.objects).most_common()),
        max(0, len(ordered) - most),
    )
    return ordered[:most], summary


def degree_of(pairs: Sequence[tuple[float, float]]) -> float:
    """How unsure: the largest share of a limit that a number takes.

    Args:
        pairs: Numbers with their limits; a limit of nan or 0 counts as 1.

    Returns:
        From 0 on; infinite where a number is not known.
    """
    degrees = [
        value / limit if math.isfinite(limit) and limit > 0 else value for value, limit in pairs
    ]
    return max((math.inf if math.isnan(degree) else degree for degree in degrees), default=math.inf)


def shown(value: float, limit: float = math.nan) -> str:
    """A number and its limit, as cards show them."""
    text = "–" if math.isnan(value) else f"{value:.2f}"
    return text if math.isnan(limit) else f"{text} of {limit:.2f}"


def small_jpeg(rgb: npt.NDArray[np.uint8]) -> bytes:
    """The picture as the page holds it.

    Args:
        rgb: uint8 [H, W, 3].
    """
    height, width = rgb.shape[:2]
    if width > _WIDTH:
        size = _WIDTH, max(1, round(height * _WIDTH / width))
        rgb = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return bytes(encode_jpeg(rgb, _QUALITY))
