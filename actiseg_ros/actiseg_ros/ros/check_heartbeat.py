"""Says whether `segment_node` still decides: 0 if a decision comes in time, else 1.

For a container's health check or a watchdog: ``ros2 run actiseg_ros check_heartbeat``. It asks for
the heartbeat over DDS, as the robot does, and not whether a process exists. The heartbeat comes in
every state of the node's lifecycle; whether it says go makes no difference.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

import rclpy
from actiseg_msgs.msg import GraspDecision
from rclpy.exceptions import InvalidNamespaceException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile

from actiseg_ros.ros.start import start_ros

DECISIONS = 2
"""Decisions that must come: a heart that beats does so more than once."""


def main(arguments: list[str] | None = None) -> int:
    """Waits for decisions; 0 if they came, 1 if not, 2 if the command line is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=float, default=8.0, help="seconds to wait")
    parser.add_argument(
        "--namespace",
        default=os.environ.get("NAMESPACE", ""),
        help="the node's; by default that of the environment variable NAMESPACE",
    )
    given = sys.argv if arguments is None else ["check_heartbeat", *arguments]
    if not start_ros("check_heartbeat", given):
        return 2
    options = parser.parse_args(rclpy.utilities.remove_ros_args(given)[1:])
    seen: list[GraspDecision] = []
    try:
        node = rclpy.create_node(
            "check_heartbeat", namespace=options.namespace, start_parameter_services=False
        )
    except InvalidNamespaceException as error:
        print(f"check_heartbeat: --namespace {options.namespace}: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    node.create_subscription(GraspDecision, "segment/grasp", seen.append, QoSProfile(depth=1))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    deadline = time.monotonic() + options.timeout
    while len(seen) < DECISIONS and time.monotonic() < deadline and rclpy.ok():
        executor.spin_once(timeout_sec=0.1)
    topic = node.resolve_topic_name("segment/grasp")
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    if len(seen) < DECISIONS:
        print(f"no heartbeat on {topic} for {options.timeout:g} s", file=sys.stderr)
        return 1
    state = seen[-1].state
    print(f"{topic}: {state} {', '.join(seen[-1].reasons)}".rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main())
