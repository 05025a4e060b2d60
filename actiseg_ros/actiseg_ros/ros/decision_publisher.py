"""Publishes the decision: at once when asked, and with a heartbeat of its own thread.

The heartbeat asks nobody: neither a model that loads, nor a transition that waits for a worker, nor
an executor that is busy can keep it from saying no-go.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from actiseg_msgs.msg import GraspDecision
from rclpy.duration import Duration
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    LivelinessPolicy,
    QoSProfile,
    ReliabilityPolicy,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from std_msgs.msg import Bool

from actiseg_ros.gate.events import PublishersCounted
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.state import Decision
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.messages import Identity, decision_message

TOPICS = ("~/grasp", "~/go")
_LIFESPAN = 5
"""Heartbeats after which a decision that was not taken yet is no longer delivered."""


def decision_qos(period: float) -> QoSProfile:
    """Quality of service of the decision, which a consumer may ask for as well.

    Args:
        period: Seconds between two heartbeats. No two decisions are further apart than twice this.
    """
    twice = Duration(seconds=2 * period)
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE,
        deadline=twice,
        lifespan=Duration(seconds=_LIFESPAN * period),
        liveliness=LivelinessPolicy.MANUAL_BY_TOPIC,
        liveliness_lease_duration=twice,
    )


class DecisionPublisher:
    """Owner of ``~/grasp`` and ``~/go``.

    Args:
        node: Node that publishes.
        gate: Decides.
        reporter: Hears of a second publisher and of consumers that cannot be served.
        rate: Heartbeats per second.
        identity: Gives who decides now.
    """

    def __init__(
        self,
        node: Node,
        gate: Gate,
        reporter: Reporter,
        rate: float,
        identity: Callable[[], Identity],
    ) -> None:
        self._node, self._gate, self._reporter = node, gate, reporter
        self._period, self._identity = 1.0 / rate, identity
        self._lock = threading.Lock()
        self._sequence = 0
        self._grasp, self._go = (
            node.create_publisher(
                kind,
                topic,
                decision_qos(self._period),
                event_callbacks=PublisherEventCallbacks(
                    incompatible_qos=lambda event, topic=topic: self._on_incompatible(topic, event)
                ),
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
            for kind, topic in zip((GraspDecision, Bool), TOPICS, strict=True)
        )
        self._topics = [node.resolve_topic_name(topic) for topic in TOPICS]
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self._thread.start()

    def publish(self) -> Decision:
        """Decides and publishes."""
        # Together under a lock: an older go must not overtake a newer no-go.
        with self._lock:
            decision = self._gate.decide()
            self._sequence += 1
            self._grasp.publish(decision_message(decision, self._sequence, self._identity()))
            self._go.publish(Bool(data=bool(decision.go)))
        return decision

    def close(self) -> None:
        """Ends the heartbeat, says the last word and waits until subscribers have it."""
        self._stopping.set()
        self._thread.join()
        self.publish()
        for publisher in (self._grasp, self._go):
            publisher.wait_for_all_acked(Duration(seconds=0.5))

    def _beat(self) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            try:
                self._count_publishers()
                self.publish()
            except Exception as error:  # nothing may end the heartbeat
                if not self._node.context.ok():
                    return
                self._reporter.error("gate", f"heartbeat: {error!r}", "heartbeat")
            due = max(due + self._period, time.monotonic())
            self._stopping.wait(due - time.monotonic())

    def _count_publishers(self) -> None:
        count = max(self._node.count_publishers(topic) for topic in self._topics)
        self._gate.handle(PublishersCounted(count))

    def _on_incompatible(self, topic: str, event: object) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)  # type: ignore[attr-defined]
        self._reporter.warn(
            "gate",
            f"a consumer of {self._node.resolve_topic_name(topic)} asks for another {policy} than "
            f"is offered, so it hears nothing; offered are a deadline and a liveliness by topic of "
            f"{2 * self._period:g} s, reliable and volatile",
            "qos",
        )
