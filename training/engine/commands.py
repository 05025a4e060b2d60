"""The commands `actiseg train` and `region-scores`, which computes what a strategy may read."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from actiseg_ros.errors import ActisegError, BundleError
from training.checkpoints.starts import start_preset
from training.config.noise import NameOptions, Vocabulary
from training.config.run import TrainConfig
from training.strategies import STRATEGIES, reference_values


def train_config(command: Any) -> TrainConfig:
    """The run that a command line describes, with the options of its strategy."""
    values = {entry.name: getattr(command, entry.name) for entry in fields(TrainConfig)}
    values["strategy_options"] = getattr(command, _field(command.strategy), None)
    return TrainConfig(**values)


def _run(command: Any) -> int:
    """Trains; 0 when all epochs are done, 130 when a signal stopped it after a checkpoint."""
    from training.engine.trainer import train

    return train(train_config(command))


def _field(strategy: str) -> str:
    return strategy.replace("-", "_")


def strategy_of(argument: str) -> str | None:
    """Whose option an argument is: ``--gce.q``, ``--gce.q=0.5``; None if no strategy's."""
    if not argument.startswith("--"):
        return None
    name, dot, _ = argument[2:].partition("=")[0].partition(".")
    name = name.removeprefix("no-").replace("_", "-")
    return name if dot and name in STRATEGIES else None


def without_others(arguments: Sequence[str], strategy: str) -> tuple[str, ...]:
    """The arguments without the options, and their values, of strategies other than this one."""
    kept, leaves = [], False
    for argument in arguments:
        if argument.startswith("--"):  # what does not is a value, also -4
            leaves = strategy_of(argument) not in (None, strategy)
        if not leaves:
            kept.append(argument)
    return tuple(kept)


def _refuse_others(arguments: Sequence[str], strategy: str) -> None:
    """Refuses options of a strategy that is not chosen: they would do nothing.

    Raises:
        ActisegError: Naming the option and both strategies.
    """
    for argument in arguments:
        if (other := strategy_of(argument)) not in (None, strategy):
            raise ActisegError(
                f"{argument.partition('=')[0]} is an option of the strategy {other}, but "
                f"--strategy is {strategy}; leave it out, or give --strategy {other}"
            )


def _defaults(command: type[Any], arguments: Sequence[str]) -> Any:
    """The command's values where its arguments give none.

    They are those of the reference that the arguments name, and of the bundle to start from.

    Raises:
        ActisegError: If an option is of a strategy that is not the chosen one.
    """
    choice = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    choice.add_argument("--reference", default="paper")
    choice.add_argument("--strategy", default="baseline")
    choice.add_argument("--preset")
    choice.add_argument("--pretrained", type=Path)
    try:
        chosen, _ = choice.parse_known_args(arguments)
    except SystemExit:  # an option without its value: the real parser explains
        return command(data=tyro.MISSING, out=tyro.MISSING)
    if chosen.strategy in STRATEGIES:  # else the run itself explains
        _refuse_others(arguments, chosen.strategy)
    values: dict[str, Any] = {}
    if chosen.reference == "released" and chosen.strategy in STRATEGIES:
        values = reference_values("released", chosen.strategy)
        del values["strategy_options"]
        values["reference"] = "released"
        values |= {
            _field(name): kind.released for name, kind in STRATEGIES.items() if fields(kind.Options)
        }
    if chosen.preset is None:
        with suppress(BundleError):  # the run itself explains
            values["preset"] = start_preset(chosen.pretrained) or TrainConfig.preset
    return command(data=tyro.MISSING, out=tyro.MISSING, **values)


_STRATEGY = tyro.conf.arg(
    metavar="{" + ",".join(STRATEGIES) + "}", help="Learning strategy against noisy labels."
)

Train: type[Any] = make_dataclass(
    "Train",
    [
        ("strategy", Annotated[str, _STRATEGY], field(default="baseline")),
        *(
            (_field(name), kind.Options, field(default_factory=kind.Options))
            for name, kind in STRATEGIES.items()
            if fields(kind.Options)
        ),
    ],
    bases=(TrainConfig,),
    frozen=True,
    namespace={
        "__doc__": "Train a model; `--resume` continues an interrupted run, `torchrun` uses "
        "several devices.",
        "run": _run,
        "defaults": classmethod(_defaults),
    },
)
"""`TrainConfig` with the options of every strategy, each under the strategy's name."""


def parse_train(arguments: Sequence[str], prog: str = "actiseg train") -> TrainConfig:
    """Reads the options of ``actiseg train``; a mistake ends the program with a usage message.

    Raises:
        ActisegError: If a value is impossible, or an option of a strategy that is not chosen.
    """
    default = Train.defaults(arguments)
    return train_config(tyro.cli(Train, prog=prog, args=list(arguments), default=default))


@dataclass(frozen=True)
class RegionScores:
    """Score how alike the objects of a split and all nouns are, by a frozen image–text encoder.

    For `actiseg train --strategy repair --repair.scores OUT`. Run again, it continues where it
    stopped.
    """

    data: Path
    """Folder in the ActionVOS layout."""
    encoder: Path
    """Folder of CLIP, SigLIP, ALIGN or the like in transformers' form; nothing is downloaded."""
    out: Path
    """Folder to write."""
    split: str = "train"
    """Name of the split."""
    classes: Path | None = None
    """Names that there are, as `--noise.classes` of the training."""
    vocabulary: Vocabulary = "all"
    """Where they come from without `classes`, as `--noise.vocabulary` of the training."""
    template: str = "a photo of a {noun}"
    """What is said of a noun."""
    frames: int = 3
    """Frames of an object that count, those that show most of it."""
    margin: float = 0.1
    """By how much of its longer side the box around an object is enlarged on each side, 0 to 1."""
    mask_noise: int = 0
    """Kernel of Alg. 2 over the stored masks, the same as that of the training, so that no clean
    ones are looked at; 0 for none."""
    device: str = "cpu"
    """Of the encoder: cpu or cuda."""

    def run(self) -> int:
        """Writes the scores."""
        from training.strategies.support.region_scores import RegionView, score_regions

        view = RegionView(self.template, self.frames, self.margin, self.mask_noise)
        names = NameOptions(classes=self.classes, vocabulary=self.vocabulary)
        clips = score_regions(
            self.data, self.split, self.encoder, self.out, view, names=names, device=self.device
        )
        print(f"{self.out}: scores for {clips} clips")
        return 0
