"""Which noun is meant: what a region looks like, through a channel that exchanges nouns.

Paper Alg. 1 replaces the class of a noun by any other one, with a rate that nobody tells. A
classifier of regions learns from the nouns that are given as if its own answers had gone through
such a channel (forward correction, Patrini et al. 2017), and the rate is what makes the given nouns
likeliest (expectation maximisation). Then the chance that a given noun is right follows from Bayes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, distributed

from actiseg_ros.narration.text import words_of
from actiseg_ros.prompts import PROMPT_TEMPLATE, parse_prompt
from training.data.splits import Clip
from training.data.transforms import swap_sides

Key = tuple[str, int]
"""Sequence and object id."""


@dataclass(frozen=True)
class Lexicon:
    """The classes of a split's nouns, and its objects.

    Nouns that a mirrored picture exchanges, such as the hands, count as one class. One class more
    stands for all nouns that the split does not have, which only noise can bring in.
    """

    classes: Mapping[str, int]
    """Class of each noun, counted from 0."""
    names: tuple[tuple[str, ...], ...]
    """Nouns of each class, the most frequent one first."""
    rows: Mapping[Key, int]
    """Number of each object, counted from 0."""

    @property
    def size(self) -> int:
        """Number of classes C, with that of strange nouns, which comes last."""
        return len(self.names) + 1

    @staticmethod
    def of(clips: Iterable[Clip]) -> Lexicon:
        """Which nouns the clips of a split have, and which of them are of one class.

        It is not kept which object has which noun. Objects without a class id have the class of
        their noun.
        """
        counts: dict[str, int] = {}
        group: dict[str, object] = {}
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
        return Lexicon(
            {noun: numbers[group[noun]] for noun in group}, tuple(map(tuple, names)), rows
        )

    def given(self, caption: str) -> int:
        """Class of a prompt's noun; -1 for a prompt of another form."""
        parsed = parse_prompt(caption)
        return -1 if parsed is None else self.classes.get(_spoken(parsed[0]), len(self.names))

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
        """Whether a class says which noun to take: no strange one, and not one side of a pair."""
        if number == len(self.names):
            return False
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


@dataclass
class NounMemory:
    """What was seen of every object so far: its region's classes, and the noun that it was given.

    What the present epoch adds counts from the next one on, in every process of a run.

    Args:
        objects: K.
        classes: C.
    """

    objects: int
    classes: int
    rate: float = 0.2
    """Of the channel, as last estimated."""
    seen: Tensor = field(init=False)
    """Sum of log probabilities in the former epochs, float32 [K, C]."""
    times: Tensor = field(init=False)
    """How often each object was seen in them, float32 [K]."""
    given: Tensor = field(init=False)
    """Class that each was given, int64 [K]; -1 before it was seen."""

    def __post_init__(self) -> None:
        self.seen = torch.zeros(self.objects, self.classes)
        self.times = torch.zeros(self.objects)
        self.given = torch.full((self.objects,), -1)
        self._new = torch.zeros(self.objects, self.classes)
        self._new_times = torch.zeros(self.objects)

    def note_given(self, rows: Tensor, given: Tensor) -> None:
        """Remembers the classes of nouns, int64 [P] each."""
        self._to(rows.device)
        self.given[rows] = given.to(rows.device)

    def add(self, rows: Tensor, log_probabilities: Tensor) -> None:
        """Adds what regions look like.

        Args:
            rows: Objects, int64 [P].
            log_probabilities: float32 [P, C], detached.
        """
        device = rows.device
        self._to(device)
        self._new.index_add_(0, rows, log_probabilities)
        self._new_times.index_add_(0, rows, torch.ones(len(rows), device=device))

    def close_epoch(self) -> None:
        """Takes in what all processes saw, and estimates the rate anew."""
        self.seen, self.times, self.given = self._merged()
        self._new.zero_()
        self._new_times.zero_()
        known = self.times > 0
        if bool(known.any()):
            self.rate = exchange_rate(self._likelihoods()[known], self.given[known], self.rate)

    def judgement(self) -> Judgement:
        """What is believed now; objects that were not seen are taken for right."""
        judged = judge(self._likelihoods(), self.given, self.rate)
        known = self.times > 0
        return Judgement(
            torch.where(known, judged.right, 1.0),
            judged.other,
            torch.where(known, judged.other_probability, 0.0),
        )

    def state_dict(self) -> dict[str, Tensor | float]:
        """Everything, with what the processes saw in the present epoch; all call it together."""
        seen, times, given = self._merged()
        tensors = {"seen": self.seen, "times": self.times, "given": given}
        tensors |= {"new": seen - self.seen, "new_times": times - self.times}
        copies = {name: value.cpu().clone() for name, value in tensors.items()}
        return {**copies, "rate": self.rate}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Goes on from what `state_dict` gave."""
        self.rate = float(state["rate"])
        self.seen, self.times, self.given = state["seen"], state["times"], state["given"]
        first = not _together() or distributed.get_rank() == 0
        # Summed over the processes again when the epoch ends, so only one of them has it.
        self._new = state["new"] if first else torch.zeros_like(state["new"])
        self._new_times = state["new_times"] if first else torch.zeros_like(state["new_times"])

    def _likelihoods(self) -> Tensor:
        """Geometric mean of what was seen, normalised, float32 [K, C]."""
        return (self.seen / self.times.clamp(min=1)[:, None]).softmax(1)

    def _merged(self) -> tuple[Tensor, Tensor, Tensor]:
        new, times, given = self._new.clone(), self._new_times.clone(), self.given.clone()
        if _together():
            if distributed.get_backend() == "nccl":  # which reduces nothing on the host
                self._to(torch.device("cuda", torch.cuda.current_device()))
                new, times, given = (tensor.to(self.seen.device) for tensor in (new, times, given))
            distributed.all_reduce(new)
            distributed.all_reduce(times)
            distributed.all_reduce(given, distributed.ReduceOp.MAX)
        return self.seen + new, self.times + times, given

    def _to(self, device: torch.device) -> None:
        if self.seen.device != device:
            for name in ("seen", "times", "given", "_new", "_new_times"):
                setattr(self, name, getattr(self, name).to(device))


def _spoken(noun: str) -> str:
    """A noun as prompts write it."""
    return " ".join(noun.lower().split())


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
