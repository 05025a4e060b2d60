"""``run.json``: what a training run was, where it ran and what it cost."""

from __future__ import annotations

import json
import math
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from training.disk import write_whole

_PACKAGES = ("torch", "numpy", "opencv-python-headless", "transformers", "tokenizers")


def code_version() -> str:
    """``git describe`` of the source tree, or the installed package's version."""
    root = Path(__file__).resolve().parents[1]
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
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu(),
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
    """Mean loss and throughput since it was made: of an epoch, or of its part after a resume."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._losses: list[float] = []
        self._samples = 0

    def add(self, loss: float, samples: int) -> None:
        """Adds an optimiser step over that many samples of all processes."""
        self._losses.append(loss)
        self._samples += samples

    def values(self) -> dict[str, float]:
        """`loss` (0 without any step) and `samples_per_second`."""
        seconds = time.monotonic() - self._began
        return {
            "loss": math.fsum(self._losses) / max(1, len(self._losses)),
            "samples_per_second": self._samples / seconds,
        }


class RunRecord:
    """The record of one run, rewritten whole and atomically with every change.

    Args:
        path: the file; an earlier record there is continued.
        fields: what is known at the start.
    """

    def __init__(self, path: Path, **fields: Any) -> None:
        self._path = path
        self._fields: dict[str, Any] = {"started": _now(), "epochs": []}
        if path.exists():
            self._fields |= json.loads(path.read_text(encoding="utf-8"))
        self.update(**fields)

    def update(self, **fields: Any) -> None:
        """Sets fields."""
        self._fields |= fields | {"updated": _now()}
        write_json(self._path, self._fields)

    def add_epoch(self, epoch: int, values: Mapping[str, Any]) -> None:
        """Appends an epoch (counted from 1), in place of one of the same or a later number."""
        earlier = [entry for entry in self._fields["epochs"] if entry["epoch"] < epoch]
        self.update(epochs=[*earlier, {"epoch": epoch, **values}])


def write_json(path: Path, value: Any) -> None:
    """Writes JSON; `path` is always complete.

    Raises:
        ActisegError: If the disk is full; a former file is then still there.
    """
    write_whole(path, (json.dumps(value, indent=2) + "\n").encode())


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "cpu"
