"""Fast DDS's settings: where they are installed, and which variable leads Fast DDS to them."""

from __future__ import annotations

import os
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
"""Jazzy's Fast DDS reads the first name only, from Kilted on the second one counts."""


def variable() -> str:
    """The one of `VARIABLES` that the distribution at hand reads; without one, Jazzy's."""
    old = os.environ.get("ROS_DISTRO", "jazzy") in ("humble", "iron", "jazzy")
    return VARIABLES[0 if old else 1]


def profile(name: str) -> Path:
    """Installed path of a file with settings.

    Args:
        name: Its name, for example ``fastdds_udp.xml``.
    """
    try:
        share = Path(get_package_share_directory("actiseg_ros"))
    except PackageNotFoundError:  # no workspace is sourced: as in the repository
        share = Path("actiseg_ros")
    return share / "config" / name
