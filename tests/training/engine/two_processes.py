"""Runs a program in two processes that train together, as `torchrun` starts them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_REPOSITORY = Path(__file__).parents[3]


def in_two_processes(*command: str) -> subprocess.CompletedProcess[str]:
    """Runs `torchrun` with a thread for each of two processes.

    Args:
        *command: What it starts: ``-m MODULE`` or ``--no-python PROGRAM``, and the arguments.

    Returns:
        How it ended, with its output.
    """
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    return subprocess.run(
        [*launcher, "--nproc-per-node", "2", *command],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        cwd=_REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
