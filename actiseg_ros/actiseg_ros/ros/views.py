"""Layouts of RViz and Foxglove whose topics follow the node's namespace."""

from __future__ import annotations

import re
from pathlib import Path

_TOPIC = re.compile(r"(?<![\w/~.])/segment/")
"""Where a topic of the node begins in a layout that was made for the node without a namespace."""


def in_namespace(layout: str, namespace: str) -> str:
    """Moves the node's topics in a layout.

    Args:
        layout: Text of a layout file, with topics such as ``/segment/overlay/compressed``.
        namespace: Namespace of the node, with or without slashes around it; empty is none.
    """
    parts = [part for part in namespace.split("/") if part]
    return _TOPIC.sub("".join(f"/{part}" for part in [*parts, "segment"]) + "/", layout)


def write_layout(source: Path, folder: Path, namespace: str) -> Path:
    """Writes a layout for a namespace.

    Args:
        source: Layout of the node without a namespace.
        folder: Existing folder to write to.
        namespace: Namespace of the node.

    Returns:
        The written file.
    """
    name = "_".join(part for part in (*namespace.split("/"), source.name) if part)
    written = folder / name
    written.write_text(in_namespace(source.read_text(encoding="utf-8"), namespace), "utf-8")
    return written
