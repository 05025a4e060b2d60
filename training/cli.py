"""Command line of the offline package: ``actiseg COMMAND …``.

One frozen dataclass per command holds its options; ``run`` imports what the command needs and
calls one function, so that ``actiseg --help`` stays fast and a command fails only on what it uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from training.config import TrainConfig
from training.errors import ActisegError

_BAD_INPUT = 2
_INTERRUPTED = 130


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model; `--resume` continues an interrupted run, `torchrun` uses several devices."""

    def run(self) -> int:
        """Trains; 0 when all epochs are done, 130 when a signal stopped it after a checkpoint."""
        from training.engine import train

        return train(self)


COMMANDS: dict[str, type[Any]] = {
    "train": Train,
}


def _command_type() -> Any:
    """The union of all commands, each under its name."""
    named = [
        Annotated[command, tyro.conf.subcommand(name)]  # type: ignore[valid-type]
        for name, command in COMMANDS.items()
    ]
    union: Any = named[0]
    for command in named[1:]:
        union = union | command
    return tyro.conf.OmitSubcommandPrefixes[union]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, runs the command and returns its exit status.

    What a user can repair (missing or malformed files, impossible values) is told in one line on
    standard error with status 2. ``ACTISEG_TRACEBACK=1`` shows where such an error arose.
    """
    command = tyro.cli(
        _command_type(),
        prog="actiseg",
        description="Active object segmentation under noisy labels.",
        args=arguments,
    )
    try:
        return command.run() or 0
    except (ActisegError, ValueError, OSError) as error:
        if os.environ.get("ACTISEG_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
