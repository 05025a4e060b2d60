"""The node's subscriptions: who sends, what is lost on its way, and why a topic is silent."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from actiseg_ros.ros.diagnostics.arrivals import ArrivalMonitor, ArrivalReport, PublisherTracker
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.diagnostics.silence import Publisher, explain_silence, foreign_memory

NARRATIONS = ("narration", "action")
"""The two ways to narrate."""
_DELIVERY = 1.0
"""Seconds within which a message is taken for one that comes as it is published."""


@dataclass(frozen=True)
class Origin:
    """Where a message comes from.

    Attributes:
        publisher: Tells its publisher from others on the topic.
        age: Seconds since it was published, where it was kept for late subscribers, else 0;
            infinite where the clock cannot tell, which is /clock.
    """

    publisher: str
    age: float = 0.0


@dataclass(frozen=True)
class Input:
    """A topic to subscribe to.

    Attributes:
        name: Name of the topic, relative to the node's namespace.
        kind: Message class.
        qos: Quality of service asked for; parameters may override it.
        part: Part of the node that its problems belong to.
        remedy: What to do when a publisher's quality of service does not match.
        late: Whether what was published before may be heard, if a parameter asks for it.
    """

    name: str
    kind: type[Any]
    qos: QoSProfile
    part: str
    remedy: str
    late: bool = True

    @property
    def type_name(self) -> str:
        """ROS name of the message type."""
        return f"{self.kind.__module__.split('.')[0]}/msg/{self.kind.__name__}"


@dataclass
class _Subscribed:
    input: Input
    topic: str
    handle: Any = None
    latched: Any = None
    newest: int = 0
    joined: int = 0
    monitor: ArrivalMonitor = field(default_factory=ArrivalMonitor)
    tracker: PublisherTracker = field(default_factory=PublisherTracker)
    since: float = field(default_factory=time.monotonic)


class Inputs:
    """Subscriptions that know how their messages come in.

    Args:
        node: Node that subscribes.
        reporter: Hears of silence, losses and mismatches.
    """

    def __init__(self, node: Node, reporter: Reporter) -> None:
        self._node, self._reporter = node, reporter
        self._subscribed: dict[str, _Subscribed] = {}

    def subscribe(self, wanted: Input, callback: Callable[[Any, Origin], None]) -> None:
        """Subscribes.

        Args:
            wanted: The topic.
            callback: Gets every message and its origin. What it raises is reported, and the node
                goes on.
        """
        subscribed = _Subscribed(wanted, self._node.resolve_topic_name(wanted.name))
        self._subscribed[wanted.name] = subscribed

        def arrived(message: Any, info: dict[str, Any]) -> None:
            try:
                publisher, lost = subscribed.tracker.identify(
                    info.get("publisher_gid"),
                    info.get("publication_sequence_number"),
                    subscribed.handle.get_publisher_count(),
                    subscribed.joined,
                )
                subscribed.monitor.arrived(lost)
                subscribed.newest = max(subscribed.newest, int(info.get("source_timestamp", 0)))
                callback(message, Origin(publisher))
            except Exception as error:
                self._on_error(subscribed, error)

        def arrived_late(message: Any, info: dict[str, Any]) -> None:
            try:
                published = int(info["source_timestamp"])
                if published <= subscribed.newest:
                    return  # heard already, or something newer was
                subscribed.newest = published
                age = (time.time_ns() - published) * 1e-9
                if self._node.get_clock().ros_time_is_active and age > _DELIVERY:
                    age = math.inf
                subscribed.monitor.arrived()
                callback(message, Origin("latched", age))
            except Exception as error:
                self._on_error(subscribed, error)

        events = SubscriptionEventCallbacks(
            matched=lambda event: self._on_matched(subscribed, event),
            incompatible_qos=lambda event: self._on_incompatible_qos(subscribed, event),
            incompatible_type=lambda event: None,  # `check_silence` says more about it
        )
        subscribed.handle = self._node.create_subscription(
            wanted.kind,
            wanted.name,
            arrived,
            wanted.qos,
            event_callbacks=events,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        if self._wants_latched(subscribed.topic, wanted.late):
            # Beside the other one, which hears publishers that keep nothing.
            qos = QoSProfile(depth=wanted.qos.depth, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            subscribed.latched = self._node.create_subscription(
                wanted.kind,
                wanted.name,
                arrived_late,
                qos,
                event_callbacks=SubscriptionEventCallbacks(use_default_callbacks=False),
            )

    def _on_matched(self, subscribed: _Subscribed, event: Any) -> None:
        subscribed.joined = int(event.total_count)

    def _wants_latched(self, topic: str, late: bool) -> bool:
        """Whether a parameter asks for what was published before the node listened."""
        name = f"qos_overrides.{topic}.subscription.durability"
        if not self._node.has_parameter(name):
            self._node.declare_parameter(
                name,
                "volatile",
                ParameterDescriptor(
                    description="durability; transient_local also hears what publishers of that "
                    "durability said before, which ages from then on",
                    read_only=True,
                ),
            )
        value = str(self._node.get_parameter(name).value)
        if value not in ("volatile", "transient_local"):
            raise ValueError(f"{name} is {value!r}, expected volatile or transient_local")
        if value == "transient_local" and not late:
            raise ValueError(f"{name} is {value!r}, but old images are never judged: leave it out")
        return value == "transient_local"

    def _on_error(self, subscribed: _Subscribed, error: Exception) -> None:
        text = f"a message on {subscribed.topic} could not be handled: {error!r}"
        self._reporter.error(subscribed.input.part, text, "callback")

    def unsubscribe_all(self) -> None:
        """Ends all subscriptions."""
        for subscribed in self._subscribed.values():
            for handle in (subscribed.handle, subscribed.latched):
                if handle is not None:
                    self._node.destroy_subscription(handle)
            self._reporter.clear(subscribed.input.part, subscribed.topic)
        self._subscribed.clear()

    def arrivals(self, name: str) -> ArrivalReport:
        """How the messages of an input came in; nothing if it is not subscribed to."""
        subscribed = self._subscribed.get(name)
        return (subscribed.monitor if subscribed else ArrivalMonitor()).report()

    def topic(self, name: str) -> str:
        """Resolved name of a subscribed topic, else empty."""
        subscribed = self._subscribed.get(name)
        return subscribed.topic if subscribed else ""

    def publishers(self, name: str) -> list[Publisher]:
        """Who publishes on a subscribed topic."""
        subscribed = self._subscribed.get(name)
        return self._publishers(subscribed) if subscribed else []

    def check_silence(self, names: tuple[str, ...], limit: float) -> None:
        """Reports why inputs are silent, if they have been for long.

        Args:
            names: Inputs of which one that speaks is enough.
            limit: Seconds of silence that are worth a word; a single input must speak all the
                time, of several one word on any is enough.
        """
        asked = [self._subscribed[name] for name in names if name in self._subscribed]
        alternatives = len(names) > 1
        spoken = alternatives and any(each.monitor.report().count for each in asked)
        for each in asked:
            silence = min(each.monitor.report().silence, time.monotonic() - each.since)
            if spoken or silence < limit:
                self._reporter.clear(each.input.part, each.topic)
                continue
            problem = explain_silence(
                each.input.part,
                each.topic,
                each.input.type_name,
                self._publishers(each),
                dict(self._node.get_topic_names_and_types()),
                silence,
                each.input.remedy,
                foreign_memory(),
            )
            self._reporter.report(problem.part, problem.level, problem.text, each.topic)

    def _publishers(self, subscribed: _Subscribed) -> list[Publisher]:
        found = []
        for info in self._node.get_publishers_info_by_topic(subscribed.topic):
            # The subscription's own profile: parameters may have overridden what was asked for.
            own = subscribed.handle.qos_profile
            verdict, reason = qos_check_compatible(info.qos_profile, own)
            mismatch = reason.strip() if verdict == QoSCompatibility.ERROR else ""
            node = f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            if "_UNKNOWN_" in node:  # rmw's word while nothing that a participant sends arrives
                node = "a node whose name has not come through"
            keeps = info.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL
            latched = keeps and subscribed.latched is None and not mismatch
            found.append(Publisher(node, info.topic_type, mismatch, latched))
        return found

    def _on_incompatible_qos(self, subscribed: _Subscribed, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        text = (
            f"incompatible QoS: a publisher on {subscribed.topic} differs in {policy}, so nothing "
            f"of it arrives; {subscribed.input.remedy}"
        )
        self._reporter.error(subscribed.input.part, text, "qos")
