"""Whether clips may judge a network: those that it was trained on may not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from actiseg_ros.bundle import Bundle, file_sha256
from actiseg_ros.errors import ActisegError
from training.data.layout import split_file
from training.data.splits import load_clips

_SHOWN = 3
"""Recordings that a message names."""


def require_held_out(bundle: Bundle, data: Path, split: Path) -> None:
    """Refuses clips of which the bundle itself says that its network was trained on them.

    Args:
        bundle: Whose ``provenance`` lists the splits of its training, if it knows them.
        data: Root of the ActionVOS layout.
        split: Split file of the clips.

    Raises:
        ActisegError: It is a split of the training, or has recordings of one.
    """
    seen = bundle.provenance.get("seen") or ()
    remedy = (
        "how it does on them says nothing about new ones; record others, or split by recording "
        "before training (`actiseg import … --val-videos`)"
    )
    if _digest(split) in seen:
        raise ActisegError(f"{split}: the bundle's network was trained on this split, so {remedy}")
    train = split_file(data, "train")
    shared = shared_recordings(data, split)
    if shared and _digest(train) in seen:
        raise ActisegError(
            f"{split}: the bundle's network was trained on {train}, which has {_named(shared)} "
            f"too, so {remedy}"
        )


def doubts(bundle: Bundle, data: Path, split: Path) -> list[str]:
    """What speaks against a promise from these clips, where the bundle does not settle it.

    Args:
        bundle: Bundle to calibrate.
        data: Root of the ActionVOS layout.
        split: Split file of the clips.

    Returns:
        Sentences, none if there is no doubt.
    """
    found = []
    if shared := shared_recordings(data, split):
        found.append(
            f"{split} has {_named(shared)} of train.json; if the network was trained on them, the "
            "promise does not hold: split by recording"
        )
    if bundle.provenance.get("chosen_on") == _digest(split):
        found.append(
            f"the weights (best.safetensors) were chosen by their result on {split}, so they look "
            "better there than elsewhere: export last.safetensors, or calibrate on other clips"
        )
    return found


def seen_by(bundle: Bundle, split: Path) -> bool:
    """Whether training or calibration of a bundle is known to have used this very split."""
    calibrated = (bundle.gate or {}).get("data", {}).get("split_sha256")
    return _digest(split) in (*(bundle.provenance.get("seen") or ()), calibrated)


def shared_recordings(data: Path, split: Path) -> Sequence[str]:
    """Recordings of a split that the training split beside it has too.

    Args:
        data: Root of the ActionVOS layout.
        split: Split file.
    """
    train = split_file(data, "train")
    if not train.is_file() or not split.is_file():
        return ()
    own, other = ({clip.video for clip in load_clips(path)} for path in (split, train))
    return sorted(own & other)


def _digest(split: Path) -> str:
    """SHA-256 of a split file; that there is none is told by what reads it."""
    return file_sha256(split) if split.is_file() else ""


def _named(recordings: Sequence[str]) -> str:
    shown = ", ".join(recordings[:_SHOWN]) + (", …" if len(recordings) > _SHOWN else "")
    return f"{len(recordings)} recordings ({shown})"
