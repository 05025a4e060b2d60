"""Our end of a bond with a lifecycle manager, which takes the system down when it breaks.

Only the message package `bond` is needed, which every lifecycle manager with bonds brings along;
without it there is no bond. The status comes from the executor's thread: an executor that hangs is
a dead node to the manager, although the heartbeat of the decision goes on.
"""

from __future__ import annotations

import uuid
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode

from actiseg_ros.ros.lifecycle import every

try:
    from bond.msg import Status
except ImportError:  # no lifecycle manager is installed that could hold the other end
    Status = None

TOPIC = "bond"
PERIOD = 0.5
TIMEOUT = 4.0
"""Seconds that the other end should wait; what it does is its own setting."""


class Bond:
    """Says that a node is alive, from its activation to its deactivation.

    Args:
        node: The node; its name is the bond's id, as lifecycle managers expect.
    """

    def __init__(self, node: LifecycleNode) -> None:
        self._node = node
        self._instance = ""
        self._handles: list[Any] = []

    def form(self) -> None:
        """Begins to say that the node is alive; nothing happens without the package `bond`."""
        if Status is None or self._handles:
            return
        self._instance = str(uuid.uuid4())
        publisher = self._node.create_publisher(Status, TOPIC, 1)
        subscription = self._node.create_subscription(Status, TOPIC, self._on_status, 1)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self._node.create_timer(PERIOD, lambda: self._say(True), clock=steady)
        self._handles = [publisher, subscription, timer]
        self._say(True)

    def end(self) -> None:
        """Says that the node is no longer alive on purpose."""
        if not self._handles:
            return
        publisher, subscription, timer = self._handles
        every(
            lambda: self._node.destroy_timer(timer),
            lambda: self._say(False),
            self._handles.clear,
            lambda: self._node.destroy_subscription(subscription),
            lambda: self._node.destroy_publisher(publisher),
        )

    def _say(self, active: bool) -> None:
        status = Status(id=self._node.get_name(), instance_id=self._instance, active=active)
        status.header.stamp = self._node.get_clock().now().to_msg()
        status.heartbeat_timeout, status.heartbeat_period = TIMEOUT, PERIOD
        self._handles[0].publish(status)

    def _on_status(self, status: Any) -> None:
        other = status.id == self._node.get_name() and status.instance_id != self._instance
        if other and not status.active and self._handles:
            self._say(False)  # the other end waits for this answer before it lets go
