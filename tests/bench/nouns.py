"""Which nouns `repair` believes after an epoch of Alg. 1, and what judging them costs.

Every object of a split is seen once, as training with `--preset tiny` shows it, by the backbone
that training starts from; then all nouns are judged (docs/repair.md). A kitchen is drawn unless
there is `--data`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

from training.data.clips import ClipDataset, collate
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.prepare import prepare
from training.engine.setup import build_setup
from training.losses.context import StepPosition
from training.strategies import run_config
from training.strategies.repair import Repair, RepairOptions, joined
from training.strategies.support import nouns

BATCH = 8
HEADS = ("rate", "estimate", "trust, right", "trust, wrong", "renamed", "rightly", "wrong ones",
         "harmed", "seconds")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder in the ActionVOS layout")
    parser.add_argument("--split", default="train")
    parser.add_argument("--pretrained", type=Path, default=Path("embedded"))
    parser.add_argument("--scores", type=Path, help="folder of actiseg region-scores")
    parser.add_argument("--assume", nargs="*", type=float, default=[],
                        help="judge once more with each of these rates")  # fmt: skip
    parser.add_argument("--rates", nargs="+", type=float, default=[0.0, 0.2, 0.4, 0.6])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        data = options.data or drawn(Path(scratch))
        print("".join(f"{head:>13}" for head in HEADS))
        rows = []
        for rate in options.rates:
            for numbers in judged(data, rate, Path(scratch), options):
                shown = ("-" if number is None else f"{number:.3f}" for number in numbers)
                print("".join(f"{number:>13}" for number in shown), flush=True)
                rows.append(dict(zip(HEADS, numbers, strict=True)))
    print(json.dumps({"nouns": rows}))


def drawn(scratch: Path) -> Path:
    """A kitchen that no network was trained on."""
    config = KitchenConfig(clips=60, seed=8002, val_share=0.0, frame_size=(854, 480))
    make_kitchen(scratch / "raw", config, progress=False)
    prepare(scratch / "raw" / "VISOR", scratch / "raw" / "annotations", scratch / "data",
            splits=("train",))  # fmt: skip
    return scratch / "data"


@torch.no_grad()
def judged(
    data: Path, rate: float, scratch: Path, options: argparse.Namespace
) -> Iterator[list[float | None]]:
    """The numbers of one rate in the order of `HEADS`: as estimated, then for each assumed rate."""
    config = run_config(
        "repair", data=data, out=scratch, split=options.split, pretrained=options.pretrained,
        text_noise=rate, val_split="", workers=0, device="cpu",
        strategy_options=RepairOptions(scores=options.scores),
    )  # fmt: skip
    setup = build_setup(config, config.recipe())
    strategy, network = setup.strategy, setup.networks[0].eval()
    assert isinstance(strategy, Repair)
    strategy.begin_epoch(0, 2)
    for first in range(0, len(setup.dataset), BATCH):
        places = range(first, min(first + BATCH, len(setup.dataset)))
        batch = collate([setup.dataset[index] for index in places]).to(torch.device("cpu"))
        batch = strategy.inputs(batch, StepPosition(), 0).batch
        maps = joined(network.model.backbone(batch.frames.flatten(0, 1)))
        strategy.remember(maps.unflatten(0, batch.frames.shape[:2]), batch)
    for assumed in (None, *options.assume):
        yield numbers_of(strategy, setup.dataset, assumed)


def numbers_of(strategy: Repair, dataset: ClipDataset, assumed: float | None) -> list[float | None]:
    """The numbers of one judgement, with the rate that is estimated or an assumed one."""
    memory, lexicon = strategy.memory, strategy.lexicon
    began = time.process_time()
    if assumed is None:
        memory.judge()
    else:
        memory.rate = assumed
        with patch.object(nouns, "exchange_rate", lambda *_: assumed):
            memory.judge()
    seconds = time.process_time() - began
    true = torch.tensor([-1] * len(lexicon.rows))
    for clip in dataset.clips:
        for entry in clip.objects:
            true[lexicon.rows[clip.sequence, entry.object_id]] = lexicon.given(entry.expression)
    seen = memory.known & (memory.given >= 0)
    right, judgement = (memory.given == true)[seen], memory.judgement
    renamed = strategy.surely_other()[seen]
    hit = renamed & (judgement.other == true)[seen]
    trust = judgement.right[seen]
    return [
        1 - float(right.float().mean()), memory.rate, mean(trust, right), mean(trust, ~right),
        float(renamed.float().mean()), mean(hit, renamed), mean(hit, ~right), mean(renamed, right),
        seconds,
    ]  # fmt: skip


def mean(values: torch.Tensor, where: torch.Tensor) -> float | None:
    """Over some objects; None over none."""
    return float(values[where].float().mean()) if where.any() else None


if __name__ == "__main__":
    main()
