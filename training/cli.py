"""Command line of the offline package: ``actiseg COMMAND …``.

Each room's ``commands.py`` holds its commands, one frozen dataclass each. Only the module of the
command that was asked for is imported, and its ``run`` imports what it needs: ``actiseg --help``
stays fast and a command fails only on what it uses.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro

from actiseg_ros.errors import ActisegError

_BAD_INPUT = 2
_INTERRUPTED = 130

COMMANDS: Mapping[str, tuple[str, str]] = {
    "prepare": ("training.data.commands:Prepare", "VISOR tree to ActionVOS layout"),
    "kitchen": ("training.data.commands:Kitchen", "draw a synthetic kitchen as a VISOR tree"),
    "paint": ("training.data.commands:Paint", "paint pictures for VISOR's annotations"),
    "noise": ("training.noise.commands:Noise", "make label noise: text, masks, severity"),
    "train": ("training.engine.commands:Train", "train a model, or resume"),
    "region-scores": ("training.engine.commands:RegionScores", "regions against nouns, by CLIP"),
    "predict": ("training.evaluation.commands:Predict", "label images of a split"),
    "evaluate": ("training.evaluation.commands:Evaluate", "the official ActionVOS numbers"),
    "export": ("training.deploy.commands:Export", "weights to a model bundle for the robot"),
    "calibrate": ("training.deploy.commands:Calibrate", "set the limits of a bundle's gate"),
    "gate-study": ("training.deploy.commands:GateStudy", "does a gate keep what it promises?"),
    "review": ("training.review.commands:Review", "decisions with pictures on one page"),
    "benchmark": ("training.benchmark.commands:Benchmark", "the cells of the paper's tables"),
    "report": ("training.report.commands:Report", "tables, figures and findings as a page"),
    "bag": ("training.data.commands:Bag", "video and narrations to a rosbag2"),
    "import": ("training.data.own.commands:Import", "annotated pictures to ActionVOS layout"),
    "narration": ("training.data.commands:Narration", "what the node takes from narrations"),
    "prelabel": ("training.data.prelabel.commands:Prelabel", "labels by a model, to be corrected"),
    "frames": ("training.data.recordings.commands:Frames", "pictures of a bag or video, to label"),
}
"""Name to ``MODULE:CLASS`` and a line about it. The class is a dataclass with ``run() -> int``."""


def _overview() -> str:
    width = max(map(len, COMMANDS))
    lines = (f"  {name:{width}}  {about}" for name, (_, about) in COMMANDS.items())
    return "\n".join(
        [
            "usage: actiseg COMMAND ...",
            "",
            "Active object segmentation under noisy labels.",
            "`actiseg COMMAND --help` lists a command's options.",
            "",
            *lines,
        ]
    )


def _command(name: str) -> type[Any]:
    module, _, attribute = COMMANDS[name][0].partition(":")
    found: type[Any] = getattr(importlib.import_module(module), attribute)
    return found


def told(run: Callable[[], int | None]) -> int:
    """Runs a command and returns its exit status, with one line for what ends it early.

    What a user can repair (missing or malformed files, impossible values) is told on standard error
    with status 2. ``ACTISEG_TRACEBACK=1`` shows where such an error arose.
    """
    try:
        return run() or 0
    except (ActisegError, ValueError, OSError) as error:
        if os.environ.get("ACTISEG_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, runs the command and returns its exit status, see `told`."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not given or given[0] in ("-h", "--help"):
        print(_overview())
        return 0 if given else _BAD_INPUT
    name, *options = given
    if name not in COMMANDS:
        print(f"error: no command {name}; there are {', '.join(COMMANDS)}", file=sys.stderr)
        return _BAD_INPUT
    return told(lambda: _run(name, options))


def _run(name: str, options: Sequence[str]) -> int | None:
    kind = _command(name)
    command = tyro.cli(
        kind,
        prog=f"actiseg {name}",
        args=options,
        config=(tyro.conf.OmitSubcommandPrefixes,),
        # Some options decide what others are by default.
        **({"default": kind.defaults(options)} if hasattr(kind, "defaults") else {}),
    )
    status: int | None = command.run()
    return status


if __name__ == "__main__":
    sys.exit(main())
