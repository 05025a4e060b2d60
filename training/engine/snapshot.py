"""Resumable state of a run: written atomically, read without executing anything from the file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.files.disk import write_whole
from training.files.errors import ActisegError

FORMAT = 1
_FREE_TO_CHANGE = {
    "data", "out", "resume", "workers", "threads", "device", "save_minutes",
    "val_split", "val_clips", "val_every", "positive_threshold",
}  # fmt: skip
"""Options that a resumed run may change without changing its weights."""


def save_snapshot(path: Path, state: dict[str, Any]) -> None:
    """Writes a run's state; `path` is always complete.

    Raises:
        ActisegError: If the disk is full; the former snapshot is then still intact.
    """
    # Serialised in memory first: torch reports a full disk as an internal error of its writer.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_whole(path, buffer.getbuffer(), durable=True)


def load_snapshot(path: Path, device: torch.device) -> dict[str, Any]:
    """Reads what `save_snapshot` wrote; only tensors and plain values are accepted.

    Raises:
        ActisegError: If the file is damaged or of another format.
    """
    try:
        state = torch.load(path, map_location=device, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many types for damaged or foreign files
        raise ActisegError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); remove it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ActisegError(f"{path}: not a checkpoint of format {FORMAT}; remove it to start anew")
    return state


def require_same_options(path: Path, stored: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Refuses to continue a run with options that would change its result.

    Args:
        path: the snapshot.
        stored: options of the run that wrote it; strategies' own ones lie in mappings.
        wanted: options of the run that continues it. What `stored` does not name, an earlier
            version did as is now the default.

    Raises:
        ActisegError: Naming the first option that differs.
    """
    earlier = _flat(stored)
    for name, value in _flat(wanted).items():
        if name in _FREE_TO_CHANGE or name not in earlier or earlier[name] == value:
            continue
        raise ActisegError(
            f"{path} was made with --{name.replace('_', '-')} {earlier[name]}, not {value}; resume "
            "with the same options or choose another --out"
        )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name, nested ones as `strategy.option`; sequences as tuples."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": entry for inner, entry in _flat(value).items()}
        else:
            flat[name] = tuple(value) if isinstance(value, list) else value
    return flat


def random_state(device: torch.device) -> dict[str, torch.Tensor]:
    """State of this process's random generators."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def restore_random_state(state: dict[str, torch.Tensor], device: torch.device) -> None:
    """Restores what `random_state` gave."""
    torch.set_rng_state(state["cpu"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
