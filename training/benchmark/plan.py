"""From the options of a benchmark to the jobs of its cells: data, budget, common options."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from actiseg_ros.errors import ActisegError
from training.benchmark import protocol
from training.benchmark.cell import CellJob
from training.benchmark.cell_result import CellKey
from training.benchmark.options import BenchmarkOptions
from training.benchmark.protocol import WorldName
from training.benchmark.settings import claim_settings
from training.config.run import TrainConfig

_SMOKE_EPOCHS = 2
_SMOKE_CLIPS = 12
_SMOKE_SEED = 4


def plan(options: BenchmarkOptions, cells: Sequence[CellKey]) -> list[CellJob]:
    """The jobs of the cells; draws the kitchen of `smoke` where no data is given.

    Raises:
        ActisegError: If the data or an option of the training is unusable, or the folder holds
            cells made with other options.
    """
    if options.world is not None:
        options = _under_protocol(options, options.world)
    if options.suite == "smoke" and options.epochs is None and options.steps is None:
        options = replace(options, epochs=_SMOKE_EPOCHS)
    data = (options.data or _smoke_kitchen(options.out)).resolve()
    jobs = _jobs(options, data, cells)
    claim_settings(options, data)
    return jobs


def _jobs(options: BenchmarkOptions, data: Path, cells: Sequence[CellKey]) -> list[CellJob]:
    from training.engine.commands import without_others

    train = _train_options(options)
    config = _checked(("--preset", options.preset, *train), data)
    epochs = options.epochs
    if options.steps is not None:
        epochs = _epochs_for(options.steps, config, options.gpus)
    if epochs is not None:
        train += ("--epochs", str(epochs))
    more = "--epochs", str(protocol.longer(epochs or config.recipe().epochs))
    predict = (
        *("--positive-threshold", str(config.recipe().positive_threshold)),
        *("--clip-length", str(_clip_length(options, config)), "--device", options.cell_device),
    )
    return [
        CellJob(
            key=cell,
            root=options.out.resolve(),
            data=data,
            val_split=options.clean_split(data),
            train=without_others(
                (*train, *more) if cell.is_longer else train, cell.trained_strategy
            ),
            predict=predict,
            threads=options.threads,
            gpus=options.gpus,
            keep_checkpoint=options.keep_checkpoints,
        )
        for cell in cells
    ]


def _train_options(options: BenchmarkOptions) -> tuple[str, ...]:
    """What all cells' trainings have in common; validation in training only where asked for."""
    own = [
        *("--val-split", "", *options.train, "--split", options.split),
        *("--reference", options.reference),
        *("--device", options.cell_device, "--threads", str(options.threads)),
        *("--workers", str(options.workers)),
    ]
    if options.learning_rate is not None:
        own += ["--learning-rate", str(options.learning_rate)]
    if options.positive_threshold is not None:
        own += ["--positive-threshold", str(options.positive_threshold)]
    if options.pretrained is not None:
        own += ["--pretrained", str(options.pretrained.resolve())]
    return tuple(own)


def _checked(train: Sequence[str], data: Path) -> TrainConfig:
    """The baseline's run, after the options of all strategies were read, so that mistakes show."""
    from training.engine.commands import strategy_of

    for strategy in dict.fromkeys(filter(None, map(strategy_of, train))):
        _parsed(strategy, train, data)
    return _parsed("baseline", train, data)


def _parsed(strategy: str, train: Sequence[str], data: Path) -> TrainConfig:
    """The options as the trainings of a strategy's cells will read them."""
    from training.engine.commands import parse_train, without_others

    own = "--strategy", strategy, *without_others(train, strategy)
    arguments = ["--data", str(data), "--out", "run", *own]
    config = parse_train(arguments, prog="actiseg benchmark SUITE ... --")
    config.check()
    return config


def _epochs_for(steps: int, config: TrainConfig, processes: int) -> int:
    """The fewest epochs with so many optimiser steps."""
    from training.data.clips import ClipDataset
    from training.data.transforms import PublishedTraining

    recipe = config.recipe()
    samples = len(
        ClipDataset(
            config.data,
            config.split,
            frames_per_clip=recipe.frames_per_clip,
            objects=recipe.objects,
            transform=PublishedTraining(),
        )
    )
    rounds = max(1, samples // (recipe.batch_size * processes))
    return math.ceil(steps / math.ceil(rounds / recipe.accumulate))


def _clip_length(options: BenchmarkOptions, config: TrainConfig) -> int:
    if options.clip_length is not None:
        return options.clip_length
    # What is trained on single frames is also used on single frames.
    return 1 if config.recipe().frames_per_clip == 1 else 36


def _under_protocol(options: BenchmarkOptions, world: WorldName) -> BenchmarkOptions:
    """The options with what the findings' protocol sets; makes the world.

    Raises:
        ActisegError: If the protocol leaves something open that the command line does not give.
    """
    from training.benchmark.world import Sources, make_world

    pilot = options.suite == "pilot"  # which settles what is open
    epochs = options.epochs or protocol.EPOCHS
    rate = options.learning_rate or protocol.LEARNING_RATE[world]
    threshold = options.positive_threshold
    if threshold is None and not pilot:
        threshold = protocol.POSITIVE_THRESHOLD[world]
    if rate is None or (threshold is None and not pilot):
        raise ActisegError(
            f"the pilot has not settled --learning-rate and --positive-threshold in world {world} "
            "yet (docs/findings_protocol.md); give them to try values out"
        )
    sources = None
    if options.visor is not None and options.annotations is not None:
        sources = Sources(options.visor, options.annotations)
    folder = options.world_folder or options.out / "world"
    # Not `cell_device`: the start is trained here, and not in a job of the cluster's.
    made = make_world(world, folder, sources, device=options.device)
    return replace(
        options,
        data=made.data,
        pretrained=made.start,
        split=protocol.TRAIN_SPLIT,
        val_split=protocol.CHOOSE_SPLIT if pilot else protocol.TEST_SPLIT,
        train=(*protocol.cell_options(epochs), *options.train),
        epochs=epochs,
        learning_rate=rate,
        positive_threshold=threshold,
    )


def _smoke_kitchen(out: Path) -> Path:
    """A small kitchen in the benchmark's folder, drawn once."""
    from training.data.kitchen import KitchenConfig, make_kitchen
    from training.data.prepare import prepare

    tree, data = out / "kitchen", out / "data"
    config = KitchenConfig(_SMOKE_CLIPS, seed=_SMOKE_SEED, val_share=0.34, frame_size=(427, 240))
    make_kitchen(tree, config)
    prepare(tree / "VISOR", tree / "annotations", data)
    return data
