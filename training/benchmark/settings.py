"""``benchmark.json``: what all cells of a benchmark share, and what data they are made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.benchmark.options import BenchmarkOptions
from training.files.claims import claim
from training.files.disk import read_json, write_json
from training.files.lock import sole_writer

SETTINGS_FILE = "benchmark.json"


@dataclass(frozen=True)
class BenchmarkData:
    """The data of a benchmark."""

    data: Path
    """Folder in the ActionVOS layout."""
    split: str
    """What was trained on."""
    val_split: str
    """What was evaluated on."""


def read_data(folder: Path) -> BenchmarkData | None:
    """The data that the cells below a folder were made with; None if that is not known.

    Raises:
        ActisegError: If ``benchmark.json`` is damaged.
    """
    file = folder / SETTINGS_FILE
    try:
        source = read_json(file).get("source") if file.exists() else None
        return source and BenchmarkData(Path(source["data"]), source["split"], source["val_split"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ActisegError(
            f"{file}: damaged ({error!r}); remove it, and give the report --data"
        ) from error


def claim_settings(options: BenchmarkOptions, data: Path) -> None:
    """Notes what all cells share, or checks that it is the same as in earlier calls.

    Raises:
        ActisegError: If the folder's cells were made otherwise: they could not be compared.
    """
    lists, val_split = data / "ImageSets", options.clean_split(data)
    settings = {
        "world": options.world,
        "preset": options.preset,
        "reference": options.reference,
        "epochs": options.epochs,
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "pretrained": options.pretrained and file_sha256(options.pretrained),
        "train": [*options.train],
        "split": file_sha256(lists / f"{options.split}.json"),
        "val_split": file_sha256(lists / f"{val_split}.json"),
        "positive_threshold": options.positive_threshold,
        "clip_length": options.clip_length,
        "gpus": options.gpus,
    }
    file = options.out / SETTINGS_FILE
    with sole_writer(options.out):  # several commands may fill a grid
        noted = claim(file, settings, "cells")
        if "source" not in noted:
            # Not compared: the same data may lie elsewhere tomorrow.
            names = {"split": options.split, "val_split": val_split}
            write_json(file, {**noted, "source": {"data": str(data), **names}})
