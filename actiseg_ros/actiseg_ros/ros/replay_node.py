"""ROS 2 node `replay`: plays a bag to its topics with the recorded timing.

Stands in for ``ros2 bag play`` where that is not installed, and reads every bag that rosbags reads.
Messages go out as the bytes that were recorded; only stamps are rewritten, and only on request.
"""

from __future__ import annotations

import signal
import struct
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.highlevel import AnyReader, AnyReaderError
from rosgraph_msgs.msg import Clock

from actiseg_ros.bags.type_store import typestore
from actiseg_ros.errors import RobotError

_CLOCK_PERIOD_NS = 10_000_000
_SETTLE = 0.5
"""Seconds between the discovery of a subscriber and the first message."""
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "bag": ("", "folder of the bag"),
    "rate": (1.0, "speed of the replay; 1 is as recorded"),
    "loop": (False, "start again at the end"),
    "start_offset": (0.0, "seconds of the bag to skip"),
    "clock": (
        False,
        "publish /clock with the bag's time and leave the stamps as recorded; otherwise header "
        "stamps are rewritten to the present, so that nodes on the system's clock find them fresh",
    ),
    "wait_for_subscribers": (
        0.0,
        "seconds to wait at the start for a subscriber on the first image topic",
    ),
}


class ReplayError(RobotError):
    """A bag cannot be played."""


@dataclass(frozen=True)
class _Recorded:
    """One message of the bag; `stamped` tells whether its first field is a header."""

    topic: str
    time_ns: int
    raw: bytes
    stamped: bool


class ReplayNode(Node):
    """Publishes a bag's messages when their time has come."""

    def __init__(self) -> None:
        super().__init__("replay")
        for name, (default, description) in _PARAMETERS.items():
            descriptor = ParameterDescriptor(
                description=description, dynamic_typing=isinstance(default, float)
            )
            self.declare_parameter(name, default, descriptor)
        self.rate = float(self._value("rate"))
        if not 0.001 <= self.rate <= 1000:
            raise ReplayError(f"`rate` is {self.rate}, it must be from 0.001 to 1000")
        self.loop, self.clock = bool(self._value("loop")), bool(self._value("clock"))
        bag = Path(self._value("bag"))
        if not self._value("bag") or not bag.exists():
            raise ReplayError(f"`bag` is {self._value('bag')!r}, there is no such bag folder")
        self._reader = AnyReader([bag], default_typestore=typestore())
        try:
            self._reader.open()
        except AnyReaderError as error:
            raise ReplayError(f"{bag}: cannot be read as a bag ({error})") from error
        if not self._reader.message_count:
            raise ReplayError(f"{bag}: holds no message")
        self._outputs = {
            connection.topic: self._publisher(connection.msgtype, connection.topic)
            for connection in self._reader.connections
        }
        self._ticks = self.create_publisher(Clock, "/clock", 10) if self.clock else None

    def _value(self, name: str) -> Any:
        return self.get_parameter(name).value

    def _publisher(self, type_name: str, topic: str) -> Any:
        package, _, name = type_name.partition("/msg/")
        try:
            kind = getattr(import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError) as error:
            raise ReplayError(
                f"{topic} has the type {type_name}, which is not installed here; install {package}"
            ) from error
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        # Relative: a namespace and remappings of this node move the recorded topics.
        return self.create_publisher(kind, topic.lstrip("/"), qos)

    @property
    def has_listener(self) -> bool:
        """Whether somebody listens to an image topic (to any, if the bag has no images)."""
        images = [c.topic for c in self._reader.connections if c.msgtype.endswith("Image")]
        topics = images or list(self._outputs)
        return any(self._outputs[topic].get_subscription_count() for topic in topics)

    def recorded(self) -> Iterator[_Recorded]:
        """The bag's messages from the start offset on, in order of time."""
        offset_ns = round(float(self._value("start_offset")) * 1e9)
        first = self._reader.start_time + max(0, offset_ns)
        types = self._reader.typestore.types
        for connection, time_ns, raw in self._reader.messages(start=first):
            # A message whose first field is a header has its stamp right behind the CDR header.
            fields = getattr(types[connection.msgtype], "__dataclass_fields__", {})
            stamped = next(iter(fields), "") == "header"
            yield _Recorded(connection.topic, time_ns, bytes(raw), stamped)

    def send(self, message: _Recorded) -> None:
        """Publishes one message, its stamp moved to the present unless /clock is published."""
        raw = message.raw
        if message.stamped and not self.clock:
            raw = restamped(raw, self.get_clock().now().nanoseconds)
        self._outputs[message.topic].publish(raw)

    def tick(self, time_ns: int) -> None:
        """Publishes the bag's time on /clock."""
        if self._ticks is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(int(time_ns), 10**9)
            self._ticks.publish(message)

    def close(self) -> None:
        """Closes the bag, after what was sent has arrived."""
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=1.0))
        self._reader.close()


def restamped(raw: bytes, stamp_ns: int) -> bytes:
    """Replaces the stamp of a serialised message that begins with a `std_msgs/Header`.

    Args:
        raw: CDR bytes: four bytes of encapsulation, then seconds (int32), nanoseconds (uint32).
        stamp_ns: New stamp in nanoseconds.
    """
    seconds, nanoseconds = divmod(stamp_ns, 10**9)
    order = "<" if raw[1] & 1 else ">"
    return raw[:4] + struct.pack(f"{order}iI", seconds, nanoseconds) + raw[12:]


def play(node: ReplayNode, stopping: threading.Event) -> int:
    """Plays the bag once.

    Args:
        node: Node with an open bag.
        stopping: Ends the replay early.

    Returns:
        Number of messages sent.
    """
    sent = 0
    began, first_ns, ticked_ns = time.monotonic(), 0, 0
    for message in node.recorded():
        if not sent:
            first_ns = ticked_ns = message.time_ns
            node.tick(first_ns)
        while not stopping.is_set():
            now_ns = first_ns + round((time.monotonic() - began) * 1e9 * node.rate)
            due = min(message.time_ns, ticked_ns + _CLOCK_PERIOD_NS)
            if now_ns >= due:
                ticked_ns = due
                node.tick(due)
                if due == message.time_ns:
                    break
            else:
                stopping.wait((due - now_ns) * 1e-9 / node.rate)
        if stopping.is_set():
            break
        node.send(message)
        sent += 1
    return sent


def _run(node: ReplayNode, stopping: threading.Event, failures: list[Exception]) -> None:
    """Body of the player's thread; whatever happens, it ends the process."""
    try:
        deadline = time.monotonic() + float(node.get_parameter("wait_for_subscribers").value)
        while not node.has_listener and time.monotonic() < deadline and not stopping.is_set():
            stopping.wait(0.05)
        # Each side discovers the other by itself: the first message must not fall in between.
        stopping.wait(_SETTLE)
        while not stopping.is_set():
            sent = play(node, stopping)
            node.get_logger().info(f"{sent} messages played")
            if not node.loop:
                break
        node.close()
    except Exception as error:
        failures.append(error)
    finally:
        stopping.set()


def main(arguments: list[str] | None = None) -> int:
    """Plays until the end of the bag or a signal.

    Returns:
        0, or 1 if the bag broke off, or 2 if the bag or a parameter is unusable.
    """
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        node = ReplayNode()
    except (ParameterException, RobotError, OSError, ValueError) as error:
        print(f"replay_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[Exception] = []
    player = threading.Thread(target=_run, args=(node, stopping, failures), name="player")
    player.start()
    while not stopping.is_set():
        executor.spin_once(timeout_sec=0.2)
    player.join()
    for failure in failures:
        node.get_logger().error(f"the replay broke off: {failure!r}")
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
