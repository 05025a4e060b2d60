"""The one training loop, for every preset, strategy and number of processes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.utils.tensorboard import SummaryWriter

from training.checkpoints.weights import save_weights
from training.config.run import TrainConfig
from training.data.clips import Batch
from training.engine.batch_losses import Objective
from training.engine.build import Parts, build_parts
from training.engine.distributed import World, joined_world
from training.engine.learner import Learner
from training.engine.loader import epoch_batches, load_windows
from training.engine.optimizer import rate_factor
from training.engine.run_record import Meter, RunRecord, code_version, environment, peak_memory
from training.engine.snapshot import (
    load_snapshot,
    random_state,
    require_same_options,
    restore_random_state,
    save_snapshot,
)
from training.engine.step import NonFiniteError, Stepper
from training.engine.stop_signals import StopRequest, stop_requests
from training.engine.validation import Validator
from training.evaluation.inference import CLIP_LENGTH
from training.files.disk import full_disk_explained
from training.files.errors import ActisegError
from training.files.progress import Progress, say
from training.model import ActionVOS

CHECKPOINT = "checkpoint.pt"
LOG_EVERY = 10
"""Steps between two entries in the TensorBoard logs."""
INTERRUPTED = 130
"""Exit status after a signal, as a shell reports it for Ctrl-C."""


def train(config: TrainConfig) -> int:
    """Trains a model as configured; every process of a ``torchrun`` calls this.

    Writes into ``config.out``: ``checkpoint.pt`` (everything a resumed run needs),
    ``last.safetensors`` and ``best.safetensors`` (weights with configuration and tokenizer),
    ``tokenizer.json``, ``run.json`` and TensorBoard logs.

    Returns:
        0 when all epochs are done, 130 when SIGINT or SIGTERM stopped the run after a checkpoint.

    Raises:
        ActisegError: For bad options or data, a non-finite loss, a full disk or a dead worker.
    """
    config.check()
    if config.threads:
        torch.set_num_threads(config.threads)
    with (
        joined_world(config.device) as world,
        stop_requests() as stop,
        full_disk_explained(config.out, "the run's files"),
    ):
        config.out.mkdir(parents=True, exist_ok=True)
        return Trainer(config, world).fit(stop)


class Trainer:
    """State of one run and the loop over its epochs.

    Args:
        config: the run.
        world: this process among those that train together.

    Raises:
        ActisegError: If the folder holds another run, or data or options are unusable.
    """

    def __init__(self, config: TrainConfig, world: World) -> None:
        self.config, self.world, self.recipe = config, world, config.recipe()
        self.checkpoint = config.out / CHECKPOINT
        if self.checkpoint.exists() and not config.resume:
            raise ActisegError(
                f"{config.out} already holds a run; add --resume to continue it, "
                "or choose another --out"
            )
        torch.manual_seed(config.seed)  # every process starts from the same weights
        parts: Parts = build_parts(config, self.recipe)
        self.parts, self.strategy = parts, parts.strategy
        self.learners = [Learner(network, self.recipe, world) for network in parts.networks]
        objective = Objective(parts, self.recipe, world)
        self.stepper = Stepper(
            self.learners, objective, self.strategy, world, self.recipe.clip_norm
        )
        self.epoch, self.window, self.step, self.best = 0, 0, 0, -math.inf
        self.meter = Meter()
        torch.manual_seed(config.seed + 1 + world.rank)  # dropout differs between processes
        resumed = self.checkpoint.exists()
        self.strategy.open(config.out, resume=resumed)
        if resumed:
            self._restore()
        self.validator = self._make_validator()
        self.saved_at = time.monotonic()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        rounds = max(1, len(self.parts.dataset) // (self.recipe.batch_size * self.world.size))
        return math.ceil(rounds / self.recipe.accumulate)

    @property
    def steps_per_window(self) -> int:
        """Optimiser steps between two choices of the samples that count; the last may be fewer."""
        samples = self.recipe.accumulate * self.recipe.batch_size * self.parts.prompts_per_sample
        return max(1, math.ceil(self.strategy.window / samples))

    def fit(self, stop: StopRequest) -> int:
        """Runs the remaining epochs; returns the exit status."""
        record = self._record()
        writer = SummaryWriter(str(self.config.out / "logs")) if self.world.main else None
        if not self.checkpoint.exists():
            self._save()  # whatever happens next, there is a checkpoint that loads
        try:
            while self.epoch < self.recipe.epochs:
                if not self._run_epoch(stop, writer):
                    self._save()
                    self._say(f"stopped at step {self.step}; continue with --resume")
                    return INTERRUPTED
                self._finish_epoch(record, writer)
        finally:
            if writer is not None:
                writer.close()
        if record is not None:
            record.update(status="done")
        return 0

    def _run_epoch(self, stop: StopRequest, writer: SummaryWriter | None) -> bool:
        """Runs the rest of the present epoch; False if a stop was requested before its end."""
        for learner in self.learners:
            learner.network.train()
        self.strategy.begin_epoch(self.epoch, self.recipe.epochs)
        progress = Progress(
            f"epoch {self.epoch + 1}/{self.recipe.epochs}",
            "steps",
            self.steps_per_epoch,
            initial=self.window * self.steps_per_window,
            shown=self.world.main,
        )
        self.meter.start()
        with progress:
            for window in self._windows():
                # Both are decided together: saving is collective, and clocks and signals differ.
                overdue = time.monotonic() - self.saved_at > 60 * self.config.save_minutes
                stopping, saving = self.world.any(stop.requested, overdue)
                if stopping:
                    return False
                if saving:
                    self._save()
                for losses in self._learn(window):
                    progress.update()
                    if self.step % LOG_EVERY == 0:
                        progress.note(loss=f"{losses['total']:.3f}")
                        if writer is not None:
                            for name, value in losses.items():
                                writer.add_scalar(f"train/{name}", value, self.step)
                self.window += 1
        return True

    def _windows(self) -> Iterator[list[Batch]]:
        """The epoch's remaining windows of this process, each of some optimiser steps."""
        batches = epoch_batches(
            len(self.parts.dataset),
            self.recipe.batch_size,
            seed=self.config.seed,
            epoch=self.epoch,
            rank=self.world.rank,
            world_size=self.world.size,
        )
        self.parts.dataset.set_epoch(self.epoch)
        size = self.recipe.accumulate * self.steps_per_window
        return load_windows(
            self.parts.dataset,
            batches[self.window * size :],
            size,
            workers=self.config.workers,
            pin_memory=self.world.device.type == "cuda",
        )

    def _learn(self, window: Sequence[Batch]) -> Iterator[dict[str, float]]:
        """Takes the optimiser steps of a window; yields the losses of each."""
        size = self.recipe.accumulate
        try:
            choices = self.stepper.choose(window, self.epoch)
            for start in range(0, len(window), size):
                part = slice(start, start + size)
                own = [choice[part] for choice in choices]
                losses = self.stepper.step(window[part], own, step=self.step, rate=self._rate())
                self.step += 1
                samples = sum(len(batch.frames) for batch in window[part]) * self.world.size
                self.meter.add(losses["total"], samples, self.strategy.log())
                yield losses
        except NonFiniteError as error:
            raise ActisegError(
                f"step {self.step} (epoch {self.epoch + 1}): {error}; the weights were not changed "
                "by it. Lower --learning-rate, or look at these samples, and continue with "
                f"--resume from {self.checkpoint}"
            ) from error

    def _rate(self) -> float:
        """Learning rate of the next step."""
        factor = rate_factor(
            self.recipe,
            step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            drops=self.config.lr_drop,
        )
        return self.recipe.learning_rate * factor

    def _finish_epoch(self, record: RunRecord | None, writer: SummaryWriter | None) -> None:
        """Validates, keeps the weights and moves on to the next epoch."""
        # Whatever ends the run below costs no step: a resumed one finds no window left and comes
        # here again.
        self._save()
        self.epoch, self.window = self.epoch + 1, 0
        due = self.epoch % self.config.val_every == 0 or self.epoch == self.recipe.epochs
        if self.world.main:
            values: dict[str, Any] = {"step": self.step, **self.meter.values()}
            with self.learners[0].averaged_weights() as network:
                model = self.strategy.exported(network)
                if self.validator is not None and due:
                    metrics = self.validator.run(model)
                    values |= metrics
                    self._say(f"epoch {self.epoch}: " + _line(metrics))
                    # Right active masks less wrong inactive ones; cIoU would follow big objects.
                    score = metrics["p_miou"] - metrics["n_miou"] + metrics["acc"]
                    if score > self.best:
                        self.best = score
                        self._export(model, "best.safetensors", values)
                self._export(model, "last.safetensors", values)
            for peer in self.learners[1:]:
                with peer.averaged_weights() as network:
                    self._export(self.strategy.exported(network), "last.peer.safetensors", values)
            if writer is not None:
                for name, value in values.items():
                    writer.add_scalar(f"validation/{name}", value, self.step)
            if record is not None:
                record.add_epoch(self.epoch, values)
                record.update(
                    peak_memory_bytes=peak_memory(self.world.device),
                    samples_per_second=values["samples_per_second"],
                )
        self.meter = Meter()
        self._save()
        self.world.barrier()

    def _export(self, model: ActionVOS, name: str, values: dict[str, Any]) -> None:
        run = self.config.as_json()
        # The weights travel; where one machine kept its data says nothing elsewhere.
        for option in ("data", "out", "pretrained", "roberta"):
            run[option] = Path(run[option]).name if run[option] else None
        provenance = {"run": run, "epoch": self.epoch, "metrics": values}
        metadata = {
            "tokenizer": self.parts.tokenizer.to_str(),
            "vocabulary": json.dumps(self.parts.vocabulary),
            "provenance": json.dumps(provenance | {"code": code_version()}),
        }
        save_weights(self.config.out / name, model, metadata)

    def _save(self) -> None:
        """Writes the checkpoint; every process takes part with its random state."""
        states = self.world.gather(random_state(self.world.device))
        strategy = self.strategy.state_dict()
        if self.world.main:
            save_snapshot(
                self.checkpoint,
                {
                    "config": self.config.as_json(),
                    "epoch": self.epoch,
                    "window": self.window,
                    "step": self.step,
                    "best": self.best,
                    "meter": self.meter.state_dict(),
                    **self.learners[0].state_dict(),
                    "peers": [learner.state_dict() for learner in self.learners[1:]],
                    "strategy": strategy,
                    "random": states,
                },
            )
        self.saved_at = time.monotonic()

    def _restore(self) -> None:
        state = load_snapshot(self.checkpoint, self.world.device)
        require_same_options(self.checkpoint, state["config"], self.config.as_json())
        self.epoch, self.window = state["epoch"], state["window"]
        self.step, self.best = state["step"], state["best"]
        if "meter" in state:  # earlier versions kept none
            self.meter.load_state_dict(state["meter"])
        for learner, own in zip(self.learners, [state, *state.get("peers", [])], strict=True):
            learner.load_state_dict(own)
        self.strategy.load_state_dict(state["strategy"])
        if len(state["random"]) == self.world.size:
            restore_random_state(state["random"][self.world.rank], self.world.device)
        self._say(f"resuming at epoch {self.epoch + 1}, step {self.step}")

    def _record(self) -> RunRecord | None:
        if not self.world.main:
            return None
        return RunRecord(
            self.config.out / "run.json",
            status="running",
            config=self.config.as_json(),
            seed=self.config.seed,
            processes=self.world.size,
            parameters=sum(p.numel() for p in self.learners[0].network.parameters()),
            samples=len(self.parts.dataset),
            noise=self.parts.noise,
            **environment(self.world.device),
        )

    def _make_validator(self) -> Validator | None:
        if not self.world.main or not self.config.val_split:
            return None
        return Validator(
            self.config.data,
            self.config.val_split,
            clips=self.config.val_clips,
            tokenize=self.parts.tokenize,
            positive_threshold=self.recipe.positive_threshold,
            # What is trained on single frames is also used on single frames.
            clip_length=1 if self.recipe.frames_per_clip == 1 else CLIP_LENGTH,
        )

    def _say(self, text: str) -> None:
        if self.world.main:
            say(text)


def _line(metrics: dict[str, Any]) -> str:
    names = ("p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc")
    return "  ".join(f"{name} {metrics[name]:.1f}" for name in names)
