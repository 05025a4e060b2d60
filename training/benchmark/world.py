"""A world of the findings: clean data in parts that share no video, and the weights to start from.

Everything lies in one folder, is made once and goes on where it stopped:

    tree/, start_tree/    pictures (painted, or drawn and painted)
    data/, start_data/    the ActionVOS layout, with the splits of the protocol
    start/                the referring pretraining; start/last.safetensors is where cells begin
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.benchmark import protocol
from training.benchmark.protocol import SIZES, WorldName
from training.config.run import TrainConfig
from training.data.kitchen import KitchenConfig, make_kitchen
from training.data.layout import split_file
from training.data.painted import PaintConfig, paint
from training.data.prepare import prepare
from training.engine.finished import is_finished
from training.files.claims import claim
from training.files.disk import read_json, write_json
from training.files.lock import sole_writer

_KITCHEN = KitchenConfig(500, 7001, 0.4, (854, 480))
"""300 clips to train on and 200 to evaluate on."""
_KITCHEN_START = KitchenConfig(900, 7002, 0.0, (854, 480))


@dataclass(frozen=True)
class World:
    """What cells are trained on, and what they start from."""

    data: Path
    """ActionVOS layout with the splits `train_cells`, `val_choose` and `val_test`."""
    start: Path
    """Weights of the referring pretraining."""


@dataclass(frozen=True)
class Sources:
    """VISOR's annotations for the painted world."""

    visor: Path
    annotations: Path


def make_world(
    name: WorldName,
    folder: Path,
    sources: Sources | None = None,
    *,
    workers: int | None = None,
    device: str = "auto",
) -> World:
    """Makes a world, or what is missing of it.

    Args:
        name: Which world.
        folder: Where it lies.
        sources: VISOR's annotations; the painted world needs them.
        workers: Processes that draw and prepare; all cores if None.
        device: Of the pretraining.

    Raises:
        ActisegError: If the folder holds another world, or the input lacks something.
        KeyboardInterrupt: A signal stopped the pretraining; it goes on with the next call.
    """
    if name == "painted" and sources is None:
        raise ActisegError("the painted world needs --visor and --annotations, VISOR's own")
    with sole_writer(folder):
        claim(folder / "world.json", {"world": name}, "a world")
        if sources is not None:
            _painted(folder, sources, workers)
        else:
            _drawn(folder, workers)
        size, splits, start_splits = SIZES[name], folder / "data", folder / "start_data"
        cells, others = parts(read_json(split_file(splits, "train")), size.cells)
        choose, test = parts(read_json(split_file(splits, "val")), size.choose)
        if name == "kitchen":  # its start is another kitchen
            others = read_json(split_file(start_splits, "train"))
        for data, split, records in (
            (splits, protocol.TRAIN_SPLIT, cells),
            (splits, protocol.CHOOSE_SPLIT, choose),
            (splits, protocol.TEST_SPLIT, test),
            (start_splits, protocol.START_SPLIT, others),
        ):
            if not records:
                raise ActisegError(
                    f"{data}: no clip is left for {split}; the input has too few videos"
                )
            write_json(split_file(data, split), records, indent=None)
        return World(splits, _start(folder, start_splits, device))


def parts(
    records: Sequence[Mapping[str, Any]], count: int
) -> tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]]:
    """Splits clips by whole videos, in the order of the SHA-256 of the videos' names.

    Args:
        records: Clips in the form of ``ImageSets/SPLIT.json``.
        count: The first part gets videos until it has so many clips.

    Returns:
        Both parts in the order of the records.
    """
    sizes: dict[str, int] = {}
    for record in records:
        sizes[record["video"]] = sizes.get(record["video"], 0) + 1
    chosen: set[str] = set()
    for video in sorted(sizes, key=lambda name: hashlib.sha256(name.encode()).hexdigest()):
        if sum(sizes[name] for name in chosen) >= count:
            break
        chosen.add(video)
    first = [record for record in records if record["video"] in chosen]
    return first, [record for record in records if record["video"] not in chosen]


def _painted(folder: Path, sources: Sources, workers: int | None) -> None:
    visor, annotations = sources.visor, sources.annotations
    look = protocol.START_LOOK
    for tree, data, config, splits in (
        ("tree", "data", PaintConfig(seed=0, look=0), ("train", "val")),
        ("start_tree", "start_data", PaintConfig(seed=1, look=look), ("train",)),
    ):
        paint(visor, annotations, folder / tree, config, splits, workers=workers)
        prepare(
            folder / tree, annotations, folder / data, splits,
            contacts="annotations", workers=workers,
        )  # fmt: skip


def _drawn(folder: Path, workers: int | None) -> None:
    """A drawn kitchen, and another one whose polygons are painted."""
    make_kitchen(folder / "tree", _KITCHEN, workers=workers)
    drawn, bare = folder / "tree", folder / "bare_tree"
    prepare(drawn / "VISOR", drawn / "annotations", folder / "data", workers=workers)
    make_kitchen(bare, _KITCHEN_START, workers=workers)
    config = PaintConfig(seed=1, look=protocol.START_LOOK)
    tree = folder / "start_tree"
    paint(bare / "VISOR", bare / "annotations", tree, config, ("train",), workers=workers)
    prepare(tree, bare / "annotations", folder / "start_data", ("train",), workers=workers)


def _start(folder: Path, data: Path, device: str) -> Path:
    """The referring pretraining."""
    out = folder / "start"
    if is_finished(out):  # needs no device any more
        return out / "last.safetensors"
    from training.engine.trainer import train

    config = TrainConfig(
        data=data,
        out=out,
        task="referring",
        split=protocol.START_SPLIT,
        val_split="",
        epochs=protocol.START_EPOCHS,
        seed=protocol.START_SEED,
        resume=True,
        threads=1,
        device=device,
    )
    if train(config):
        raise KeyboardInterrupt
    return out / "last.safetensors"
