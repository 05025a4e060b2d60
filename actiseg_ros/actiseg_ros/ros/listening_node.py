"""Subscriptions that explain their silence."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from actiseg_ros.ros.health import ArrivalMonitor, ArrivalReport, Level, Problem
from actiseg_ros.ros.reporting_node import ReportingNode
from actiseg_ros.ros.silence import Publisher, explain_silence


@dataclass(frozen=True)
class Input:
    """A subscribed topic.

    Attributes:
        name: Name of the topic, relative to the node's namespace.
        kind: Message class.
        qos: Quality of service asked for.
        part: Part of the node that its problems belong to.
        remedy: What to do when a publisher's quality of service does not match.
    """

    name: str
    kind: type[Any]
    qos: QoSProfile
    part: str
    remedy: str

    @property
    def type_name(self) -> str:
        """ROS name of the message type."""
        return f"{self.kind.__module__.split('.')[0]}/msg/{self.kind.__name__}"


@dataclass
class _Subscribed:
    """An input that is being listened to."""

    input: Input
    topic: str
    handle: Any = None
    monitor: ArrivalMonitor = field(default_factory=ArrivalMonitor)
    since: float = field(default_factory=time.monotonic)


class ListeningNode(ReportingNode):
    """Reporting node that knows how its inputs behave, and why one is silent."""

    def __init__(self, *arguments: Any) -> None:
        self._inputs: dict[str, _Subscribed] = {}
        super().__init__(*arguments)

    def listen(self, wanted: Input, callback: Callable[[Any], None]) -> None:
        """Subscribes; `callback` gets every message that arrives."""
        subscribed = _Subscribed(wanted, self.resolve_topic_name(wanted.name))
        self._inputs[wanted.name] = subscribed

        def arrived(message: Any) -> None:
            subscribed.monitor.arrived()
            callback(message)

        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda event: self._on_incompatible_qos(subscribed, event),
            incompatible_type=lambda event: None,  # `explain` says more about it
        )
        subscribed.handle = self.create_subscription(
            wanted.kind,
            wanted.name,
            arrived,
            wanted.qos,
            event_callbacks=events,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )

    def stop_listening(self) -> None:
        """Ends all subscriptions."""
        for subscribed in self._inputs.values():
            self.destroy_subscription(subscribed.handle)
            self.problems.clear(subscribed.input.part, subscribed.topic)
        self._inputs.clear()

    def arrivals(self, name: str) -> ArrivalReport:
        """How the messages of an input came in; nothing if it is not listened to."""
        subscribed = self._inputs.get(name)
        return (subscribed.monitor if subscribed else ArrivalMonitor()).report()

    def explain(self, name: str) -> None:
        """Tells why an input is silent, if it has been for long."""
        subscribed = self._inputs.get(name)
        if subscribed is None:
            return
        wanted = subscribed.input
        listening = time.monotonic() - subscribed.since
        silent_for = min(subscribed.monitor.report().silence, listening)
        if silent_for < self.value("silence_warning"):
            self.problems.clear(wanted.part, subscribed.topic)
            return
        problem = explain_silence(
            wanted.part,
            subscribed.topic,
            wanted.type_name,
            self._heard_publishers(subscribed),
            dict(self.get_topic_names_and_types()),
            silent_for,
            wanted.remedy,
        )
        self.tell(problem, subscribed.topic)

    def hush(self, name: str) -> None:
        """Forgets that an input was silent."""
        subscribed = self._inputs.get(name)
        if subscribed is not None:
            self.problems.clear(subscribed.input.part, subscribed.topic)

    def _heard_publishers(self, subscribed: _Subscribed) -> list[Publisher]:
        found = []
        for info in self.get_publishers_info_by_topic(subscribed.topic):
            # The subscription's own profile: parameters may have overridden what was asked for.
            verdict, reason = qos_check_compatible(info.qos_profile, subscribed.handle.qos_profile)
            mismatch = reason.strip() if verdict == QoSCompatibility.ERROR else ""
            found.append(Publisher(info.node_name, info.topic_type, mismatch))
        return found

    def _on_incompatible_qos(self, subscribed: _Subscribed, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        text = (
            f"incompatible QoS: a publisher on {subscribed.topic} differs in {policy}, so nothing "
            f"of it arrives; {subscribed.input.remedy}"
        )
        self.tell(Problem(subscribed.input.part, Level.ERROR, text), "qos")
