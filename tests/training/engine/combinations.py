"""Trains a step or two with many combinations of options, in one or several processes.

    torchrun --nproc-per-node 2 -m tests.training.engine.combinations DATA OUT COMBINATIONS.json

Each combination is a list of options of ``actiseg train``. The main process prints a line of JSON
for each: what was refused, or what is wrong (nothing, if all is well).
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from actiseg_ros.errors import ActisegError
from tests.training.model.micro import MICRO, MICRO_PUBLISHED
from training.data.collate import Batch, collate
from training.engine.commands import parse_train
from training.engine.distributed import ProcessGroup, process_group
from training.engine.snapshot import save_frozen
from training.engine.trainer import Trainer
from training.model import PRESETS
from training.strategies import with_strategy_options

_LATE = replace(MICRO, late_words=True, shared_attention="dense", queries=1)
_PUBLISHED = replace(
    MICRO_PUBLISHED,
    mask_evidence=False,
    text=replace(MICRO.text, frozen=True, vocab_size=1000, max_positions=66),
    max_tokens=32,
)
MICRO_PRESETS = {"tiny": MICRO, "small": _LATE, "r50": _PUBLISHED}
"""The presets' structures in a size that takes milliseconds."""
_EPOCHS = 3
"""NPN's first two epochs differ from the third."""


def attempt(options: list[str], data: Path, out: Path, group: ProcessGroup) -> dict[str, Any]:
    """What one combination comes to: ``refused`` with a reason, or a list of what is ``wrong``."""
    fixed = [
        *("--data", str(data / "data"), "--out", str(out), "--roberta", str(data / "roberta")),
        *("--epochs", str(_EPOCHS), "--val-split", "", "--workers", "0", "--device", "cpu"),
        *("--from-scratch", "--batch-size", "2"),
    ]
    config = with_strategy_options(parse_train([*fixed, *options]))
    try:
        config.check()
        out.mkdir(parents=True, exist_ok=True)
        trainer = Trainer(config, group)
    except ActisegError as error:
        return {"refused": str(error)}
    finally:
        group.barrier()
    before = _weights(trainer)
    wrong = []
    for epoch in (0, _EPOCHS - 1):
        trainer.epoch, trainer.window = epoch, 0
        for trained in trainer.networks:
            trained.network.train()
        trainer.strategy.begin_epoch(epoch, _EPOCHS)
        for _ in trainer.learn(_window(trainer, epoch, group)):
            pass
        numbers = trainer.read()
        wrong += [f"{n} is {v} in epoch {epoch}" for n, v in numbers.items() if v != v]
    after = _weights(trainer)
    still = [name for name, value in after.items() if torch.equal(value, before[name])]
    wrong += [f"{name} does not learn" for name in still]
    wrong += [
        f"{name} is not finite" for name, value in after.items() if not value.isfinite().all()
    ]
    sums = [float(value.double().sum()) for value in after.values()]
    if any(other != sums for other in group.gather(sums)):
        wrong.append("the processes have different weights")
    if group.main:
        frozen = [trained.frozen for trained in trainer.networks]
        trainer.frozen = save_frozen(config.out, frozen)
    trainer._save()
    group.barrier()
    resumed = Trainer(replace(config, resume=True), group)
    again = _weights(resumed)
    wrong += [f"{n} is not resumed" for n, v in after.items() if not torch.equal(v, again[n])]
    return {"wrong": group.gather(wrong)}


def _window(trainer: Trainer, epoch: int, group: ProcessGroup) -> list[Batch]:
    """Two samples of each process."""
    dataset = trainer.setup.dataset
    dataset.set_epoch(epoch)
    return [collate([dataset[(2 * group.rank + i) % len(dataset)] for i in range(2)])]


def _weights(trainer: Trainer) -> dict[str, Tensor]:
    """The trainable weights of all networks."""
    return {
        f"{index}.{name}": own.detach().clone()
        for index, trained in enumerate(trainer.networks)
        for name, own in trained.network.named_parameters()
        if own.requires_grad
    }


def main() -> None:
    """Tries all combinations."""
    data, out, file = map(Path, sys.argv[1:])
    for name, sizes in MICRO_PRESETS.items():
        PRESETS[name] = replace(sizes, name=name)
    torch.set_num_threads(1)
    with process_group("cpu") as group:
        for index, options in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            folder = out / str(index)
            found = attempt(options, data, folder, group)
            group.barrier()
            if group.main:
                print(json.dumps({"options": options, **found}), flush=True)
                shutil.rmtree(folder, ignore_errors=True)
            group.barrier()


if __name__ == "__main__":
    main()
