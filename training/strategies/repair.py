"""Repair: labels are brought back to what the picture shows, each channel of noise by itself.

Under Alg. 1 masks and narrations are right and nouns may be wrong; under Alg. 2 nouns are right and
all borders lie too far outside, by one width that nobody tells. So masks are moved back to the
edges of the picture (`support.boundary`), and nouns are judged by what the region looks like
(`support.nouns`). The width and the rate are estimated, so that clean labels can be left alone. The
equations, and what of this was measured, are in docs/repair.md.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from actiseg_ros.errors import ActisegError
from training.config.options import require
from training.config.run import StrategyOptions, TrainConfig
from training.data.layout import split_file
from training.losses.context import StepContext, StepPosition
from training.losses.criterion import Terms, published_terms, weigh_samples
from training.model import ActionVOS, Output
from training.strategies.base import StepInputs, Strategy, register
from training.strategies.support.boundary import (
    LARGEST_REACH,
    border_profile,
    boxes_of_masks,
    clear_of,
    edge_strength,
    nested,
    steepest_shift,
)
from training.strategies.support.nouns import Lexicon, NounMemory

if TYPE_CHECKING:
    from training.data.clips import Batch


_FIRST_JUDGEMENT = 16
"""Optimiser steps before nouns are judged for the first time; a power of two."""


@dataclass(frozen=True)
class RepairOptions(StrategyOptions):
    """Masks moved to the picture's edges, nouns judged by the region's looks."""

    masks: bool = True
    """Move the borders of masks back to the edges of the picture."""
    reach: int = 8
    """Largest shift that is looked for, in pixels of the network's input, 1 to 125."""
    prominence: float = 1.15
    """By what factor edges must be stronger at the shifted border than at the given one, at least
    1; below it labels stay."""
    memory: float = 0.98
    """Weight of the former batches in the run's mean profile, in [0, 1)."""
    own: float = 0.5
    """Share of a clip's own profile in the one that is decided on, in [0, 1]; pictures of one run
    may be enlarged differently."""
    names: bool = True
    """Judge nouns, correct those that are surely wrong, and trust the doubtful ones less."""
    confidence: float = 0.5
    """Probability above which a noun is replaced by another class's, in [0.5, 1]."""
    narrated: float = 3.0
    """How many times likelier than by its looks an active object is of a class that the narration
    names, at least 1."""
    ridge: float = 2.0
    """Weight of the squared coefficients of the classifier of regions, above 0."""
    width: int = 256
    """Channels of a region's features; more are projected to so many at random; at least 1."""
    scores: Path | None = None
    """Folder of `actiseg region-scores`: what an image–text encoder thinks of regions and nouns."""

    def __post_init__(self) -> None:
        require(1 <= self.reach <= LARGEST_REACH, "repair.reach", self.reach,
                f"1 to {LARGEST_REACH}")  # fmt: skip
        for name in ("prominence", "narrated", "width"):
            require(getattr(self, name) >= 1, f"repair.{name}", getattr(self, name), "at least 1")
        require(0 <= self.memory < 1, "repair.memory", self.memory, "in [0, 1)")
        require(0 <= self.own <= 1, "repair.own", self.own, "in [0, 1]")
        require(0.5 <= self.confidence <= 1, "repair.confidence", self.confidence, "in [0.5, 1]")
        require(self.ridge > 0, "repair.ridge", self.ridge, "above 0")
        require(self.names or self.scores is None, "repair.scores", self.scores,
                "left out where --repair.no-names leaves nouns alone")  # fmt: skip


class SeenRegions(nn.Module):
    """A model that also gives the backbone's maps at strides 8 and 16, which no prompt has touched.

    Args:
        model: The model, whose parts keep their names below `model`.
    """

    def __init__(self, model: ActionVOS) -> None:
        super().__init__()
        self.model = model

    def forward(self, frames: Tensor, *inputs: Any, **options: Any) -> Output:
        """The model's output, in training with the maps [N, T, D, h, w] as `extra`, detached.

        Arguments as of `ActionVOS.forward`.
        """
        if not self.training:
            return cast("Output", self.model(frames, *inputs, **options))
        stages: list[Tensor] = []
        hook = self.model.backbone.register_forward_hook(lambda _, __, made: stages.extend(made))
        try:
            output: Output = self.model(frames, *inputs, **options)
        finally:
            hook.remove()
        maps = joined(stages).unflatten(0, frames.shape[:2])
        return dataclasses.replace(output, extra=(maps,))


def joined(stages: Sequence[Tensor]) -> Tensor:
    """The backbone's maps at strides 8 and 16 on the finer grid, [F, D, h, w], detached."""
    fine, coarse = stages[1].detach(), stages[2].detach()
    return torch.cat([fine, F.interpolate(coarse, size=fine.shape[-2:])], 1)


@register("repair", "Repair", RepairOptions)
class Repair(Strategy[RepairOptions]):
    """The published losses on repaired labels and prompts; nothing is added at inference.

    A prompt's noun is replaced if another class is surely meant. Otherwise the prompt counts with
    the probability that its noun is right.
    """

    def __init__(
        self, options: RepairOptions, lexicon: Lexicon, scores: Tensor | None = None
    ) -> None:
        super().__init__(options)
        self.lexicon, self._scores = lexicon, scores
        if options.names:
            self.sources["list of nouns"] = lexicon.digest
        if scores is not None:
            self.sources["region scores"] = hashlib.sha256(scores.numpy().tobytes()).hexdigest()
        self.memory = self._memory(0)
        self._epoch = -1
        self._judged = 0
        self._projection: Tensor | None = None
        # Sum and count of the strengths at each shift, of objects that are not active and that are.
        self._profiles = torch.zeros(2, 2, 2 * options.reach + 1)

    @classmethod
    def from_config(cls, config: TrainConfig) -> Repair:
        """The strategy of a run, with its options, the nouns of its split and their scores.

        Raises:
            ActisegError: If the split or the scores cannot be read, or are not of one another.
        """
        options = cast("RepairOptions", config.strategy_options)
        split = split_file(config.data, config.split)
        lexicon = Lexicon.of_split(split, config.noise)
        if options.scores is None:
            return cls(options, lexicon)
        # Slow to import.
        from training.strategies.support.region_scores import class_scores, require_same_masks

        require_same_masks(
            options.scores, config.data, config.split, config.mask_noise, config.noise
        )
        return cls(options, lexicon, class_scores(options.scores, lexicon))

    def extend(self, model: ActionVOS) -> nn.Module:
        """The model that also gives what its regions look like."""
        if not self.options.names:
            return model
        channels = sum(model.backbone.channels[1:3])
        if channels > self.options.width:
            random = torch.Generator().manual_seed(0)  # the same in every process and run
            self._projection = torch.randn(channels, self.options.width, generator=random)
            channels = self.options.width
        self.memory = self._memory(channels)
        return SeenRegions(model)

    def _memory(self, channels: int) -> NounMemory:
        options = self.options
        return NounMemory(
            self.lexicon, channels, narrated=options.narrated, ridge=options.ridge,
            scores=self._scores,
        )  # fmt: skip

    def exported(self, network: nn.Module) -> ActionVOS:
        """The model itself."""
        return cast("ActionVOS", network.model if self.options.names else network)

    def begin_epoch(self, epoch: int, epochs: int) -> None:
        """Judges all nouns by what the former epochs saw."""
        if epoch > self._epoch:
            if self.options.names:
                self.memory.close_epoch()
            self._epoch = epoch

    def inputs(self, batch: Batch, position: StepPosition, network: int) -> StepInputs:
        """The batch with masks at the picture's edges, and with the nouns that are believed."""
        if self.options.masks:
            batch = self._moved(batch)
        if self.options.names:
            self._judge_early(position)
            batch = self._renamed(batch)
        return StepInputs(batch)

    def losses(self, context: StepContext) -> Terms:
        """The published terms, weighed by trust in the nouns.

        Logs the estimates: `border_shift` in pixels of active objects, `exchange_rate`, and the
        shares of prompts that were `renamed` and `doubted`.
        """
        terms = published_terms(context)
        context.log["border_shift"] = self._run_shift()
        if not self.options.names:
            return terms
        (maps,) = context.output.extra
        self.remember(maps, context.batch)
        rows = self._rows(context.batch)
        trust = self._trust(rows)
        context.log["exchange_rate"] = self.memory.rate
        context.log["doubted"] = (1 - trust).mean()
        context.log["renamed"] = self.surely_other()[rows].float().mean()
        return weigh_samples(terms, trust.to(context.labels.device))

    # Masks

    def _moved(self, batch: Batch) -> Batch:
        """The batch with masks and boxes whose borders are back at the edges."""
        options = self.options
        clips = batch.clip_of_prompt
        inside = ~batch.padding[clips]
        moved = nested(batch.masks, options.reach, inside)
        clear = clear_of(batch.padding)[clips]
        profile, found = border_profile(edge_strength(batch.frames)[clips], clear, moved)
        # Alg. 2 moves the borders of active objects only.
        active = batch.positive[:, 0].clamp(0, 1)
        group = 2 * clips + active
        sums = profile.new_zeros(2 * len(batch.frames), profile.shape[1])
        counts = torch.zeros_like(sums)
        sums.index_add_(0, group, profile)
        counts.index_add_(0, group, found.float())
        own = sums / counts.clamp(min=1)
        run = self._remember(sums, counts)[torch.arange(len(sums), device=sums.device) % 2]
        share = options.own * (counts > 0)
        shifts = steepest_shift(share * own + (1 - share) * run, options.prominence)
        # Single clips mislead: where the run's borders lie at the edges, all stay.
        shifts = torch.where(steepest_shift(run, options.prominence) == 0, 0, shifts)[group]
        masks = moved.shifted(shifts) & inside
        # A label that nothing would be left of stays as it is.
        gone = ~masks.flatten(1).any(1)
        masks = torch.where(gone[:, None, None, None], batch.masks, masks)
        same = ((shifts == 0) | gone)[:, None, None]
        boxes = torch.where(same, batch.boxes, boxes_of_masks(masks, batch.sizes[clips]))
        return replace(batch, masks=masks, boxes=boxes.to(batch.boxes.dtype))

    def _remember(self, sums: Tensor, counts: Tensor) -> Tensor:
        """The run's mean profile of both kinds of objects, [2, 2 R + 1], with this batch."""
        new = torch.stack([sums, counts]).unflatten(1, (-1, 2)).sum(1)
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(new)
        keep = self.options.memory
        self._profiles = keep * self._profiles.to(new.device) + (1 - keep) * new
        return self._run_profiles()

    def _run_profiles(self) -> Tensor:
        sums, counts = self._profiles
        return sums / counts.clamp(min=1e-6)

    def _run_shift(self) -> Tensor:
        """Shift of active objects by the run's mean profile, pixels."""
        return steepest_shift(self._run_profiles(), self.options.prominence)[1]

    # Nouns

    def _judge_early(self, position: StepPosition) -> None:
        """Judges the first epoch's nouns before its end, each time that it has twice as many."""
        step = position.step
        due = step >= _FIRST_JUDGEMENT and step.bit_count() == 1 and step > self._judged
        if position.epoch == 0 and due:
            self.memory.judge()
            self._judged = step

    def _renamed(self, batch: Batch) -> Batch:
        """The batch whose surely wrong nouns are replaced; remembers which ones were given."""
        rows = self._rows(batch)
        given = torch.tensor([self.lexicon.given(caption) for caption in batch.captions])
        self.memory.note_given(rows.to(self.memory.seen.device), given)
        judgement = self.memory.judgement
        sure, other = self.surely_other()[rows].tolist(), judgement.other[rows].tolist()
        captions = [
            self.lexicon.renamed(caption, number) if replaced else caption
            for caption, replaced, number in zip(batch.captions, sure, other, strict=True)
        ]
        return replace(batch, captions=captions)

    @torch.no_grad()
    def remember(self, maps: Tensor, batch: Batch) -> None:
        """Adds the mean features below each object's mask to what is known of it.

        Args:
            maps: Of the backbone, [N, T, D, h, w].
            batch: Clips [N] with their prompts [P], as `inputs` gave it.
        """
        cover = F.adaptive_avg_pool2d(
            batch.masks.float().flatten(0, 1), (maps.shape[-2], maps.shape[-1])
        )
        cover = cover.unflatten(0, batch.masks.shape[:2])
        area = cover.flatten(1).sum(1)
        features = torch.stack(
            [
                torch.einsum("tchw,thw->c", maps[clip].float(), own)
                for clip, own in zip(batch.clip_of_prompt.tolist(), cover, strict=True)
            ]
        )
        features = features / area.clamp(min=1e-6)[:, None]
        if self._projection is not None:
            self._projection = self._projection.to(features.device)
            features = features @ self._projection
        shown = area > 0
        self.memory.add(self._rows(batch).to(features.device)[shown], features[shown])

    def surely_other(self) -> Tensor:
        """Objects whose noun is replaced, bool [K]."""
        told = torch.tensor([self.lexicon.tells_noun(c) for c in range(self.lexicon.size)])
        judgement = self.memory.judgement
        sure = judgement.other_probability > self.options.confidence
        return sure & told.to(sure.device)[judgement.other]

    def _trust(self, rows: Tensor) -> Tensor:
        """Weight of each prompt, float32 [P] in [0, 1]."""
        judgement = self.memory.judgement
        trust = torch.where(self.surely_other(), judgement.other_probability, judgement.right)
        return trust[rows.to(trust.device)]

    def _rows(self, batch: Batch) -> Tensor:
        keys = zip(batch.sequences, batch.object_ids, strict=True)
        return torch.tensor([self.lexicon.rows[key] for key in keys])

    # In checkpoints

    def state_dict(self) -> dict[str, Any]:
        """Both estimates, and what they rest on."""
        return {
            "epoch": self._epoch,
            "judged": self._judged,
            "profiles": self._profiles.cpu(),
            "nouns": self.memory.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on with them.

        Raises:
            ActisegError: If an earlier form of `repair`, which judged nouns otherwise, left them.
        """
        if "judged" not in state:
            raise ActisegError(
                "the checkpoint is of an earlier form of repair, whose judgements of nouns mean "
                "something else; train anew into another --out"
            )
        self._epoch, self._judged = state["epoch"], state["judged"]
        self._profiles = state["profiles"]
        self.memory.load_state_dict(state["nouns"])
