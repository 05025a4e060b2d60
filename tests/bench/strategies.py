"""Peak memory and time of an optimiser step of every learning strategy, side by side.

Each strategy trains in a process of its own: the same network from random weights, on the same
clips of a drawn kitchen without augmentation, by the engine's own steps. It is measured in the
third epoch, when histories exist and NPN's two epochs of plain training are over. Loading data,
checkpoints and validation are left out. Co-teaching ranks two samples at a time here instead of
128: that changes neither its memory nor its work for each step.

On a CUDA device memory is what tensors take; else it is the resident memory of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from training.config.run import RECIPES, TrainConfig
from training.data.clips import Batch, ClipDataset, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.data.transforms import FixedSize
from training.engine.distributed import process_group
from training.engine.run_record import code_version, environment, peak_memory
from training.engine.trainer import Trainer
from training.files.disk import write_json
from training.model import preset
from training.model.text import train_tokenizer
from training.strategies import STRATEGIES, with_strategy_options
from training.strategies.co_teaching import CoTeachingOptions

EPOCHS = 6
"""Of the run whose third epoch is measured; some strategies change over the epochs."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", choices=list(RECIPES), default="tiny")
    parser.add_argument("--strategies", nargs="+", choices=list(STRATEGIES), metavar="NAME",
                        default=list(STRATEGIES), help="all by default")  # fmt: skip
    parser.add_argument("--frames", type=int, help="frames of a clip; the preset's by default")
    parser.add_argument("--size", help="WIDTHxHEIGHT of the input; the preset's by default")
    parser.add_argument("--batch-size", type=int, help="clips; the preset's by default")
    parser.add_argument("--steps", type=int, default=5, help="optimiser steps that are timed")
    parser.add_argument("--threads", type=int, default=0, help="0 is PyTorch's choice")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="also write the result into this file")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work is not None:
        print(json.dumps(measure(options, options.strategies[0])))
        return
    with tempfile.TemporaryDirectory() as scratch:
        write_inputs(Path(scratch))
        rows = []
        for name in options.strategies:
            print(f"{name} ...", file=sys.stderr)
            rows.append(in_own_process(name, scratch))
    settings = [row.pop("setting") for row in rows]
    if any(setting != settings[0] for setting in settings):
        raise SystemExit(f"the strategies were measured in different settings: {settings}")
    result = {"code": code_version(), **settings[0], "strategies": rows}
    print(table(result))
    print(json.dumps({"strategies": result}))
    if options.json is not None:
        write_json(options.json, result)


def in_own_process(name: str, work: str) -> dict[str, Any]:
    """Runs this program with the same options for one strategy."""
    arguments = [sys.executable, __file__, *sys.argv[1:], "--strategies", name, "--work", work]
    ran = subprocess.run(arguments, stdout=subprocess.PIPE, text=True, check=True)
    row: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return row


def write_inputs(work: Path) -> None:
    """A small kitchen, and a tokenizer for presets that read prompts with RoBERTa's."""
    kitchen = KitchenConfig(clips=4, seed=0, val_share=0.0, frame_size=(427, 240))
    make_kitchen(work / "raw", kitchen, workers=1, progress=False)
    prepare(
        work / "raw/VISOR", work / "raw/annotations", work / "data", ("train",),
        workers=1, progress=False,
    )  # fmt: skip
    tokenizer = train_tokenizer(["left hand used in the action of cut pepper"])
    (work / "roberta").mkdir()
    tokenizer.save(str(work / "roberta/tokenizer.json"))


def measure(options: argparse.Namespace, name: str) -> dict[str, Any]:
    """Trains with one strategy; memory in bytes, times in seconds."""
    config = TrainConfig(
        data=options.work / "data",
        out=options.work / name,
        preset=options.preset,
        strategy=name,
        roberta=options.work / "roberta",
        frames_per_clip=options.frames,
        batch_size=options.batch_size,
        accumulate=1,
        epochs=EPOCHS,
        val_split="",
        workers=0,
        threads=options.threads,
        device=options.device,
        strategy_options=CoTeachingOptions(window=2) if name == "co-teaching" else None,
    )
    config = with_strategy_options(config)
    config.out.mkdir()
    if config.threads:
        torch.set_num_threads(config.threads)
    with process_group(config.device) as group:
        trainer = Trainer(config, group)
        batches = load(config, options.size, trainer.steps_per_window)
        for trained in trainer.networks:
            trained.network.train()
        loaded = memory_in_use(group.device)
        if group.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(group.device)
        for epoch in range(3):
            trainer.epoch = epoch
            trainer.strategy.begin_epoch(epoch, EPOCHS)
            seconds_per_step(trainer, batches)  # allocates what later steps use again
        rounds = -(-options.steps // len(batches))
        seconds = [seconds_per_step(trainer, batches) for _ in range(rounds)]
        peak = peak_memory(group.device)
        gflop = None
        if len(trainer.networks) == 1:  # the counter cannot follow co-teaching's choice of samples
            with FlopCounterMode(display=False) as counter:
                seconds_per_step(trainer, batches)
            gflop = counter.get_total_flops() / len(batches) / 1e9
        networks = [trained.network for trained in trainer.networks]
        parameters = sum(weight.numel() for own in networks for weight in own.parameters())
        setting = {
            "preset": options.preset,
            "clips": batches[0].frames.shape[0],
            "prompts": len(batches[0].captions),
            "frames": batches[0].frames.shape[1],
            "size": "x".join(str(side) for side in batches[0].frames.shape[:2:-1]),
            "precision": trainer.recipe.precision,
            "cores": len(os.sched_getaffinity(0)),
            **{key: environment(group.device)[key] for key in ("device", "threads")},
        }
    return {
        "strategy": name,
        "parameters": parameters,
        "peak_bytes": peak,
        "over_loaded_bytes": peak - loaded,
        "seconds_per_step": statistics.median(seconds),
        "slowest_seconds": max(seconds),
        "gflop_per_step": gflop,
        "setting": setting,
    }


def load(config: TrainConfig, size: str | None, count: int) -> list[Batch]:
    """That many batches of the kitchen, all of the same size."""
    sizes = preset(config.preset)
    width, height = map(int, size.split("x")) if size else (sizes.input_width, sizes.input_height)
    recipe = config.recipe()
    dataset = ClipDataset(
        config.data,
        "train",
        frames_per_clip=recipe.frames_per_clip,
        objects=recipe.objects,
        transform=FixedSize(height, width, spatial=False, photometric=False),
        negative_masks=recipe.negative_masks,
    )
    return [
        collate([dataset[(first + i) % len(dataset)] for i in range(recipe.batch_size)])
        for first in range(0, count * recipe.batch_size, recipe.batch_size)
    ]


def seconds_per_step(trainer: Trainer, batches: list[Batch]) -> float:
    """Takes a step for each batch."""
    began = time.perf_counter()
    steps = len(list(trainer.learn(batches)))
    trainer.read()  # its losses, so the device is done
    return (time.perf_counter() - began) / steps


def memory_in_use(device: torch.device) -> int:
    """Bytes, measured as the peak is."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def table(result: dict[str, Any]) -> str:
    """The result as text, with ratios to the first strategy."""
    first = result["strategies"][0]
    lines = [
        "{preset}, {clips} clip(s) with {prompts} prompt(s), {frames} frame(s) of {size}, "
        "{precision}; {device}, {cores} cores, {threads} threads".format(**result),
        f"{'strategy':12} {'M weights':>9} {'peak MiB':>9} {'over loaded':>11} {'ratio':>6} "
        f"{'s / step':>9} {'ratio':>6} {'samples/s':>9} {'TFLOP/s':>8}",
    ]
    for row in result["strategies"]:
        peak, seconds = row["peak_bytes"], row["seconds_per_step"]
        gflop = row["gflop_per_step"]
        speed = "-" if gflop is None else f"{gflop / seconds / 1e3:.2f}"
        lines.append(
            f"{row['strategy']:12} {row['parameters'] / 1e6:9.2f} {peak / 2**20:9.0f} "
            f"{row['over_loaded_bytes'] / 2**20:11.0f} {peak / first['peak_bytes']:6.2f} "
            f"{seconds:9.3f} {seconds / first['seconds_per_step']:6.2f} "
            f"{result['clips'] / seconds:9.2f} {speed:>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
