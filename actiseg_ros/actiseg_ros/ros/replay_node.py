"""ROS 2 node `replay`: plays a bag to its topics with the recorded timing.

Stands in for ``ros2 bag play`` where that is not installed, and reads what a recorder left that was
stopped hard. Messages go out as the bytes that were recorded; only stamps are rewritten, and where
the speed is another, lengths of time.
"""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from builtin_interfaces.msg import Duration as Length
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock

from actiseg_ros.bags.cameras import DECISION, outputs
from actiseg_ros.bags.playback import Playback, Restamper, play, stamp_of, unplayable
from actiseg_ros.bags.recording import Recorded, Topic, open_recording
from actiseg_ros.errors import RobotError
from actiseg_ros.ros.node_parameters import warn_of_untaken
from actiseg_ros.ros.process import on_ending_signal
from actiseg_ros.ros.start import start_ros

_SETTLE = 0.5
"""Seconds between the discovery of a subscriber and the first message."""
_PAUSE = 0.1
"""Least seconds between two rounds of a loop, so that one message alone is no flood."""
_ACTION = "actiseg_msgs/msg/ActionNarration"
_DEPTH = 10
_LATCHED_DEPTH = 1000
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "bag": ("", "folder or file of the bag"),
    "topics": (
        Parameter.Type.STRING_ARRAY,
        "topics to play; without any all but decisions, what `segment_node` drew, and /clock",
    ),
    "rate": (1.0, "speed of the replay; 1 is as recorded"),
    "loop": (False, "start again at the end"),
    "start_offset": (0.0, "seconds of the bag to skip"),
    "clock": (
        False,
        "publish /clock with the bag's time and leave the stamps as recorded; otherwise header "
        "stamps are moved to the present, so that nodes on the system's clock find them fresh, and "
        "fields of type Duration are divided by `rate`",
    ),
    "wait_for_subscribers": (
        0.0,
        "seconds to wait at the start for a subscriber on an image topic",
    ),
}


_GOES = ("go", "motion_allowed")
"""Last parts of the names on which a node says by a Bool that a robot may move."""
_DECISION = "a decision of then must not be taken for one of now; `topics` can name it all the same"
_DRAWN = (
    "what was drawn then has the stamps of what is drawn now; `topics` can name it all the same"
)
_CLOCK = "its time is not that of this replay; `clock` publishes the bag's"
_BOND = "the nodes of then are not alive now"


class ReplayError(RobotError):
    """A bag cannot be played."""


def outdated(topics: Sequence[Topic]) -> dict[str, str]:
    """Topics of a bag that speak of then, and why they are not played unasked.

    Decisions, and what is drawn for the same images: it would have the live node's stamps and
    another labelling.
    """
    drawn = outputs(topics)
    left_out = {}
    for topic in topics:
        is_go = topic.type == "std_msgs/msg/Bool" and topic.name.rpartition("/")[2] in _GOES
        if topic.type == DECISION or is_go:
            left_out[topic.name] = _DECISION
        elif topic.name in drawn:
            left_out[topic.name] = _DRAWN
        elif topic.type == "rosgraph_msgs/msg/Clock":
            left_out[topic.name] = _CLOCK
        elif topic.type == "bond/msg/Status":
            left_out[topic.name] = _BOND
    return left_out


@cache
def _parts(kind: Any) -> dict[str, Any]:
    """Class of each field of a message class that is a message, or holds several."""
    found = {}
    for name, text in kind.get_fields_and_field_types().items():
        if named := re.search(r"(\w+)/(\w+)", text):
            found[name] = getattr(import_module(f"{named[1]}.msg"), named[2])
    return found


def tells_lengths(kind: Any) -> bool:
    """Whether a message class has a `builtin_interfaces/Duration` anywhere in it."""
    return kind is Length or any(map(tells_lengths, _parts(kind).values()))


def divide_lengths(message: Any, rate: float) -> None:
    """Turns each `builtin_interfaces/Duration` in a message from the bag's time to the replay's.

    Args:
        message: Changed in place; what does not fit into a `Duration` becomes its largest value.
        rate: Speed of the replay.
    """
    if isinstance(message, Length):
        length_ns = round((message.sec * 10**9 + message.nanosec) / rate)
        length_ns = max(-(2**31) * 10**9, min(length_ns, 2**31 * 10**9 - 1))
        message.sec, message.nanosec = divmod(length_ns, 10**9)
    for name in _parts(message.__class__):
        held = getattr(message, name)
        for part in held if isinstance(held, (list, tuple)) else (held,):
            divide_lengths(part, rate)


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
        if not self._value("bag"):
            raise ReplayError("`bag` is empty, there is no such bag folder; give its path")
        self._recording = open_recording(Path(self._value("bag")).expanduser())
        for note in (*self._recording.notes, *self._recording.losses):
            self.get_logger().warning(note)
        wanted = [name for name in map(str.strip, self._value("topics") or ()) if name]
        self._playback = Playback(self._recording, wanted, float(self._value("start_offset")))
        self._outputs: dict[str, Any] = {}
        self._stamped: set[str] = set()
        self._lengths: dict[str, Any] = {}
        self.pause = _PAUSE
        """Seconds to wait before the next round, so that none of its actions began in the last."""
        left_out = {} if wanted else outdated(self._playback.topics)
        if self.clock:
            clocks = (t.name for t in self._playback.topics if t.name == "/clock")
            left_out |= dict.fromkeys(clocks, _CLOCK)
        for topic in self._playback.topics:
            if topic.name not in left_out and (reason := self._add(topic)):
                left_out[topic.name] = reason
        for name, reason in left_out.items():
            self.get_logger().warning(f"{name} is not played: {reason}")
        self._playback.leave_out(left_out)
        self._playback.check()
        self._ticks = self.create_publisher(Clock, "/clock", 10) if self.clock else None

    def _value(self, name: str) -> Any:
        return self.get_parameter_or(name, Parameter(name)).value

    def _add(self, topic: Topic) -> str:
        """Makes a topic's publisher; returns why that cannot be, or an empty text."""
        package, _, name = topic.type.partition("/msg/")
        try:
            kind = getattr(import_module(f"{package}.msg"), name)
        except (ImportError, AttributeError, ValueError):
            return f"its type {topic.type or 'is not recorded'} is not installed; install {package}"
        if reason := unplayable(topic):
            return reason
        fields = kind.get_fields_and_field_types()
        if next(iter(fields.items()), None) == ("header", "std_msgs/Header"):
            self._stamped.add(topic.name)
        if self.rate != 1 and tells_lengths(kind):
            self._lengths[topic.name] = kind
        qos = QoSProfile(depth=_DEPTH, reliability=ReliabilityPolicy.RELIABLE)
        if topic.latched:
            qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
            qos.depth = max(_DEPTH, min(topic.count, _LATCHED_DEPTH))
        # Relative: a namespace and remappings of this node move the recorded topics.
        self._outputs[topic.name] = self.create_publisher(kind, topic.name.lstrip("/"), qos)
        return ""

    @property
    def has_listener(self) -> bool:
        """Whether somebody listens to an image topic (to any, if the bag has no images)."""
        kinds = {topic.name: topic.type for topic in self._playback.topics}
        images = [name for name in self._outputs if kinds[name].endswith("Image")]
        topics = images or list(self._outputs)
        return any(self._outputs[topic].get_subscription_count() for topic in topics)

    def play_once(self, stopping: threading.Event) -> int:
        """Plays the bag from the start offset to its end; returns how many messages were sent."""
        restamper: Restamper | None = None
        began_ns = 0

        def send(message: Recorded) -> None:
            nonlocal restamper, began_ns
            name = message.topic.name
            if not self.clock and name in self._lengths:
                message = replace(message, raw=self._divided(message))
            if not self.clock and name in self._stamped:
                if restamper is None:
                    began_ns = self.get_clock().now().nanoseconds
                    restamper = Restamper(message.time_ns, began_ns, self.rate)
                message = replace(message, raw=restamper.restamped(message))
                if message.topic.type == _ACTION:
                    ahead = (began_ns - stamp_of(message.raw)) * 1e-9
                    self.pause = max(self.pause, ahead)
            self._outputs[name].publish(message.raw)

        return play(self._playback.messages(), send, self._tick, self.rate, stopping)

    def _divided(self, recorded: Recorded) -> bytes:
        topic = recorded.topic
        try:
            message = deserialize_message(recorded.raw, self._lengths[topic.name])
        except (RuntimeError, ValueError) as error:  # the middleware's, or text that is none
            raise ReplayError(
                f"a message of {topic.name} cannot be read as {topic.type} ({error}); leave the "
                "topic out by `topics`"
            ) from error
        divide_lengths(message, self.rate)
        return bytes(serialize_message(message))

    def _tick(self, time_ns: int) -> None:
        """Publishes the bag's time on /clock."""
        if self._ticks is not None:
            message = Clock()
            message.clock.sec, message.clock.nanosec = divmod(int(time_ns), 10**9)
            self._ticks.publish(message)

    def close(self) -> None:
        """Closes the bag, after what was sent has arrived."""
        for publisher in self._outputs.values():
            publisher.wait_for_all_acked(Duration(seconds=1.0))
        self._recording.close()


def _run(node: ReplayNode, stopping: threading.Event, failures: list[Exception]) -> None:
    """Body of the player's thread; whatever happens, it ends the process."""
    try:
        deadline = time.monotonic() + float(node.get_parameter("wait_for_subscribers").value)
        while not node.has_listener and time.monotonic() < deadline and not stopping.is_set():
            stopping.wait(0.05)
        # Each side discovers the other by itself: the first message must not fall in between.
        stopping.wait(_SETTLE)
        while not stopping.is_set():
            sent = node.play_once(stopping)
            node.get_logger().info(f"{sent} messages played")
            if not node.loop:
                break
            stopping.wait(node.pause)
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
    stopping = threading.Event()
    on_ending_signal(stopping.set)
    options = {"signal_handler_options": SignalHandlerOptions.NO}
    if not start_ros("replay_node", arguments, **options):
        return 2
    try:
        node = ReplayNode()
    except (ParameterException, RobotError, OSError, ValueError) as error:
        print(f"replay_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    warn_of_untaken(node, arguments if arguments is not None else sys.argv)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failures: list[Exception] = []
    player = threading.Thread(target=_run, args=(node, stopping, failures), name="player")
    player.start()
    while not stopping.is_set():
        executor.spin_once(timeout_sec=0.2)
    player.join()
    for failure in failures:
        node.get_logger().error(f"the replay broke off: {failure}")
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
