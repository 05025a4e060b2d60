"""VISOR's real annotations beside the repository, as trees with blank pictures.

Label maps do not depend on the pictures, so tiny ones do.
"""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.data.visor_trees import SPARSE


def require(shared: Path) -> Path:
    """The archive of annotations; skips the test where it is absent."""
    archive = shared / "visor" / "visor.tar.xz"
    if not archive.is_file() or not (shared / "epic").is_dir():
        pytest.skip("needs VISOR's annotations (CC BY-NC 4.0): shared/visor/visor.tar.xz")
    return archive


def unpack(archive: Path, folder: Path) -> Path:
    """Unpacks the annotations; returns their folder."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return folder / "visor"


def write_tree(source: Path, shared: Path, root: Path, videos: dict[str, set[str] | None]) -> None:
    """Writes `root/VISOR` and `root/annotations`.

    Args:
        source: Folder of the unpacked annotations.
        shared: Folder with the other reference material.
        root: Folder to write.
        videos: Of each split the videos to take; None takes all.
    """
    visor, tables = root / "VISOR", root / "annotations"
    blank = cv2.imencode(".jpg", np.full((18, 32, 3), 127, np.uint8))[1].tobytes()
    for split, chosen in videos.items():
        for file in sorted((source / "annotations" / split).glob("*.json")):
            if chosen is not None and file.stem not in chosen:
                continue
            target = visor / SPARSE / "annotations" / split / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
            person = file.stem.partition("_")[0]
            frames = visor / SPARSE / "rgb_frames" / split / person / file.stem
            frames.mkdir(parents=True)
            for entry in json.loads(file.read_text())["video_annotations"]:
                (frames / entry["image"]["name"]).write_bytes(blank)
    tables.mkdir()
    shutil.copy(source / "visor-frame-mapping.json", visor / "frame_mapping.json")
    shutil.copy(source / "EPIC_100_train_part.csv", tables / "EPIC_100_train.csv")
    for name in ("EPIC_100_validation.csv", "val_human.json"):
        shutil.copy(shared / "epic" / name, tables / name)
