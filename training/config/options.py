"""What options have in common."""

from __future__ import annotations

from actiseg_ros.errors import ActisegError


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Refuses the value of an option such as ``gce.q``.

    Raises:
        ActisegError: Unless `condition` holds; names the option, its value and what is allowed.
    """
    if not condition:
        flag = name.replace("_", "-")
        raise ActisegError(f"--{flag} is {value}; it must be {allowed}")
