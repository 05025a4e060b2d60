"""Resumable state of a run: written atomically, read without executing anything from the file."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from actiseg_ros.bundle import file_sha256
from actiseg_ros.errors import ActisegError
from training.files.disk import write_whole

FORMAT = 2
FROZEN = "frozen.safetensors"
"""What no step changes, written once beside the snapshots."""
_FREE_TO_CHANGE = {
    "data", "out", "resume", "workers", "threads", "device", "save_minutes",
    "val_split", "val_clips", "val_every", "positive_threshold", "roberta",
}  # fmt: skip
"""Options that a resumed run may change without changing its weights; what lies in the folders of
some is compared by itself (`require_same_inputs`)."""


def save_snapshot(path: Path, state: dict[str, Any]) -> None:
    """Writes a run's state; `path` is always complete.

    Raises:
        ActisegError: If the disk is full; the former snapshot is then still intact.
    """
    # Serialised in memory first: torch reports a full disk as an internal error of its writer.
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_whole(path, buffer.getbuffer(), durable=True)


def load_snapshot(path: Path) -> dict[str, Any]:
    """Reads what `save_snapshot` wrote, into main memory; tensors and plain values alone.

    Raises:
        ActisegError: If the file is damaged or of another format.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # torch raises many types for damaged or foreign files
        raise ActisegError(
            f"{path}: not a readable checkpoint ({type(error).__name__}); remove it to start anew"
        ) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise ActisegError(f"{path}: not a checkpoint of format {FORMAT}; remove it to start anew")
    return state


def save_frozen(folder: Path, networks: Sequence[Mapping[str, Tensor]]) -> str | None:
    """Writes what is frozen in the networks of a run; equal tensors once.

    Returns:
        SHA-256 of the file, which belongs into the snapshots; None if nothing is frozen.
    """
    tensors: dict[str, Tensor] = {}
    for index, frozen in enumerate(networks):
        for name, value in frozen.items():
            first = tensors.get(f"0.{name}")
            if first is None or not torch.equal(first, value.cpu()):
                tensors[f"{index}.{name}"] = value.cpu().contiguous()
    if not tensors:
        return None
    content = save(tensors)
    write_whole(folder / FROZEN, content, durable=True)
    return hashlib.sha256(content).hexdigest()


def load_frozen(folder: Path, digest: str | None, networks: int) -> list[dict[str, Tensor]]:
    """Reads what `save_frozen` wrote, for each network.

    Raises:
        ActisegError: If the file is absent or not the one of the snapshot.
    """
    if digest is None:
        return [{} for _ in range(networks)]
    file = folder / FROZEN
    if not file.exists() or file_sha256(file) != digest:
        raise ActisegError(
            f"{file}: missing, or not what {folder.name}'s checkpoint was written with; a run "
            "without it cannot be resumed"
        )
    tensors = load_file(file)
    own: list[dict[str, Tensor]] = [{} for _ in range(networks)]
    for name, value in tensors.items():
        index, _, inner = name.partition(".")
        own[int(index)][inner] = value
    return [own[0] | further for further in own]


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


def require_same_inputs(path: Path, stored: Mapping[str, str], found: Mapping[str, str]) -> None:
    """Refuses to continue a run beside files of another one, or with names from other files.

    Args:
        path: the snapshot.
        stored: digests that it was written with, by what the files are called.
        found: those of the run that continues it. What `stored` does not name is not compared.

    Raises:
        ActisegError: Naming the first that differs.
    """
    for name, digest in found.items():
        if stored.get(name, digest) != digest:
            raise ActisegError(
                f"{path} was made with another {name} than the one that is there now; put back "
                "that one or what it comes from, or choose another --out"
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
