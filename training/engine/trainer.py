"""The one training loop, for every preset, strategy and number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import nn

from actiseg_ros.errors import ActisegError
from training.config.run import CHECKPOINT, TrainConfig
from training.data.clips import Batch
from training.data.splits import validation_split
from training.engine.distributed import ProcessGroup, process_group
from training.engine.finished import is_finished
from training.engine.loader import epoch_batches, lack_of_memory_explained, load_windows
from training.engine.optimizer import rate_factor
from training.engine.run_output import RunOutput
from training.engine.run_record import Meter
from training.engine.setup import TrainingSetup, build_setup
from training.engine.snapshot import (
    load_frozen,
    load_snapshot,
    random_state,
    require_same_inputs,
    require_same_options,
    restore_random_state,
    save_frozen,
    save_snapshot,
)
from training.engine.step import TrainingStep
from training.engine.step_numbers import NonFiniteError, UnreadSteps
from training.engine.stop_signals import StopRequest, stop_requests
from training.engine.summary import summary
from training.engine.trained_network import TrainedNetwork
from training.engine.validation import Validator
from training.evaluation.inference import CLIP_LENGTH
from training.evaluation.metrics import METRICS
from training.files.disk import full_disk_explained
from training.files.lock import sole_writer
from training.files.progress import Progress, say
from training.losses.context import StepPosition
from training.model.device import has_bfloat16
from training.strategies import Selection, with_strategy_options

LOG_EVERY = 10
"""Steps between two entries in the TensorBoard logs, which is when the device is asked."""
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
        ActisegError: For bad options or data, a folder that another training writes, a non-finite
            loss, a full disk, memory that ran out or a dead worker.
    """
    config = with_strategy_options(config)
    config.check()
    if config.threads:
        torch.set_num_threads(config.threads)
    with (
        process_group(config.device) as group,
        stop_requests() as stop,
        full_disk_explained(config.out, "the run's files"),
        lack_of_memory_explained(),
    ):
        if group.device.type == "cuda":
            rounded = config.recipe().precision != "float32"
            torch.backends.cuda.matmul.allow_tf32 = rounded
            torch.backends.cudnn.allow_tf32 = rounded
        with sole_writer(config.out, wait=False) if group.main else nullcontext():
            return Trainer(config, group).fit(stop)


def _on_device(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The run in float32 if the bfloat16 of its preset would be imitated."""
    meant = config.precision is not None or config.recipe().precision != "bfloat16"
    return config if meant or has_bfloat16(device) else replace(config, precision="float32")


class _GivenUpError(Exception):
    """A stop was requested inside a step, and nothing of the step is kept."""


class Trainer:
    """State of one run and the loop over its epochs.

    Args:
        config: the run.
        group: this process among those that train together.

    Raises:
        ActisegError: If the folder holds another run, or data or options are unusable.
    """

    def __init__(self, config: TrainConfig, group: ProcessGroup) -> None:
        config = with_strategy_options(config)
        if config.val_split is None:
            config = replace(config, val_split=validation_split(config.data))
        config = _on_device(config, group.device)
        self.config, self.group, self.recipe = config, group, config.recipe()
        self.checkpoint = config.out / CHECKPOINT
        if self.checkpoint.exists() and not config.resume:
            raise ActisegError(
                f"{config.out} already holds a run; add --resume to continue it, "
                "or choose another --out"
            )
        torch.manual_seed(config.seed)  # every process starts from the same weights
        self.resumed = resumed = self.checkpoint.exists()
        state = self._stored() if resumed else None
        # A resumed run's weights come from its own folder alone.
        start = replace(config, pretrained=None) if resumed else config
        self.setup: TrainingSetup = build_setup(start, self.recipe, self._say)
        self.strategy = self.setup.strategy
        self.networks = [
            TrainedNetwork(network, self.recipe, group, self.strategy.teacher_decay)
            for network in self.setup.networks
        ]
        self.training_step = TrainingStep(self.setup, self.networks, self.recipe, group)
        self.training_step.between_batches = self._give_up_if_asked
        self.stop = StopRequest()
        self.epoch, self.window, self.step, self.best = 0, 0, 0, -math.inf
        self.best_measure: dict[str, Any] | None = None
        """What `best` was measured with (`Validator.measure`); None if that is not known."""
        self._left_out: set[str] = set()
        """Numbers of the validation of which it was said that they are not defined."""
        self.taken = 0
        """Optimiser steps of the present window."""
        self.selection: Selection | None = None
        """What `TrainingStep.select` said of the present window."""
        self.frozen: str | None = None
        """Digest of the file with what is frozen."""
        self.done = 0.0
        """Of the epoch, in steps of the schedule."""
        self.meter = Meter()
        self.unread = UnreadSteps(group)
        torch.manual_seed(config.seed + 1 + group.rank)  # dropout differs between processes
        self.strategy.open(config.out, resume=resumed)
        if state is not None:
            self._restore(state)
        self.validator = self._make_validator()
        self._forget_incomparable_best()
        self.saved_at = time.monotonic()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        rounds = max(1, len(self.setup.dataset) // (self.recipe.batch_size * self.group.size))
        return math.ceil(rounds / self.recipe.accumulate)

    @property
    def steps_per_window(self) -> int:
        """Optimiser steps between two choices of the samples that count; the last may be fewer."""
        samples = self.recipe.accumulate * self.recipe.batch_size * self.setup.prompts_per_sample
        return max(1, math.ceil(self.strategy.window / samples))

    def fit(self, stop: StopRequest) -> int:
        """Runs the remaining epochs; returns the exit status."""
        self.stop = stop
        if self.epoch >= self.recipe.epochs and is_finished(self.config.out):
            # Its record says what trained it; this process did not.
            self._say(f"{self.config.out}: all {self.epoch} epochs are done")
            return 0
        output = None
        if self.group.main:
            parameters = sum(p.numel() for p in self.networks[0].network.parameters())
            output = RunOutput(
                self.config, self.setup, self.group, parameters, resumed=self.resumed
            )
        if self.group.main:
            for line in summary(self):
                say(line)
        if not self.checkpoint.exists():
            if self.group.main:
                frozen = [trained.frozen for trained in self.networks]
                self.frozen = save_frozen(self.config.out, frozen)
            self._save()  # whatever happens next, there is a checkpoint that loads
        try:
            while self.epoch < self.recipe.epochs:
                finished = self._run_epoch(stop, output)
                if not finished:
                    self._save()
                if not finished or not self._finish_epoch(stop, output):
                    self._say(f"stopped at step {self.step}; continue with --resume")
                    return INTERRUPTED
        finally:
            if output is not None:
                output.close()
        if output is not None:
            output.done()
        return 0

    def _run_epoch(self, stop: StopRequest, output: RunOutput | None) -> bool:
        """Runs the rest of the present epoch; False if a stop was requested before its end."""
        for trained in self.networks:
            trained.network.train()
        self.strategy.begin_epoch(self.epoch, self.recipe.epochs)
        progress = Progress(
            f"epoch {self.epoch + 1}/{self.recipe.epochs}",
            "steps",
            self.steps_per_epoch,
            initial=self.window * self.steps_per_window
            + (0 if self.strategy.step_for_each_sample else self.taken),
            shown=self.group.main,
        )
        self.meter.start()
        with progress, suppress(_GivenUpError):
            for window in self._windows():
                if self._must_end(stop):
                    return False
                for _ in self.learn(window):
                    progress.reach(self.done)
                    if self.step % LOG_EVERY == 0:
                        numbers = self.read()
                        progress.note(loss=f"{numbers['total']:.3f}")
                        if output is not None:
                            output.add_scalars("train", numbers, self.step)
                    if self.selection is not None and self._must_end(stop):
                        return False
            return True
        return False

    def _must_end(self, stop: StopRequest) -> bool:
        """Whether a stop was requested in any process; saves if that is due."""
        # Both are decided together: saving is collective, and clocks and signals differ.
        overdue = time.monotonic() - self.saved_at > 60 * self.config.save_minutes
        stopping, saving = self.group.any(stop.requested, overdue)
        if saving and not stopping:
            self._save()
        return stopping

    def _windows(self) -> Iterator[list[Batch]]:
        """The epoch's remaining windows of this process, each of some optimiser steps."""
        batches = epoch_batches(
            len(self.setup.dataset),
            self.recipe.batch_size,
            seed=self.config.seed,
            epoch=self.epoch,
            rank=self.group.rank,
            processes=self.group.size,
        )
        self.setup.dataset.set_epoch(self.epoch)
        size = self.recipe.accumulate * self.steps_per_window
        return load_windows(
            self.setup.dataset,
            batches[self.window * size :],
            size,
            workers=self.config.workers,
            pin_memory=self.group.device.type == "cuda",
        )

    def learn(self, window: Sequence[Batch]) -> Iterator[None]:
        """Takes the remaining optimiser steps of a window, one each time; `read` tells of them."""
        if self.selection is None:
            with self._explained(), self._whole_or_not_at_all():
                self.selection = self.training_step.select(window, self._position())
        chosen = self.selection.log
        steps = self.training_step.divide(window, self.selection)
        before = self.window * self.steps_per_window
        usual = math.ceil(len(window) / self.recipe.accumulate)
        for index in range(self.taken, len(steps)):
            shares = steps[index]
            # Strategies may take more steps than the schedule counts for a window.
            rate = self._rate(before + index * usual // len(steps))
            with self._whole_or_not_at_all():
                result = self.training_step.take(shares, self._position(), rate)
            samples = sum(len(batch.frames) for batch in shares[0].batches) * self.group.size
            log = {**chosen, **result.log}
            self.unread.add(self.step, samples, rate, result._replace(log=log))
            self.step += 1
            self.taken, self.done = index + 1, before + (index + 1) * usual / len(steps)
            if self.taken == len(steps):
                self.window, self.taken, self.selection = self.window + 1, 0, None
            yield

    def _give_up_if_asked(self) -> None:
        if any(self.group.any(self.stop.requested)):
            raise _GivenUpError

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Within, a step that is given up leaves no trace, so that a resumed run takes it anew."""
        if len(self.networks) == 1:  # its steps are short, and are not given up
            yield
            return
        drawn = random_state(self.group.device)
        kept = [
            (value, value.clone())
            for trained in self.networks
            for module in trained.network.modules()
            if isinstance(module, nn.BatchNorm2d)
            for value in module.buffers()
        ]
        try:
            yield
        except _GivenUpError:
            restore_random_state(drawn, self.group.device)
            for value, before in kept:
                value.copy_(before)
            raise

    def read(self) -> dict[str, float]:
        """Reads what the steps since the last call said; the numbers of the last one, if any.

        Raises:
            ActisegError: If a loss or gradient was not finite.
        """
        with self._explained():
            steps = self.unread.read()
        for numbers in steps:
            self.meter.add(numbers.losses["total"], numbers.samples, numbers.log)
        return {**steps[-1].losses, "rate": steps[-1].rate, **steps[-1].log} if steps else {}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Within, a number that is not finite ends the run with what to do about it."""
        try:
            yield
        except NonFiniteError as error:
            raise ActisegError(
                f"step {error.step} (epoch {self.epoch + 1}): {error.said}; no checkpoint was "
                "written after it. Lower --learning-rate, or look at these samples, and continue "
                f"with --resume from {self.checkpoint}"
            ) from error

    def _position(self) -> StepPosition:
        return StepPosition(self.epoch, self.recipe.epochs, self.step)

    def _rate(self, step: int) -> float:
        """Learning rate of a step of the epoch's schedule."""
        factor = rate_factor(
            self.recipe,
            step=self.epoch * self.steps_per_epoch + step,
            steps_per_epoch=self.steps_per_epoch,
        )
        return self.recipe.learning_rate * factor

    def _finish_epoch(self, stop: StopRequest, output: RunOutput | None) -> bool:
        """Validates, keeps the weights and moves on to the next epoch.

        Returns:
            False if a stop was requested before the end of the validation.
        """
        # Whatever ends the run below costs no step: a resumed one finds no window left and comes
        # here again.
        self._save()
        network, *peers = [trained.averaged for trained in self.networks]
        done = self.epoch + 1
        metrics: dict[str, float] = {}
        due = done % self.config.val_every == 0 or done == self.recipe.epochs
        if self.validator is not None and due:
            exported = self.strategy.exported(network)
            validated = self.validator.run(exported, self.group, lambda: stop.requested)
            if validated is None:
                return False
            metrics = validated
        self.epoch, self.window = done, 0
        if output is not None:
            values: dict[str, Any] = {"step": self.step, **self.meter.values(), **metrics}
            if self.epoch == 1:
                output.set_former_weights_aside()  # of a run whose checkpoint is gone
            if self.validator is not None and metrics:
                self._say(f"epoch {self.epoch}: " + _line(metrics))
                score = self._score(metrics)
                if score > self.best:
                    self.best, self.best_measure = score, self.validator.measure
                    output.save_weights(
                        network,
                        "best.safetensors",
                        self.epoch,
                        values,
                        chosen_on=self.config.val_split,
                    )
            output.save_weights(network, "last.safetensors", self.epoch, values)
            for number, peer in enumerate(peers, 1):
                name = f"last.peer{number if number > 1 else ''}.safetensors"
                output.save_weights(peer, name, self.epoch, values)
            output.add_epoch(self.epoch, values, self.step)
        self.meter = Meter()
        self._save()
        return True

    def _score(self, metrics: Mapping[str, float]) -> float:
        """What `best.safetensors` is best in: right active masks less wrong inactive ones.

        cIoU would follow big objects. What is not defined, since the split has no such object, is
        left out.
        """
        terms = {"p_miou": metrics["p_miou"], "n_miou": -metrics["n_miou"], "acc": metrics["acc"]}
        undefined = {name for name, value in terms.items() if math.isnan(value)}
        if undefined - self._left_out:
            self._say(
                f"{', '.join(sorted(undefined))}: undefined on split {self.config.val_split}; "
                "best.safetensors is chosen without"
            )
            self._left_out |= undefined
        return sum(value for name, value in terms.items() if name not in undefined)

    def _save(self) -> None:
        """Writes the checkpoint; every process takes part with its random state.

        Raises:
            ActisegError: If a step since the last reading was not finite; nothing is written then.
        """
        self.read()
        selection = self.selection and asdict(self.selection)
        own = random_state(self.group.device), self.taken, selection
        states, taken, selections = zip(*self.group.gather(own), strict=True)
        strategy = self.strategy.state_dict()
        if self.group.main:
            save_snapshot(
                self.checkpoint,
                {
                    "config": self.config.as_json(),
                    "inputs": self.setup.inputs,
                    "epoch": self.epoch,
                    "window": self.window,
                    "taken": taken[0],
                    "selections": [*selections],
                    "frozen": self.frozen,
                    "step": self.step,
                    "best": self.best,
                    "best_measure": self.best_measure,
                    "meter": self.meter.state_dict(),
                    **self.networks[0].state_dict(),
                    "peers": [peer.state_dict() for peer in self.networks[1:]],
                    "strategy": strategy,
                    "random": [*states],
                },
            )
        self.saved_at = time.monotonic()

    def _stored(self) -> dict[str, Any]:
        """The state of the run that this one continues."""
        state = load_snapshot(self.checkpoint)
        require_same_options(self.checkpoint, state["config"], self.config.as_json())
        before = len(state["random"])
        if before != self.group.size:
            raise ActisegError(
                f"{self.checkpoint} was written by {before} processes, and {self.group.size} would "
                f"go on otherwise: start {before} (torchrun --nproc-per-node {before}), or begin a "
                "new run with --pretrained last.safetensors"
            )
        return state

    def _restore(self, state: dict[str, Any]) -> None:
        inputs = state.get("inputs", {})
        require_same_inputs(self.checkpoint, inputs, self.setup.inputs)
        self.setup.inputs.update(inputs)  # also of what is not read again
        self.epoch, self.window, self.taken = state["epoch"], state["window"], state["taken"]
        selection = state["selections"][self.group.rank]
        self.selection = selection and Selection(**selection)
        self.step, self.best, self.frozen = state["step"], state["best"], state["frozen"]
        self.best_measure = state.get("best_measure")
        self.meter.load_state_dict(state["meter"])
        networks = [state, *state["peers"]]
        frozen = load_frozen(self.config.out, self.frozen, len(networks))
        for trained, own, fixed in zip(self.networks, networks, frozen, strict=True):
            trained.load_state_dict(own, fixed)
        self.strategy.load_state_dict(state["strategy"])
        restore_random_state(state["random"][self.group.rank], self.group.device)
        self._say(f"resuming at epoch {self.epoch + 1}, step {self.step}")

    def _make_validator(self) -> Validator | None:
        if not self.config.val_split:
            return None
        return Validator(
            self.config.data,
            self.config.val_split,
            clips=self.config.val_clips,
            tokenize=self.setup.tokenize,
            positive_threshold=self.recipe.positive_threshold,
            # What is trained on single frames is also used on single frames.
            clip_length=1 if self.recipe.frames_per_clip == 1 else CLIP_LENGTH,
        )

    def _forget_incomparable_best(self) -> None:
        """Lets `best.safetensors` be chosen anew where scores mean something else than before."""
        if self.validator is None or self.best_measure is None:
            return
        measure = self.validator.measure
        changed = [name for name, value in measure.items() if self.best_measure.get(name) != value]
        if changed:
            self._say(
                f"validation differs from before ({', '.join(changed)}): best.safetensors is "
                "chosen anew from here on"
            )
            self.best, self.best_measure = -math.inf, None

    def _say(self, text: str) -> None:
        if self.group.main:
            say(text)


def _line(metrics: dict[str, Any]) -> str:
    return "  ".join(f"{name} {metrics[name]:.1f}" for name in METRICS)
