"""``benchmark.json``: what all cells of a benchmark share, and what data they are made with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.benchmark.options import BenchmarkOptions
from training.data.layout import IMAGES, LABELS, WEIGHTS, image_folder, split_file
from training.data.splits import clip_files, load_clips
from training.files.claims import claim
from training.files.digests import files_digest
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

    Of pictures, label maps and weights names and sizes are noted.

    Raises:
        ActisegError: If the folder's cells were made otherwise: they could not be compared.
    """
    val_split = options.clean_split(data)
    settings = {
        "world": options.world,
        "preset": options.preset,
        "reference": options.reference,
        "epochs": options.epochs,
        "steps": options.steps,
        "learning_rate": options.learning_rate,
        "pretrained": options.pretrained and file_sha256(options.pretrained),
        "train": [*options.train],
        "split": file_sha256(split_file(data, options.split)),
        "val_split": file_sha256(split_file(data, val_split)),
        "positive_threshold": options.positive_threshold,
        "clip_length": options.clip_length,
        "gpus": options.gpus,
    }
    file = options.out / SETTINGS_FILE
    with sole_writer(options.out):  # several commands may fill a grid
        claim(file, settings, "cells")
        # Added apart: folders of before do not have it yet.
        noted = claim(file, _files(options.split, val_split, data), "cells", may_add=True)
        if "source" not in noted:
            # Not compared: the same data may lie elsewhere tomorrow.
            names = {"split": options.split, "val_split": val_split}
            write_json(file, {**noted, "source": {"data": str(data), **names}})


def _files(split: str, val_split: str, data: Path) -> dict[str, str]:
    """Digests of the files that cells are trained on, and of those that they are evaluated on."""
    kinds = {IMAGES: ".jpg", LABELS: ".png", WEIGHTS: ".png"}
    digests = {}
    for setting, name in (("files_of_split", split), ("files_of_val_split", val_split)):
        file = split_file(data, name)
        folder = image_folder(data, file)
        folders = {data / kind / folder: suffix for kind, suffix in kinds.items()}
        digests[setting] = files_digest(data, clip_files(load_clips(file), folders))
    return digests
