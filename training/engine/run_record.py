"""``run.json``: what a training run was, where it ran and what it cost."""

from __future__ import annotations

import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from training.files.disk import read_json, write_json
from training.files.provenance import processor_name, utc_now

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "transformers", "tokenizers")


def code_version() -> str:
    """``git describe`` of the source tree, or the installed package's version."""
    root = Path(__file__).resolve().parents[2]
    if (root / ".git").exists():
        try:
            described = subprocess.run(
                ["git", "describe", "--always", "--dirty", "--tags"],
                cwd=root,
                capture_output=True,
                text=True,
                timeout=10,
                check=True,
            )
            return described.stdout.strip()
        except (OSError, subprocess.SubprocessError):
            pass
    return _version("actiseg")


def environment(device: torch.device) -> dict[str, Any]:
    """Versions and hardware of this process."""
    return {
        "code": code_version(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name(),
        "threads": torch.get_num_threads(),
        "command": sys.argv[1:],
    }


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that tensors took on a CUDA device, else the peak resident set."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


class Meter:
    """What the steps of one epoch say, over all attempts at it: its means and its last step."""

    def __init__(self) -> None:
        self._sums = {"steps": 0.0, "loss": 0.0, "samples": 0.0, "seconds": 0.0}
        self._last: dict[str, float] = {}
        self._since = time.monotonic()

    def start(self) -> None:
        """Lets the clock run, for the first time or again; it counts up to the last step."""
        self._since = time.monotonic()

    def add(self, loss: float, samples: int, last: Mapping[str, float]) -> None:
        """Adds an optimiser step.

        Args:
            loss: its loss.
            samples: how many of them all processes together took it over.
            last: numbers of which the last step's count.
        """
        now = time.monotonic()
        step = {"steps": 1, "loss": loss, "samples": samples, "seconds": now - self._since}
        self._sums = {name: self._sums[name] + value for name, value in step.items()}
        self._last, self._since = dict(last), now

    def values(self) -> dict[str, float]:
        """`loss` and `samples_per_second`, both 0 without any step; the last step's numbers."""
        sums = self._sums
        return {
            "loss": sums["loss"] / max(1.0, sums["steps"]),
            "samples_per_second": sums["samples"] / (sums["seconds"] or 1.0),
            **self._last,
        }

    def state_dict(self) -> dict[str, dict[str, float]]:
        """What a resumed run goes on from."""
        return {"sums": self._sums, "last": self._last}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float]]) -> None:
        """Restores what `state_dict` gave."""
        self._sums, self._last = dict(state["sums"]), dict(state["last"])


class RunRecord:
    """The record of one run, rewritten whole and atomically with every change.

    Args:
        path: the file.
        resumed: whether the record that is there is continued, and not that of another run.
        fields: what is known at the start.
    """

    def __init__(self, path: Path, *, resumed: bool, **fields: Any) -> None:
        self._path = path
        self._fields: dict[str, Any] = {"started": utc_now(), "epochs": []}
        if resumed and path.exists():
            self._fields |= read_json(path)
        self.update(**fields)

    def update(self, **fields: Any) -> None:
        """Sets fields."""
        self._fields |= fields | {"updated": utc_now()}
        write_json(self._path, _known(self._fields), durable=True)

    def add_epoch(self, epoch: int, values: Mapping[str, Any]) -> None:
        """Appends an epoch (counted from 1), in place of one of the same or a later number."""
        earlier = [entry for entry in self._fields["epochs"] if entry["epoch"] < epoch]
        self.update(epochs=[*earlier, {"epoch": epoch, **values}])


def _known(value: Any) -> Any:
    """The same with None for numbers that are not known (nan), which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _known(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_known(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"
