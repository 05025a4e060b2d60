"""Processes that train together."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.training.engine.two_processes import in_two_processes

_JOINS_AND_LEAVES = """
import sys
import time
from pathlib import Path
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training.engine.distributed import process_group

def train(group):
    network = DistributedDataParallel(nn.Linear(2, 2))
    network.itself = [network]  # only the collector frees it
    network(torch.ones(1, 2)).sum().backward()
    assert threads()
    # From here on a thread waits long for the interpreter's lock, as it may on a busy machine.
    sys.setswitchinterval(30)
    assert group.gather(group.rank) == [0, 1]

def threads():
    names = [comm.read_text() for comm in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]

with process_group("cpu") as group:
    train(group)
deadline = time.monotonic() + 10  # one that has ended is listed a moment longer
while threads() and time.monotonic() < deadline:
    time.sleep(0.01)
assert not threads(), threads()
"""


_RANKS_ALIKE = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.training.model.micro import MICRO
from training.config.run import TrainConfig
from training.data.clips import collate
from training.engine.distributed import process_group
from training.engine.trainer import Trainer
from training.losses.context import StepPosition
from training.model import PRESETS
from training.strategies.co_teaching import CoTeachingOptions

PRESETS["tiny"] = replace(MICRO, name="tiny")
data, out = map(Path, sys.argv[1:])
config = TrainConfig(
    data=data, out=out, strategy="co-teaching", batch_size=1, val_split="", workers=0,
    strategy_options=CoTeachingOptions(window=2, ranking="evaluation"), input_size=(72, 128),
)
with process_group("cpu") as group:
    trainer = Trainer(config, group)
    for trained in trainer.networks:
        trained.network.train()
    list(trainer.learn(next(iter(trainer._windows()))))
    same = [collate([trainer.setup.dataset[0]])]
    losses = trainer.training_step._losses_of_window(same, StepPosition())
    first, second = group.gather([own.tolist() for own in losses])
    assert first == second, (first, second)
"""


_CHOOSES = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.training.model.micro import MICRO
from training.config.run import TrainConfig
from training.engine.distributed import process_group
from training.engine.trainer import Trainer
from training.model import PRESETS
from training.strategies import Selection
from training.strategies.co_teaching import CoTeachingOptions

PRESETS["tiny"] = replace(MICRO, name="tiny")
data, out = map(Path, sys.argv[1:])
options = CoTeachingOptions(window=4, start_rate=0.5, forget_rate=0.0)
config = TrainConfig(
    data=data, out=out, strategy="co-teaching", objects="one", batch_size=1, accumulate=4,
    val_split="", workers=0, strategy_options=options, input_size=(72, 128),
)
with process_group("cpu") as group:
    trainer = Trainer(config, group)
    select = trainer.training_step.select
    def by_rank(window, position):
        # Of four batches the main process keeps the last two, the other one the first two.
        chosen = select(window, position)
        kept = [own.new_tensor([2, 3] if group.main else [0, 1]) for own in chosen.kept]
        return Selection(kept, chosen.log)
    trainer.training_step.select = by_rank
    for trained in trainer.networks:
        trained.network.train()
    windows = iter(trainer._windows())
    for _ in range(2):
        list(trainer.learn(next(windows)))
    own = [float(v.double().sum()) for n in trainer.networks for v in n.network.parameters()]
    first, second = group.gather(own)
    assert first == second
"""


def test_processes_that_keep_samples_of_different_batches_go_on(
    drawn_data: Path, tmp_path: Path
) -> None:
    program = "--no-python", sys.executable, "-c", _CHOOSES
    run = in_two_processes(*program, str(drawn_data), str(tmp_path))
    assert run.returncode == 0, run.stderr[-2000:]


def test_processes_rank_with_the_same_statistics(drawn_data: Path, tmp_path: Path) -> None:
    """Each takes a window of its own before, which moves its batch norm's running statistics."""
    program = "--no-python", sys.executable, "-c", _RANKS_ALIKE
    run = in_two_processes(*program, str(drawn_data), str(tmp_path))
    assert run.returncode == 0, run.stderr[-2000:]


def test_a_group_leaves_no_thread_behind() -> None:
    """One that runs when the interpreter ends aborts, now and then, a process that is done.

    Nor does the group's end wait for ever for one that waits for the interpreter.
    """
    run = in_two_processes("--no-python", sys.executable, "-c", _JOINS_AND_LEAVES)
    assert run.returncode == 0, run.stderr[-2000:]
