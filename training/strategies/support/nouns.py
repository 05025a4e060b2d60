"""Which noun is meant: what a region looks like, through a channel that exchanges nouns.

Paper Alg. 1 replaces the class of a noun by any other one, with a rate that nobody tells. A
classifier of regions learns from the nouns that are given as if its own answers had gone through
such a channel (forward correction, Patrini et al. 2017), and the rate is what makes the given nouns
likeliest (expectation maximisation). An object is judged by a classifier that has not seen its
noun. Then the chance that a given noun is right follows from Bayes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, distributed

from actiseg_ros.narration.text import words_of
from actiseg_ros.prompts import PROMPT_TEMPLATE, parse_prompt
from training.config.noise import NameOptions
from training.data.splits import Clip, load_clips, read_split, record_name
from training.data.transforms import swap_sides
from training.noise.text import vocabulary

Key = tuple[str, int]
"""Sequence and object id."""


@dataclass(frozen=True)
class Lexicon:
    """The classes of all nouns that a split may have, and its objects.

    Nouns that a mirrored picture exchanges, such as the hands, count as one class.
    """

    classes: Mapping[str, int]
    """Class of each noun, counted from 0."""
    names: tuple[tuple[str, ...], ...]
    """Nouns of each class, the most frequent one first."""
    rows: Mapping[Key, int]
    """Number of each object, counted from 0."""
    told: tuple[tuple[int, int], ...] = ()
    """Numbers of active objects with each class that their narration names."""

    @property
    def size(self) -> int:
        """Number of classes C."""
        return len(self.names)

    @staticmethod
    def of_split(split_file: Path, names: NameOptions) -> Lexicon:
        """The lexicon of a split; one that is noisy already has that of its clean nouns.

        A noisy noun says nothing of the class of the object that it stands on.

        Args:
            split_file: In the form of ``ImageSets/SPLIT.json``.
            names: Where further nouns come from.

        Raises:
            ActisegError: If the split or a list of names cannot be read.
        """
        records = read_split(split_file)
        clean = {
            (record_name(record), int(key)): str(entry["clean_name"])
            for record in records
            for key, entry in record["object_classes"].items()
            if "clean_name" in entry
        }
        clips = [
            replace(
                clip,
                objects=tuple(
                    replace(entry, name=clean.get((clip.sequence, entry.object_id), entry.name))
                    for entry in clip.objects
                ),
            )
            for clip in load_clips(split_file)
        ]
        return Lexicon.of(clips, vocabulary(split_file, records, names))

    @property
    def digest(self) -> str:
        """SHA-256 of the nouns of each class."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()

    @staticmethod
    def of(
        clips: Sequence[Clip], vocabulary: Mapping[int, Sequence[str]] = MappingProxyType({})
    ) -> Lexicon:
        """Which nouns there are, and which of them are of one class.

        It is not kept which object has which noun. Objects without a class id have the class of
        their noun.

        Args:
            clips: Of the split.
            vocabulary: Nouns by class id, also those that no clip truly has: which ones those are,
                only clean labels can tell.
        """
        group: dict[str, object] = {
            _spoken(noun): class_id for class_id, nouns in vocabulary.items() for noun in nouns
        }
        counts = dict.fromkeys(group, 0)
        rows: dict[Key, int] = {}
        for clip in clips:
            for entry in clip.objects:
                noun = _spoken(entry.name)
                counts[noun] = counts.get(noun, 0) + 1
                group.setdefault(noun, noun if entry.class_id is None else entry.class_id)
                rows[clip.sequence, entry.object_id] = len(rows)
        for noun in sorted(group):
            mirrored = swap_sides(noun)
            if mirrored != noun:
                group[noun] = group[mirrored] = "/".join(sorted((noun, mirrored)))
                counts.setdefault(mirrored, 0)
        numbers: dict[object, int] = {}
        for noun in sorted(group):
            numbers.setdefault(group[noun], len(numbers))
        names: list[list[str]] = [[] for _ in numbers]
        for noun in sorted(group, key=lambda noun: (-counts[noun], noun)):
            names[numbers[group[noun]]].append(noun)
        lexicon = Lexicon(
            {noun: numbers[group[noun]] for noun in group}, tuple(map(tuple, names)), rows
        )
        told = tuple(
            (rows[clip.sequence, entry.object_id], number)
            for clip in clips
            for entry in clip.objects
            if entry.positive
            for number in lexicon.narrated(entry.expression)
        )
        return replace(lexicon, told=told)

    def given(self, caption: str) -> int:
        """Class of a prompt's noun; -1 for an unknown one, or a prompt of another form."""
        parsed = parse_prompt(caption)
        return -1 if parsed is None else self.classes.get(_spoken(parsed[0]), -1)

    def narrated(self, caption: str) -> list[int]:
        """Classes with a noun whose words are all in a prompt's narration, ascending."""
        parsed = parse_prompt(caption)
        if parsed is None:
            return []
        said = set(words_of(parsed[1]))
        return [
            number
            for number, nouns in enumerate(self.names)
            if any(said.issuperset(words_of(noun)) for noun in nouns)
        ]

    def renamed(self, caption: str, number: int) -> str:
        """The prompt with the commonest noun of another class."""
        parsed = parse_prompt(caption)
        if parsed is None:
            return caption
        return PROMPT_TEMPLATE.format(object=self.names[number][0], narration=parsed[1])

    def tells_noun(self, number: int) -> bool:
        """Whether a class says which noun to take: it is not one side of a pair."""
        return swap_sides(self.names[number][0]) == self.names[number][0]


@dataclass(frozen=True)
class Judgement:
    """What is believed of the nouns that K objects were given."""

    right: Tensor
    """Probability that the given class is the true one, float32 [K]; 1 where nothing is known."""
    other: Tensor
    """The likeliest other class, int64 [K]."""
    other_probability: Tensor
    """Probability that it is that one, float32 [K]."""


def judge(likelihoods: Tensor, given: Tensor, rate: float) -> Judgement:
    """Bayes through a channel that keeps a class with 1 - rate, or draws any other one.

    Args:
        likelihoods: Probability of each class by the region's looks, float32 [K, C].
        given: Class of each noun, int64 [K]; -1 for an unknown one.
        rate: In [0, 1].
    """
    known = given >= 0
    rows = torch.arange(len(given), device=given.device)
    own = given.clamp(min=0)
    others = max(1, likelihoods.shape[1] - 1)
    joint = likelihoods * (rate / others)
    joint[rows, own] = likelihoods[rows, own] * (1 - rate)
    posterior = joint / joint.sum(1, keepdim=True).clamp(min=1e-12)
    right = torch.where(known, posterior[rows, own], 1.0)
    posterior = posterior.clone()
    posterior[rows, own] = 0.0
    probability, other = posterior.max(1)
    return Judgement(right, other, torch.where(known, probability, 0.0))


def exchange_rate(likelihoods: Tensor, given: Tensor, start: float, rounds: int = 30) -> float:
    """The channel's rate that makes the given classes likeliest, by expectation maximisation.

    Args:
        likelihoods: As in `judge`, float32 [K, C].
        given: int64 [K]; unknown ones (-1) do not count.
        start: First guess, inside (0, 1).
        rounds: Of the iteration.

    Returns:
        In [0.001, 0.95]; `start` without a known one.
    """
    known = given >= 0
    if not bool(known.any()):
        return start
    rate = start
    for _ in range(rounds):
        right = judge(likelihoods[known], given[known], rate).right
        rate = min(0.95, max(0.001, 1 - float(right.mean())))
    return rate


def channel_loss(log_probabilities: Tensor, given: Tensor, rate: float) -> Tensor:
    """Negative logarithm of a given class's probability behind the channel, float32 [...].

    Args:
        log_probabilities: Of the true classes, float32 [..., C].
        given: int64 [...], at least 0.
        rate: Of the channel.
    """
    own = log_probabilities.gather(-1, given[..., None])[..., 0].exp()
    others = max(1, log_probabilities.shape[-1] - 1)
    return -((1 - rate) * own + rate * (1 - own) / others).clamp(min=1e-8).log()


def class_probabilities(
    features: Tensor,
    given: Tensor,
    classes: int,
    rate: float,
    *,
    ridge: float,
    scores: Tensor | None = None,
) -> Tensor:
    """What regions look like, by logistic regression behind the channel, float32 [K, C].

    The objects are dealt out to three parts, and each is judged by what was learned from the other
    two, so that no object's own noun speaks for itself.

    Args:
        features: float32 [K, D].
        given: Class of each noun, int64 [K], at least 0.
        classes: C.
        rate: Of the channel.
        ridge: Weight of the squared coefficients, for all objects together.
        scores: What something else says of each object and class, float32 [K, C]; one coefficient
            for all classes is learned for it.
    """
    scores = features.new_zeros(len(given), classes) if scores is None else scores
    scaled = (features - features.mean(0)) / (features.std(0, correction=0) + 1e-6)
    design = torch.cat([scaled, torch.ones_like(scaled[:, :1])], 1)
    part = torch.arange(len(given), device=given.device) % _PARTS
    found = features.new_full((len(given), classes), 1 / classes)
    for number in range(_PARTS):
        others = part != number
        if bool(others.any()):
            weights, worth = _fitted(design[others], scores[others], given[others], rate, ridge)
            found[~others] = (design[~others] @ weights + worth * scores[~others]).softmax(1)
    return found


_PARTS = 3


def _fitted(
    design: Tensor, scores: Tensor, given: Tensor, rate: float, ridge: float
) -> tuple[Tensor, Tensor]:
    """Coefficients [D + 1, C] of a regression, and [] of the scores.

    The last row, and what the scores are worth, are not held down.
    """
    weights = design.new_zeros(design.shape[1], scores.shape[1], requires_grad=True)
    worth = design.new_zeros((), requires_grad=True)
    solver = torch.optim.LBFGS([weights, worth], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        solver.zero_grad()
        answers = (design @ weights + worth * scores).log_softmax(1)
        fit = channel_loss(answers, given, rate).mean()
        value: Tensor = fit + ridge * (weights[:-1] ** 2).sum() / len(given)
        value.backward()
        return value

    with torch.enable_grad():
        solver.step(loss)
    return weights.detach(), worth.detach()


@dataclass
class NounMemory:
    """What was seen of every object, the noun that it was given, and what is believed of it.

    What is added counts from the next judgement on, in every process of a run.

    Args:
        lexicon: Classes and objects; K and C below are theirs.
        channels: D, of a region's features.
        narrated: How many times likelier than by its looks an active object is of a class that its
            narration names.
        ridge: See `class_probabilities`.
        scores: Of all objects, likewise, float32 [K, C]; None if there are none.
    """

    lexicon: Lexicon
    channels: int
    narrated: float = 1.0
    ridge: float = 2.0
    scores: Tensor | None = None
    rate: float = 0.2
    """Of the channel, as last estimated."""
    seen: Tensor = field(init=False)
    """Mean features in the last epoch that showed the object, as far as they were judged, float32
    [K, D]."""
    known: Tensor = field(init=False)
    """Whether any did, bool [K]."""
    given: Tensor = field(init=False)
    """Class that each was given, int64 [K]; -1 before it was seen."""
    judgement: Judgement = field(init=False)
    """What is believed; objects that were not seen before it are taken for right."""

    def __post_init__(self) -> None:
        count = len(self.lexicon.rows)
        self.seen = torch.zeros(count, self.channels)
        self.known = torch.zeros(count, dtype=torch.bool)
        self.given = torch.full((count,), -1)
        self.judgement = Judgement(
            torch.ones(count), torch.zeros(count, dtype=torch.int64), torch.zeros(count)
        )
        self._sum = torch.zeros(count, self.channels)
        self._times = torch.zeros(count)

    def note_given(self, rows: Tensor, given: Tensor) -> None:
        """Remembers the classes of nouns, int64 [P] each."""
        self._to(rows.device)
        self.given[rows] = given.to(rows.device)

    def add(self, rows: Tensor, features: Tensor) -> None:
        """Adds what regions look like.

        Args:
            rows: Objects, int64 [P].
            features: float32 [P, D], detached.
        """
        self._to(rows.device)
        self._sum.index_add_(0, rows, features)
        self._times.index_add_(0, rows, torch.ones(len(rows), device=rows.device))

    def close_epoch(self) -> None:
        """Judges all nouns anew; what is added from here on belongs to another epoch."""
        self.judge()
        self._sum.zero_()
        self._times.zero_()

    def judge(self) -> None:
        """Takes in what all processes saw, and judges all nouns anew; all call it together."""
        total, times, self.given = self._merged()
        new = times > 0
        self.seen = torch.where(new[:, None], total / times.clamp(min=1)[:, None], self.seen)
        self.known = self.known | new
        judged = self.known & (self.given >= 0)
        if not bool(judged.any()):
            return
        features, given = self.seen[judged], self.given[judged]
        scores = None if self.scores is None else self.scores.to(judged.device)[judged]
        for _ in range(_ROUNDS):
            likelihoods = class_probabilities(
                features, given, self.lexicon.size, self.rate, ridge=self.ridge, scores=scores
            )
            likelihoods = self._with_narrations(likelihoods, judged)
            self.rate = exchange_rate(likelihoods, given, self.rate)
        found = judge(likelihoods, given, self.rate)
        self.judgement.right[judged] = found.right
        self.judgement.other[judged] = found.other
        self.judgement.other_probability[judged] = found.other_probability

    def state_dict(self) -> dict[str, Tensor | float]:
        """Everything, with what the processes saw in the present epoch; all call it together."""
        total, times, given = self._merged()
        tensors = {"seen": self.seen, "known": self.known, "given": given}
        tensors |= {"sum": total, "times": times, **vars(self.judgement)}
        copies = {name: value.cpu().clone() for name, value in tensors.items()}
        return {**copies, "rate": self.rate}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state_dict` gave."""
        self.rate = float(state["rate"])
        self.seen, self.known, self.given = state["seen"], state["known"], state["given"]
        self.judgement = Judgement(state["right"], state["other"], state["other_probability"])
        first = not _together() or distributed.get_rank() == 0
        # Summed over the processes again when the epoch ends, so only one of them has it.
        self._sum = state["sum"] if first else torch.zeros_like(state["sum"])
        self._times = state["times"] if first else torch.zeros_like(state["times"])

    def _with_narrations(self, likelihoods: Tensor, judged: Tensor) -> Tensor:
        """Probabilities of the objects that are judged, with what their narrations say."""
        if not self.lexicon.told:
            return likelihoods
        rows, classes = torch.tensor(self.lexicon.told, device=judged.device).T
        place = judged.cumsum(0) - 1
        here = judged[rows]
        factor = torch.ones_like(likelihoods)
        factor[place[rows[here]], classes[here]] = self.narrated
        told = likelihoods * factor
        return told / told.sum(1, keepdim=True)

    def _merged(self) -> tuple[Tensor, Tensor, Tensor]:
        total, times, given = self._sum.clone(), self._times.clone(), self.given.clone()
        if _together():
            if distributed.get_backend() == "nccl":  # which reduces nothing on the host
                self._to(torch.device("cuda", torch.cuda.current_device()))
                total, times, given = (part.to(self.seen.device) for part in (total, times, given))
            distributed.all_reduce(total)
            distributed.all_reduce(times)
            distributed.all_reduce(given, distributed.ReduceOp.MAX)
        return total, times, given

    def _to(self, device: torch.device) -> None:
        if self.seen.device != device:
            for name in ("seen", "known", "given", "_sum", "_times"):
                setattr(self, name, getattr(self, name).to(device))
            self.judgement = Judgement(*(part.to(device) for part in vars(self.judgement).values()))


_ROUNDS = 3
"""Of fitting the classifier and the rate in turn."""


def _spoken(noun: str) -> str:
    """A noun as prompts write it."""
    return " ".join(noun.lower().split())


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
