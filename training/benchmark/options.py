"""Options of ``actiseg benchmark``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from actiseg_ros.errors import ActisegError
from training.benchmark.protocol import WorldName
from training.benchmark.suites import Suite
from training.config.run import Preset, Reference
from training.data.splits import validation_split

OWN_TRAIN_OPTIONS = (
    "data", "out", "resume", "preset", "strategy", "reference", "seed", "text-noise", "mask-noise",
    "split", "epochs", "learning-rate", "pretrained", "positive-threshold", "device", "threads",
    "workers",
)  # fmt: skip
"""Options of ``actiseg train`` that the benchmark sets itself."""

SAVING_SECONDS = 90
"""What a job has to save after it was told that its time limit is near."""


@dataclass(frozen=True)
class BenchmarkOptions:
    """What a benchmark is; every option but the filters holds for all of its cells."""

    suite: Annotated[Suite, tyro.conf.Positional]
    """Tables I, II, III or V of the paper, all of them, or a small grid for a first look."""
    out: Path
    """Folder of the benchmark; a second call skips what is done and repeats what failed."""
    train: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Further options of `actiseg train` for every cell, after `--`: `-- --gce.q 0.5`; those of a
    strategy for its cells alone."""
    data: Path | None = None
    """Clean data in the ActionVOS layout; `smoke` draws a kitchen if it is not given."""
    world: WorldName | None = None
    """Make the data and the start of the findings' protocol (docs/findings_protocol.md) and take
    its recipe: `painted` (VISOR's annotations) or `kitchen` (drawn)."""
    world_folder: Path | None = None
    """Where the world lies; `world` in the benchmark's folder if not given. Benchmarks can share
    one."""
    visor: Path | None = None
    """For the painted world: a VISOR tree, of which the annotations are read."""
    annotations: Path | None = None
    """For the painted world: folder with the EPIC-KITCHENS-100 tables."""
    learning_rate: float | None = None
    """Peak rate of all cells; the preset's or, in a world, the protocol's if not given."""
    preset: Preset = "tiny"
    """Size of the network."""
    reference: Reference = "paper"
    """What all options follow that `train` does not give: the printed `paper`, or the authors'
    `released` code (docs/ambiguities.md)."""
    seeds: tuple[int, ...] = (0,)
    """Each cell is trained once with each."""
    strategies: tuple[str, ...] = ()
    """Only these strategies of the suite."""
    levels: tuple[str, ...] = ()
    """Only these noise levels of the suite: clean, name20, mask9, name60-mask21, ..."""
    epochs: int | None = None
    """Passes over the training split in every cell; else the preset's (co-teaching: its own)."""
    steps: int | None = None
    """Instead of epochs: at least so many optimiser steps of the baseline, rounded up to whole
    epochs, which every cell then takes. Co-teaching takes one step for a window of samples under
    the recipe of r101 and r50: far fewer."""
    pretrained: Path | None = None
    """Weights that all cells start from; the paper's are Ref-YouTube-VOS weights."""
    split: str = "train"
    """Split that is trained on."""
    val_split: str | None = None
    """Clean split that the final weights are evaluated on. By default `val_human`, the
    human-checked one of the paper, where there is one, else `val`."""
    positive_threshold: float | None = None
    """Objects that are active with less probability are not drawn: 0.75 as published, or what the
    preset validates with."""
    clip_length: int | None = None
    """Most frames evaluated together: 36 as published, 1 for a preset trained on single frames."""
    jobs: int | None = None
    """Cells at a time: one per GPU, else one per core; on Slurm all."""
    threads: int = 1
    """CPU threads of each cell."""
    workers: int = 1
    """Processes that load data for each cell."""
    gpus: int = 1
    """GPUs of each cell; more than one are joined by torchrun."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto` is CUDA if there is any, and on Slurm always CUDA."""
    cluster: Literal["none", "local", "slurm"] = "none"
    """Run cells here, as submitit jobs here (to try out), or as Slurm jobs."""
    minutes: int = 24 * 60
    """Time limit of a submitted job; it is queued again and resumes when it reaches the limit."""
    memory_gb: float | None = None
    """Memory of a Slurm job; the partition's default if not given."""
    partition: str | None = None
    """Slurm partition."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, NAME=VALUE: `--sbatch account=lab qos=long`."""
    keep_checkpoints: bool = False
    """Keep what only a resume needs (optimiser, pixel histories) after a cell is done."""
    dry_run: bool = False
    """List the cells with their state and do nothing."""

    def clean_split(self, data: Path) -> str:
        """Name of the split that the cells are evaluated on."""
        return self.val_split or validation_split(data)

    @property
    def cell_device(self) -> str:
        """Device of the cells: a job that asked Slurm for a GPU must not go on without one."""
        return "cuda" if self.cluster == "slurm" and self.device == "auto" else self.device

    def check(self) -> None:
        """Refuses values that no benchmark can have.

        Raises:
            ActisegError: Naming the option, its value and what is allowed.
        """
        for name in ("jobs", "epochs", "steps", "clip_length", "threads", "gpus", "minutes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                flag = name.replace("_", "-")
                raise ActisegError(f"--{flag} is {value}; it must be at least 1")
        if self.cluster == "slurm" and 60 * self.minutes <= SAVING_SECONDS:
            raise ActisegError(
                f"--minutes is {self.minutes}; a job is told to save {SAVING_SECONDS} seconds "
                "before its time limit, so it needs at least 2"
            )
        if self.epochs is not None and self.steps is not None:
            raise ActisegError("--epochs and --steps both name the budget; give one of them")
        if not self.seeds or min(self.seeds) < 0:
            raise ActisegError(f"--seeds is {[*self.seeds]}; give one or more, from 0 on")
        if self.data is None and self.world is None and self.suite != "smoke":
            raise ActisegError(
                f"{self.suite} needs --data, the folder that `prepare` wrote, or --world"
            )
        if self.world is not None:
            self._check_world()
        self._check_passed_on()

    def _check_world(self) -> None:
        standard = BenchmarkOptions(self.suite, self.out)
        for name in ("data", "pretrained", "steps", "split", "val_split"):
            if getattr(self, name) != getattr(standard, name):
                flag = name.replace("_", "-")
                raise ActisegError(f"--{flag} is what --world sets; give one of the two")
        if self.world == "painted" and (self.visor is None or self.annotations is None):
            raise ActisegError("--world painted needs --visor and --annotations, VISOR's own")

    def _check_passed_on(self) -> None:
        for argument in self.train:
            name = argument.partition("=")[0].lstrip("-").removeprefix("no-").replace("_", "-")
            if argument.startswith("--") and name in OWN_TRAIN_OPTIONS:
                raise ActisegError(
                    f"{argument} after `--` is set by the benchmark; give its own option before it"
                )
        for setting in self.sbatch:
            if not all(setting.partition("=")):
                raise ActisegError(f"--sbatch {setting}: expected NAME=VALUE")
