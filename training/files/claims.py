"""Folders that say what their content was made with, so that nothing else is mixed into it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.files.disk import read_json, write_json

_SHOWN = 5
"""Differences that an error names."""
_SHORT = 24
"""Characters of a value that an error shows."""


def claim(
    file: Path,
    settings: Mapping[str, Any],
    content: str,
    *,
    folder: Path | None = None,
    may_add: bool = False,
) -> dict[str, Any]:
    """Notes what a folder's content is made with, or refuses a folder made with something else.

    Args:
        file: JSON file in the folder; it may say more than the settings.
        settings: What the content depends on; what JSON can hold.
        content: What the folder holds, for messages: `cells`, `pictures`.
        folder: The folder, if it is not the one that `file` lies in.
        may_add: Settings that the file does not have yet are added to it, not refused.

    Returns:
        What the file says now.

    Raises:
        ActisegError: If the folder's content was made with other settings; names them.
    """
    wanted: dict[str, Any] = json.loads(json.dumps(settings, sort_keys=True))
    if not file.exists():
        write_json(file, wanted)
        return wanted
    found = read_json(file)
    if not isinstance(found, dict):
        raise ActisegError(f"{file}: does not say what its folder holds; choose another --out")
    different = list(_differences(found, wanted, may_add))
    if different:
        listed = ", ".join(different[:_SHOWN]) + (", …" if len(different) > _SHOWN else "")
        raise ActisegError(
            f"{folder or file.parent}: holds {content} made otherwise: {listed}; choose another "
            "--out or remove that folder"
        )
    if wanted.keys() - found.keys():
        # Sorted, so that the order in which settings came does not show.
        found = dict(sorted((wanted | found).items()))
        write_json(file, found)
    return found


def require_free(folder: Path, content: str) -> None:
    """Refuses a folder that holds what no command of ours may mix its files with.

    Raises:
        ActisegError: If it exists and is not an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ActisegError(
            f"{folder}: exists and does not hold {content}; choose an empty or new folder"
        )


def _differences(
    found: Mapping[str, Any], wanted: Mapping[str, Any], may_add: bool, prefix: str = ""
) -> Iterator[str]:
    """Names of what differs, with both values where they are short."""
    for name, value in wanted.items():
        earlier = found.get(name)
        if earlier == value or (may_add and name not in found):
            continue
        if isinstance(earlier, dict) and isinstance(value, dict):
            # Of two mappings also what is wanted no longer.
            every = dict.fromkeys(earlier) | value
            yield from _differences(earlier, every, may_add, f"{prefix}{name}.")
            continue
        texts = [json.dumps(known, ensure_ascii=False) for known in (earlier, value)]
        short = all(len(text) <= _SHORT for text in texts)
        yield f"{prefix}{name}" + (f" ({texts[0]}, not {texts[1]})" if short else "")
