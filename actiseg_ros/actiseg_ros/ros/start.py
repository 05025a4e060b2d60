"""The start of a node's process: slips on the command line, and what never ends."""

from __future__ import annotations

import gc
import re
import sys
from typing import Any

import rclpy

_PLACE = re.compile(r", at /\S+:\d+")
"""Where in rcl's own source an error was found, which helps nobody here."""


def start_ros(executable: str, arguments: list[str] | None, **options: Any) -> bool:
    """Initialises ROS for a process of one node, and keeps long pauses out of it.

    Args:
        executable: Name of the process, for messages.
        arguments: Its command line; None takes that of the process.
        **options: Passed on to `rclpy.init`.

    Returns:
        Whether it could be done; else the cause is on standard error.
    """
    try:
        rclpy.init(args=arguments, **options)
    except RuntimeError as error:  # rclpy's own kinds are not public
        told = _PLACE.sub("", str(error)).removeprefix("failed to initialize rcl: ")
        if type(error).__name__ == "UnknownROSArgsError":
            told = f"unknown arguments {told}"
        if "parse" in told or "unknown" in told:
            told += (
                "; behind --ros-args a parameter is given as `-p NAME:=VALUE` with a value in "
                "YAML, a file of parameters as `--params-file FILE`, another name for a topic as "
                "`-r NAME:=OTHER`"
            )
        print(f"{executable}: cannot start: {told}", file=sys.stderr)
        return False
    # A full garbage collection goes through all that was imported, which takes tenths of a second
    # on a busy machine, and no thread says anything meanwhile.
    gc.freeze()
    return True
