"""How bundles are written: `bundle.json`, and the calibration of one that is in use."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from actiseg_ros.bundle import file_sha256, read_record
from actiseg_ros.gate.calibration import calibration_id
from actiseg_ros.gate.novelty import NoveltyDetector, save_novelty
from training.files.disk import write_json


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes ``bundle.json``; a reader sees the former one or this one."""
    write_json(folder / "bundle.json", record)


def replace_calibration(folder: Path, gate: Mapping[str, Any], novelty: NoveltyDetector) -> None:
    """Replaces the calibration; a reader sees the old bundle or the new one, never a mixture.

    Args:
        folder: Folder of the bundle.
        gate: The calibration, without what belongs to its files.
        novelty: The detector that goes with it.

    Raises:
        BundleError: The bundle cannot be read.
        ActisegError: The disk is full; the bundle is as it was.
    """
    record = read_record(folder)
    unnamed = folder / "calibration.npz.partial"
    try:
        save_novelty(novelty, unnamed)
        digest = file_sha256(unnamed)
        # The content is in the name, so that the old bundle.json keeps the file that it lists.
        name = f"calibration-{digest[:8]}.npz"
        unnamed.replace(folder / name)
    finally:
        unnamed.unlink(missing_ok=True)
    old = [file for file in record["files"] if file.startswith("calibration-") and file != name]
    for file in old:
        del record["files"][file]
    record["files"][name] = digest
    record["gate"] = {**gate, "domain": {"file": name}}
    record["gate"]["id"] = calibration_id(record["gate"], digest)
    write_record(folder, record)
    for file in old:
        (folder / file).unlink(missing_ok=True)
