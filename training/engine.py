"""The one training loop, for every preset, strategy and number of processes."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.parallel import DistributedDataParallel
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from training.checkpoints import save_weights
from training.config import TrainConfig
from training.cues import activity_loss, narrated_loss
from training.data.clips import Batch
from training.distributed import World, joined_world
from training.errors import ActisegError
from training.inference import CLIP_LENGTH
from training.loading import epoch_batches, load_windows
from training.losses import COEFFICIENTS, Criterion, total
from training.model import ActionVOS
from training.optimization import MovingAverage, parameter_groups, rate_factor, set_rate
from training.parts import Parts, build_parts
from training.run_record import Meter, RunRecord, code_version, environment, peak_memory
from training.signals import StopRequest, stop_requests
from training.snapshot import load_snapshot, random_state, restore_random_state, save_snapshot
from training.strategies import Matched
from training.validation import Validator

CHECKPOINT = "checkpoint.pt"
_PAIRS = 96
"""Prompts without a picture in each step of a network with a text encoder of its own."""
LOG_EVERY = 10
"""Steps between two entries in the TensorBoard logs."""
INTERRUPTED = 130
"""Exit status after a signal, as a shell reports it for Ctrl-C."""

_FREE_TO_CHANGE = {
    "data", "out", "resume", "workers", "threads", "device", "save_minutes",
    "val_split", "val_clips", "val_every",
}  # fmt: skip
"""Options that a resumed run may change without changing its result."""


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
    with joined_world(config.device) as world, stop_requests() as stop:
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
        self.network: nn.Module = parts.network.to(world.device)
        self.criterion = Criterion(
            mask_loss=self.strategy.mask_loss,
            aux_mask_loss=self.strategy.aux_mask_loss,
            dice_term=self.strategy.dice_term,
        )
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.network, self.recipe), weight_decay=self.recipe.weight_decay
        )
        self.average = MovingAverage(self.network, self.recipe.ema) if self.recipe.ema else None
        self.epoch, self.window, self.step, self.best = 0, 0, 0, -math.inf
        torch.manual_seed(config.seed + 1 + world.rank)  # dropout differs between processes
        if config.resume and self.checkpoint.exists():
            self._restore()
        self.forward = self._distributed()
        self.validator = self._make_validator()
        self.saved_at = time.monotonic()
        self.meter = Meter()

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of one epoch."""
        rounds = max(1, len(self.parts.dataset) // (self.recipe.batch_size * self.world.size))
        return math.ceil(rounds / self.recipe.accumulate)

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
        """Runs the rest of the present epoch; False if a stop was requested."""
        self.network.train()
        self.strategy.begin_epoch(self.epoch, self.recipe.epochs)
        progress = tqdm(
            total=self.steps_per_epoch,
            initial=self.window,
            desc=f"epoch {self.epoch + 1}/{self.recipe.epochs}",
            unit="step",
            disable=not self.world.main,
        )
        self.meter = Meter()
        with progress:
            for window in self._windows():
                losses = self._optimise(window)
                self.window += 1
                self.step += 1
                samples = sum(len(batch.frames) for batch in window) * self.world.size
                self.meter.add(losses["total"], samples)
                progress.update()
                if self.step % LOG_EVERY == 0:
                    progress.set_postfix(loss=f"{losses['total']:.3f}")
                    if writer is not None:
                        for name, value in losses.items():
                            writer.add_scalar(f"train/{name}", value, self.step)
                # Both are decided together: saving is collective, and clocks and signals differ.
                overdue = time.monotonic() - self.saved_at > 60 * self.config.save_minutes
                stopping, saving = self.world.any(stop.requested, overdue)
                if stopping:
                    return False
                if saving:
                    self._save()
        return True

    def _windows(self) -> Iterator[list[Batch]]:
        """The epoch's remaining accumulation windows of this process."""
        batches = epoch_batches(
            len(self.parts.dataset),
            self.recipe.batch_size,
            seed=self.config.seed,
            epoch=self.epoch,
            rank=self.world.rank,
            world_size=self.world.size,
        )
        self.parts.dataset.set_epoch(self.epoch)
        return load_windows(
            self.parts.dataset,
            batches[self.window * self.recipe.accumulate :],
            self.recipe.accumulate,
            workers=self.config.workers,
            pin_memory=self.world.device.type == "cuda",
        )

    def _optimise(self, window: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step over the batches of an accumulation window; returns the losses."""
        rate = self.recipe.learning_rate * rate_factor(
            self.recipe,
            step=self.step,
            steps_per_epoch=self.steps_per_epoch,
            drops=self.config.lr_drop,
        )
        set_rate(self.optimizer, rate)
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, torch.Tensor] = {}
        for index, batch in enumerate(window):
            with self._gradients_stay_local(index < len(window) - 1):
                losses = self._losses(batch)
                (losses["total"] / len(window)).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value.detach() / len(window)
            self._require_finite("loss", losses["total"].detach(), [batch])
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip_norm)
        self._require_finite("gradient", norm, window)
        self.optimizer.step()
        if self.average is not None:
            self.average.update(self.network)
        values = torch.stack([*sums.values(), norm]).tolist()
        return dict(zip([*sums, "gradient_norm"], values, strict=True)) | {"rate": rate}

    def _losses(self, batch: Batch) -> dict[str, torch.Tensor]:
        """Loss terms of a batch and their weighted `total`."""
        ids, mask = self.parts.tokenize(batch.captions)
        device = self.world.device
        padded = bool(batch.padding.any())  # without padding the network skips its masks
        batch = batch.to(device)
        self.strategy.begin_batch(batch)
        pairs, narrated = self._narration_pairs()
        with (
            torch.autocast(device.type, torch.bfloat16, self.recipe.precision == "bfloat16"),
            _fast_attention(device),
        ):
            output = self.forward(
                batch.frames,
                batch.padding if padded else None,
                ids.to(device),
                mask.to(device),
                batch.sizes,
                batch.clip_of_prompt,
                pairs=pairs,
            )
        matches = self.criterion.match(output, batch)
        losses = self.criterion(output, batch, matches)
        matched = Matched.of(output, batch, matches[-1])
        extra = dict(self.strategy.extra_losses(output, batch, matched, None))
        if output.narrated is not None:
            extra["loss_narrated"] = narrated_loss(output.narrated, narrated)
        if output.activity is not None and self.recipe.negative_masks:
            extra["loss_activity"] = activity_loss(
                output.activity, batch.masks, batch.positive, batch.clip_of_prompt
            )
        coefficients = {**COEFFICIENTS, "loss_positive_labels": self.recipe.positive_coefficient}
        whole = total(losses, coefficients)
        for value in extra.values():
            whole = whole + value
        return {**losses, **extra, "total": whole}

    def _narration_pairs(self) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, torch.Tensor]:
        """Tokenised prompts for an own text encoder (None if it is frozen), and their labels."""
        if self.parts.pairs is None:
            return None, torch.empty(0)
        prompts, labels = self.parts.pairs.draw(_PAIRS, self.step, self.world.rank)
        ids, mask = self.parts.tokenize(prompts)
        device = self.world.device
        return (ids.to(device), mask.to(device)), torch.tensor(labels, device=device)

    def _require_finite(self, what: str, value: torch.Tensor, batches: Sequence[Batch]) -> None:
        """Stops all processes before the weights take a step that would ruin them."""
        bad = not math.isfinite(value.item())
        if not self.world.any(bad)[0]:
            return
        names = sorted({name for batch in batches for name in batch.sequences})
        where = f" on samples {', '.join(names)}" if bad else " in another process"
        raise ActisegError(
            f"{what} is {value.item()} at step {self.step} (epoch {self.epoch + 1}){where}; "
            f"the weights were not changed by it. Lower --learning-rate, or look at these "
            f"samples, and continue with --resume from {self.checkpoint}"
        )

    def _finish_epoch(self, record: RunRecord | None, writer: SummaryWriter | None) -> None:
        """Validates, keeps the weights and moves on to the next epoch."""
        self.epoch, self.window = self.epoch + 1, 0
        due = self.epoch % self.config.val_every == 0 or self.epoch == self.recipe.epochs
        if self.world.main:
            values: dict[str, Any] = {"step": self.step, **self.meter.values()}
            with self._averaged_weights() as network:
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
            if writer is not None:
                for name, value in values.items():
                    writer.add_scalar(f"validation/{name}", value, self.step)
            if record is not None:
                record.add_epoch(self.epoch, values)
                record.update(
                    peak_memory_bytes=peak_memory(self.world.device),
                    samples_per_second=values["samples_per_second"],
                )
        self._save()
        self.world.barrier()

    @contextmanager
    def _averaged_weights(self) -> Iterator[nn.Module]:
        """The network with its averaged weights, if they are kept; the trained ones come back."""
        if self.average is None:
            yield self.network
            return
        own = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.load_state_dict(self.average.average)
        try:
            yield self.network
        finally:
            self.network.load_state_dict(own)

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
        if self.world.main:
            save_snapshot(
                self.checkpoint,
                {
                    "config": self.config.as_json(),
                    "epoch": self.epoch,
                    "window": self.window,
                    "step": self.step,
                    "best": self.best,
                    "network": self.network.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "average": self.average.state_dict() if self.average else None,
                    "strategy": self.strategy.state_dict(),
                    "random": states,
                },
            )
        self.saved_at = time.monotonic()

    def _restore(self) -> None:
        state = load_snapshot(self.checkpoint, self.world.device)
        self._require_same_run(state["config"])
        self.epoch, self.window = state["epoch"], state["window"]
        self.step, self.best = state["step"], state["best"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.strategy.load_state_dict(state["strategy"])
        if len(state["random"]) == self.world.size:
            restore_random_state(state["random"][self.world.rank], self.world.device)
        self._say(f"resuming at epoch {self.epoch + 1}, step {self.step}")

    def _require_same_run(self, stored: dict[str, Any]) -> None:
        for name, value in self.config.as_json().items():
            before = stored.get(name)
            same = tuple(before or ()) == value if isinstance(value, tuple) else before == value
            if name not in _FREE_TO_CHANGE and not same:
                raise ActisegError(
                    f"{self.checkpoint} was made with --{name.replace('_', '-')} {before}, not "
                    f"{value}; resume with the same options or choose another --out"
                )

    def _distributed(self) -> nn.Module:
        if self.world.size == 1:
            return self.network
        device = self.world.device
        return DistributedDataParallel(
            self.network,
            device_ids=[device] if device.type == "cuda" else None,
            find_unused_parameters=True,  # e.g. the refinement of the last layer's box
        )

    @contextmanager
    def _gradients_stay_local(self, local: bool) -> Iterator[None]:
        """Sums gradients over processes only with the last batch of a window."""
        if local and isinstance(self.forward, DistributedDataParallel):
            with self.forward.no_sync():
                yield
        else:
            yield

    def _record(self) -> RunRecord | None:
        if not self.world.main:
            return None
        return RunRecord(
            self.config.out / "run.json",
            status="running",
            config=self.config.as_json(),
            seed=self.config.seed,
            processes=self.world.size,
            parameters=sum(p.numel() for p in self.network.parameters()),
            samples=len(self.parts.dataset),
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
            # What is trained on single frames is also used on single frames.
            clip_length=1 if self.recipe.frames_per_clip == 1 else CLIP_LENGTH,
        )

    def _say(self, text: str) -> None:
        if self.world.main:
            tqdm.write(text)


def _fast_attention(device: torch.device) -> AbstractContextManager[None]:
    """On a CPU the plain form: its fused kernel is slower where few words are the keys."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def _line(metrics: dict[str, Any]) -> str:
    names = ("p_miou", "n_miou", "p_ciou", "n_ciou", "giou", "acc")
    return "  ".join(f"{name} {metrics[name]:.1f}" for name in names)
