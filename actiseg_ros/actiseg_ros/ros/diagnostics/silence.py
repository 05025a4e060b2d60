"""Why nothing comes in on a topic, in words that name the remedy."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from actiseg_ros.ros.diagnostics.problems import Level, Problem
from actiseg_ros.ros.fast_dds import profile, variable


@dataclass(frozen=True)
class Publisher:
    """A publisher that the ROS graph shows on a topic.

    Attributes:
        node: Full name of its node.
        type_name: Type of its messages.
        mismatch: Why its quality of service does not match the subscription, empty if it does.
        latched: Whether it keeps messages for late subscribers (transient_local durability) and
            the subscription does not ask for them.
    """

    node: str
    type_name: str
    mismatch: str = ""
    latched: bool = False


def foreign_memory(folder: Path = Path("/dev/shm")) -> str:
    """Owner of shared memory of Fast DDS that another user's processes left on this machine.

    Fast DDS opens the memory of both sides for writing. Between two users that fails without a
    word: they discover each other, and nothing arrives.

    Args:
        folder: Where the memory lies.

    Returns:
        Name of a user other than this process's, empty if there is none.
    """
    for file in sorted(folder.glob("fastrtps_port*")):
        try:
            owner = file.stat().st_uid
        except OSError:  # its process has just ended
            continue
        if owner != os.geteuid():
            try:
                return pwd.getpwuid(owner).pw_name
            except KeyError:
                return str(owner)
    return ""


def explain_silence(
    part: str,
    topic: str,
    type_name: str,
    publishers: Sequence[Publisher],
    graph: Mapping[str, Sequence[str]],
    silent_for: float,
    remedy: str,
    foreign: str = "",
) -> Problem:
    """Says why a subscription hears nothing.

    Args:
        part: Part of the node that the problem belongs to.
        topic: Resolved name of the topic.
        type_name: Type subscribed to, for example ``sensor_msgs/msg/Image``.
        publishers: Publishers on that topic.
        graph: Types of every topic that exists.
        silent_for: Seconds without a message.
        remedy: What to set in this node when the quality of service does not match.
        foreign: Owner of shared memory that this process cannot use, see `foreign_memory`.

    Returns:
        The problem, an error if nothing can ever be heard as things are.
    """
    if not publishers:
        others = sorted(name for name, types in graph.items() if type_name in types)
        others = [name for name in others if name != topic]
        found = ", ".join(others[:8]) or "none"
        return Problem(
            part,
            Level.WARN,
            f"no publisher on {topic} ({type_name}) for {silent_for:.0f} s; start it or remap the "
            f"topic. Topics of this type that exist: {found}",
        )
    wrong = [publisher for publisher in publishers if publisher.type_name != type_name]
    if len(wrong) == len(publishers):
        return Problem(
            part,
            Level.ERROR,
            f"{topic} is published as {wrong[0].type_name} by {wrong[0].node}, but this node "
            f"takes {type_name}; remap one of them",
        )
    deaf = [publisher for publisher in publishers if publisher.mismatch]
    if len(deaf) + len(wrong) == len(publishers):
        return Problem(
            part,
            Level.ERROR,
            f"incompatible QoS on {topic} from {deaf[0].node}: {deaf[0].mismatch}; {remedy}",
        )
    text = (
        f"no message on {topic} for {silent_for:.0f} s, although {publishers[0].node} publishes it"
    )
    if foreign:
        text += (
            f"; if that is user {foreign}, shared memory does not cross users: run both as one "
            f"user, or one of them with {variable()}={profile('fastdds_udp.xml')} and "
            "without ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
        )
    # Of a camera only what comes now is wanted.
    if part == "narration" and any(publisher.latched for publisher in publishers):
        text += (
            "; it latches (durability transient_local), but this node subscribes volatile and does "
            "not take what was said before it listened. Publish again, or set the parameter "
            f"`qos_overrides.{topic}.subscription.durability` to transient_local"
        )
    return Problem(part, Level.WARN, text)
