"""Processes that train together."""

from __future__ import annotations

import os
import subprocess
import sys

_JOINS_AND_LEAVES = """
from pathlib import Path
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training.engine.distributed import process_group

def train(group):
    network = DistributedDataParallel(nn.Linear(2, 2))
    network.itself = [network]  # only the collector frees it
    network(torch.ones(1, 2)).sum().backward()
    assert group.gather(group.rank) == [0, 1]
    assert threads()

def threads():
    names = [comm.read_text() for comm in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]

with process_group("cpu") as group:
    train(group)
assert not threads(), threads()
"""


def test_a_group_leaves_no_thread_behind() -> None:
    """One that runs when the interpreter ends aborts, now and then, a process that is done."""
    run = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
            *("--nproc-per-node", "2", "--no-python", sys.executable, "-c", _JOINS_AND_LEAVES),
        ],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
