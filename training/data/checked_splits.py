"""Splits of some clips of a split that others have checked: ActionVOS's `val_human.json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.data.layout import whole_number
from training.data.tree import Problem
from training.files.disk import read_json

_ACTION = ("video", "narration", "verb", "noun")
_FRAMES = ("start", "end")


def matched_clips(
    file: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[Problem]]:
    """Finds a checked split's clips among those of a preparation.

    Clips are matched by their action, because a preparation of some of the videos counts otherwise.

    Args:
        file: List of clips in the form of ``ImageSets/val.json``.
        entries: The prepared clips of the whole split.

    Returns:
        The checked clips with the numbers and frames of the preparation, everything else as in the
        file; and a line for each video with clips that are not there or have
        other objects or frames.

    Raises:
        ActisegError: If the file has another form.
    """
    content = read_json(file)
    chosen: list[dict[str, Any]] = []
    wrong: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    try:
        prepared = {_key(entry): entry for entry in entries}
        for record in content:
            own = prepared.get(_key(record))
            if own is None:
                wrong.setdefault((record["video"], "not prepared"), []).append(record)
            elif _objects(own) != _objects(record):
                wrong.setdefault((record["video"], "of other objects"), []).append(record)
            elif not set(own["sparse_frames"]) <= set(record["sparse_frames"]):
                wrong.setdefault((record["video"], "of other frames"), []).append(record)
            else:
                numbers = {"seq_id": own["seq_id"], "sparse_frames": own["sparse_frames"]}
                chosen.append({**record, **numbers})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ActisegError(
            f"{file}: not a list of clips as in ImageSets/val.json"
            f" ({type(error).__name__}: {error}); move it elsewhere if it is something else"
        ) from error
    problems = []
    for (video, what), records in wrong.items():
        first = f"{'the first ' if len(records) > 1 else ''}{records[0]['narration']!r}"
        clips, are = ("clips", "are") if len(records) > 1 else ("clip", "is")
        line = f"{len(records)} {clips} of {video} {are} {what} ({first} at {records[0]['start']})"
        problems.append(Problem(str(file), line))
    return chosen, problems


def _key(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        *(record[field] for field in _ACTION),
        *(whole_number(record[field]) for field in _FRAMES),
    )


def _objects(record: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    return {
        int(key): (entry["name"], whole_number(entry["class_id"]))
        for key, entry in record["object_classes"].items()
    }
