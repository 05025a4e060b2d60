"""ROS 2 node `consumer`: how a robot should listen to the decision. An example to start from.

It publishes ``~/motion_allowed`` and stops when decisions say no-go, stop coming, expire, skip a
number or come from two publishers: whatever happens to the node that decides, even if it is killed,
the motion ends within twice the heartbeat's period. Its own last word is a no; one that is killed
has none, so who listens to it has to ask for the deadline that it offers.
"""

from __future__ import annotations

import sys
import threading

import rclpy
from actiseg_msgs.msg import GraspDecision
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import QoSLivelinessChangedInfo, SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.qos import LivelinessPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from std_msgs.msg import Bool

from actiseg_ros.clock import steady_seconds
from actiseg_ros.ros.messages import to_nanoseconds
from actiseg_ros.ros.node_parameters import warn_of_untaken
from actiseg_ros.ros.process import on_ending_signal
from actiseg_ros.ros.start import start_ros


class ConsumerNode(Node):
    """Listens to ``segment/grasp``.

    The parameter `heartbeat_rate` is that of the node that decides, in hertz.
    """

    def __init__(self) -> None:
        super().__init__("consumer")
        typing = ParameterDescriptor(dynamic_typing=True)  # 20 is a rate as well
        rate = float(self.declare_parameter("heartbeat_rate", 10.0, typing).value)
        if not 0.1 <= rate <= 1000:
            raise ValueError(f"`heartbeat_rate` is {rate}, it must be from 0.1 to 1000")
        period = 1.0 / rate
        self._patience = 2 * period
        self._decision: GraspDecision | None = None
        self._arrived = -float("inf")
        self._fault = "no decision has come yet"
        self._said = ""
        # Asking for what is offered makes the middleware watch, too.
        twice = Duration(seconds=self._patience)
        self._allowed = self.create_publisher(
            Bool, "~/motion_allowed", QoSProfile(depth=1, deadline=twice)
        )
        qos = QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            deadline=twice,
            liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
            liveliness_lease_duration=twice,
        )
        events = SubscriptionEventCallbacks(
            deadline=lambda event: self._stop("decisions are late"),
            liveliness=self._on_liveliness,
        )
        self._subscription = self.create_subscription(
            GraspDecision, "segment/grasp", self._on_decision, qos, event_callbacks=events
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(period / 2, self._publish, clock=steady)

    def close(self) -> None:
        """Forbids motion for the last time, waits until subscribers know, and ends the node."""
        self._stop("this node ends")
        self._allowed.wait_for_all_acked(Duration(seconds=0.5))
        self.destroy_node()

    def _on_decision(self, message: GraspDecision) -> None:
        last, self._decision = self._decision, message
        self._arrived, self._fault = steady_seconds(), ""
        if last is not None and message.sequence != last.sequence + 1:
            self._fault = f"decision {message.sequence} follows {last.sequence}"
        self._publish()

    def _on_liveliness(self, event: QoSLivelinessChangedInfo) -> None:
        if not event.alive_count:
            self._stop("the decider is not alive")

    def _stop(self, why: str) -> None:
        self._fault = why
        self._publish()

    def _why_not(self) -> str:
        """Why no motion is allowed now; empty if it is."""
        decision = self._decision
        if self._fault or decision is None:
            return self._fault
        if self._subscription.get_publisher_count() != 1:
            return f"{self._subscription.get_publisher_count()} publishers decide"
        if steady_seconds() - self._arrived > self._patience:
            return "decisions have stopped"
        if not decision.go:
            return ", ".join(decision.reasons) or "no-go"
        now = self.get_clock().now().nanoseconds
        if now > to_nanoseconds(decision.valid_until):
            return "the decision has expired"
        # A clock that stands still or lies behind would never see a decision expire.
        ahead = (to_nanoseconds(decision.decided) - now) * 1e-9
        if ahead > self._patience:
            return f"the decision is {ahead:.3g} s ahead of this node's clock"
        return ""

    def _publish(self) -> None:
        why = self._why_not()
        self._allowed.publish(Bool(data=not why))
        if why != self._said:
            self.get_logger().info(f"stop: {why}" if why else "motion allowed")
            self._said = why


def main(arguments: list[str] | None = None) -> int:
    """Runs until a signal; 2 if command line or parameter are not understood."""
    stopping = threading.Event()
    # rclpy's own handlers would tear the context down before the last word is out.
    on_ending_signal(stopping.set)
    options = {"signal_handler_options": SignalHandlerOptions.NO}
    if not start_ros("consumer_node", arguments, **options):
        return 2
    try:
        node = ConsumerNode()
    except (ParameterException, TypeError, ValueError) as error:
        print(f"consumer_node: cannot start: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    warn_of_untaken(node, arguments if arguments is not None else sys.argv)
    try:
        while not stopping.is_set() and rclpy.ok():
            rclpy.spin_once(node, timeout_sec=0.1)
    finally:
        node.close()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
