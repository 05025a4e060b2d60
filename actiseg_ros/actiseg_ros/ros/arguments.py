"""Names that somebody gave and nobody takes: parameters of nodes, arguments of launch files."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Hint at the known names that a name resembles, with a space before it; empty without any."""
    similar = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f" (did you mean {' or '.join(similar)}?)" if similar else ""


def means_node(section: str, name: str) -> bool:
    """Whether a section of a parameter file means a node, by rcl's wildcards.

    Args:
        section: Its name: ``*`` is one part, ``**`` are any.
        name: Full name of the node.
    """
    parts = []
    for part in section.strip("/").split("/"):
        parts.append({"**": "(/[^/]+)*", "*": "/[^/]+"}.get(part, f"/{re.escape(part)}"))
    return re.fullmatch("".join(parts), name) is not None


def number_argument(name: str, text: str) -> float:
    """The value of a launch argument that is a number.

    Raises:
        RuntimeError: It is none.
    """
    try:
        return float(text)
    except ValueError as error:
        raise RuntimeError(f"{name}:={text} is no number") from error


def untaken_arguments(
    given: Sequence[str], command: Sequence[str], file: str, known: Iterable[str]
) -> list[str]:
    """Launch arguments that a launch file does not declare, of which `ros2 launch` says nothing.

    Args:
        given: Arguments of the launch, each ``name:=value``.
        command: Command line of the process.
        file: Name of the launch file, e.g. ``segment.launch.py``.
        known: Arguments that are declared.

    Returns:
        One line for each; none if another launch file was started and includes this one, because
        then they may be that one's.
    """
    if not any(word.rpartition("/")[2] == file for word in command):
        return []
    known = list(dict.fromkeys(known))
    names = dict.fromkeys(text.partition(":=")[0] for text in given if ":=" in text)
    return [
        f"{file} has no argument `{name}`, which was ignored{did_you_mean(name, known)}; "
        "--show-args lists all"
        for name in names
        if name not in known
    ]
