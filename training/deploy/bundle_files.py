"""How bundles are written: `bundle.json`, and the calibration of one that is in use."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, file_sha256, read_record
from actiseg_ros.gate.calibration import calibration_id
from actiseg_ros.gate.novelty import NoveltyDetector, save_novelty
from actiseg_ros.gate.rule import Limits
from actiseg_ros.prompts import Candidates
from training.deploy.risk_control import Step
from training.files.disk import write_json


def write_record(folder: Path, record: Mapping[str, Any]) -> None:
    """Writes ``bundle.json``; a reader sees the former one or this one."""
    write_json(folder / "bundle.json", record)


def replace_calibration(
    folder: Path,
    gate: Mapping[str, Any],
    novelty: NoveltyDetector,
    steps: Mapping[Candidates, Sequence[Step]],
) -> None:
    """Replaces the calibration; a reader sees the old bundle or the new one, never a mixture.

    Args:
        folder: Folder of the bundle.
        gate: The calibration, without what belongs to its files.
        novelty: The detector that goes with it.
        steps: For each way of choosing candidates the limits that were tried, for `read_steps`.

    Raises:
        BundleError: The bundle cannot be read.
        ActisegError: The disk is full; the bundle is as it was.
    """
    record = read_record(folder)
    unnamed = folder / "calibration.npz.partial"
    try:
        save_novelty(
            novelty, unnamed, {_STEPS + policy: _table(own) for policy, own in steps.items()}
        )
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


_STEPS = "steps_"


def _table(steps: Sequence[Step]) -> npt.NDArray[np.float64]:
    """float64 [N, 7]: the fields of the limits, then the counts."""
    rows = [
        (*astuple(step.limits), step.accepted, step.failures, step.accepted_frames)
        for step in steps
    ]
    return np.array(rows, np.float64).reshape(len(rows), -1)


def read_steps(bundle: Bundle, policy: Candidates) -> tuple[Step, ...]:
    """The limits that the calibration of a bundle tried, and what they accepted.

    Args:
        bundle: Calibrated bundle.
        policy: How the candidates are chosen.

    Returns:
        From strict to loose; empty if the bundle does not say.
    """
    if bundle.gate is None:
        return ()
    content = bundle.contents.take(bundle.gate["domain"]["file"])
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        table = arrays[_STEPS + policy] if _STEPS + policy in arrays else np.empty((0, 7))
    return tuple(Step(Limits(*map(float, row[:4])), *map(int, row[4:])) for row in table)
