"""The definitions of the project's own messages, for reading and writing bags without ROS."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from rosbags.typesys import Stores, get_types_from_msg, get_typestore

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

PACKAGE = "actiseg_msgs"
NAMES = ("ActionNarration", "ActiveObject", "ActiveObjectArray", "GraspDecision")


def _candidates() -> Iterator[Path]:
    package = Path(__file__).resolve().parents[1]
    yield package / "msg"  # installed by pip
    yield package.parents[1] / "ros2_ws" / "src" / PACKAGE / "msg"  # source tree
    for prefix in filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)):
        yield Path(prefix) / "share" / PACKAGE / "msg"


def message_folder() -> Path:
    """Finds the folder with the ``.msg`` files.

    Raises:
        FileNotFoundError: None of the candidates has them; the message lists all.
    """
    candidates = list(_candidates())
    for folder in candidates:
        if all((folder / f"{name}.msg").is_file() for name in NAMES):
            return folder
    listed = ", ".join(str(folder) for folder in candidates)
    raise FileNotFoundError(
        f"the message definitions of {PACKAGE} were not found (looked in {listed}); "
        "reinstall the package or source the ROS 2 workspace"
    )


@cache
def typestore() -> Typestore:
    """Returns ROS 2 Jazzy's types and the project's own."""
    store = get_typestore(Stores.ROS2_JAZZY)
    folder = message_folder()
    types = {}
    for name in NAMES:
        text = (folder / f"{name}.msg").read_text(encoding="utf-8")
        types.update(get_types_from_msg(text, f"{PACKAGE}/msg/{name}"))
    store.register(types)
    return store
