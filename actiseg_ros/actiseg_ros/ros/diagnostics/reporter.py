"""Logs problems, keeps them for a while, and publishes them on /diagnostics."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions

from actiseg_ros.ros.diagnostics.problems import Level, Problem, Problems
from actiseg_ros.ros.messages import status


class Reporter:
    """The problems of one node.

    Args:
        node: Node whose logger is used and in whose name the diagnostics are published.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._problems = Problems()
        overrides = QoSOverridingOptions.with_default_policies()
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", 10, qos_overriding_options=overrides
        )

    def report(self, part: str, level: Level, text: str, kind: str = "") -> None:
        """Logs a problem, unless it was logged lately, and keeps it for the diagnostics.

        Args:
            part: Part of the node that it concerns.
            level: WARN or ERROR.
            text: Cause and remedy.
            kind: Problems of one part and kind replace each other.
        """
        if not self._problems.report(Problem(part, level, text), kind):
            return
        # Two calls, because rclpy refuses a second severity from the same line of code.
        if level is Level.ERROR:
            self._node.get_logger().error(f"{part}: {text}")
        else:
            self._node.get_logger().warning(f"{part}: {text}")

    def warn(self, part: str, text: str, kind: str = "") -> None:
        """Reports a warning."""
        self.report(part, Level.WARN, text, kind)

    def error(self, part: str, text: str, kind: str = "") -> None:
        """Reports an error."""
        self.report(part, Level.ERROR, text, kind)

    def note(self, part: str, level: Level, text: str, kind: str = "") -> None:
        """Keeps a problem for the diagnostics without logging it."""
        self._problems.note(Problem(part, level, text), kind)

    def clear(self, part: str, kind: str = "") -> None:
        """Forgets a problem that is known to be over."""
        self._problems.clear(part, kind)

    def of(self, part: str) -> list[Problem]:
        """Problems of a part that still show, worst first."""
        return self._problems.of(part)

    def publish(self, parts: Mapping[str, Mapping[str, object]]) -> None:
        """Publishes key values and current problems of each part."""
        message = DiagnosticArray()
        message.header.stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        message.status = [
            status(f"{name}: {part}", self._problems.of(part), values)
            for part, values in parts.items()
        ]
        self._publisher.publish(message)
