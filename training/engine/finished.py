"""Whether a training is done, as its folder tells; importable without PyTorch."""

from __future__ import annotations

from pathlib import Path

from training.files.disk import read_json


def is_finished(run: Path) -> bool:
    """Whether a run's folder holds a training that is done, with its weights.

    Args:
        run: the folder; it need not exist.
    """
    record = run / "run.json"
    if not record.exists() or not (run / "last.safetensors").exists():
        return False
    return bool(read_json(record).get("status") == "done")
