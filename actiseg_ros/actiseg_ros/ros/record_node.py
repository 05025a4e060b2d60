"""ROS 2 node `record`: writes what `segment_node` says into a bag, as the bytes that came over DDS.

Stands in for ``ros2 bag record`` where that is not installed. Messages are timed by the node's
clock: with `use_sim_time` by /clock.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter

from actiseg_ros.bags.type_store import typestore
from actiseg_ros.ros.node_parameters import warn_of_untaken
from actiseg_ros.ros.process import on_ending_signal
from actiseg_ros.ros.start import start_ros

TOPICS = {
    "segment/mask": "sensor_msgs/msg/Image",
    "segment/objects": "actiseg_msgs/msg/ActiveObjectArray",
    "segment/uncertainty": "sensor_msgs/msg/Image",
    "segment/active_points": "sensor_msgs/msg/PointCloud2",
    "segment/overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "segment/grasp": "actiseg_msgs/msg/GraspDecision",
    "segment/go": "std_msgs/msg/Bool",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


_KEPT_BACK = 2.0
"""Seconds of messages that are lost at most if the process is killed."""


class RecordNode(Node):
    """Subscribes to the outputs and writes each message when it comes.

    Args:
        writer: Open writer of the bag.
    """

    def __init__(self, writer: Writer) -> None:
        super().__init__("record")
        self._writer = writer
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        for topic, type_name in TOPICS.items():
            package, _, name = type_name.partition("/msg/")
            kind = getattr(import_module(f"{package}.msg"), name)
            resolved = self.resolve_topic_name(topic)
            connection = writer.add_connection(resolved, type_name, typestore=typestore())
            self.create_subscription(kind, topic, self._writing(connection), qos, raw=True)

        steady = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still
        self.create_timer(_KEPT_BACK, self._bring_to_disk, clock=steady)

    def _bring_to_disk(self) -> None:
        """Writes what the storage collects: what came before an accident is wanted most."""
        storage = self._writer.storage
        if isinstance(storage, McapWriter) and storage.chunk.msgs:
            storage.close_chunk()
            storage.bio.flush()

    def _writing(self, connection: Any) -> Callable[[bytes], None]:
        def write(raw: bytes) -> None:
            now = self.get_clock().now().nanoseconds
            if now:  # before the first /clock message nothing belongs to the recording
                self._writer.write(connection, now, raw)

        return write


def _bag_folder(arguments: Sequence[str]) -> Path:
    """The parameter `bag` of this process; tells what else was given."""
    node = Node("record")
    folder = str(node.declare_parameter("bag", "").value)
    warn_of_untaken(node, arguments)
    node.destroy_node()
    return Path(folder).expanduser()


def main(arguments: list[str] | None = None) -> int:
    """Records until a signal.

    Returns:
        0, or 1 if the disk is full, or 2 if the parameter `bag` (a new folder) is unusable.
    """
    stopping = threading.Event()
    on_ending_signal(stopping.set)
    options = {"signal_handler_options": SignalHandlerOptions.NO}
    if not start_ros("record_node", arguments, **options):
        return 2
    try:
        folder = _bag_folder(arguments if arguments is not None else sys.argv)
    except ParameterException as error:
        print(f"record_node: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    if not folder.name or folder.exists():
        print(f"record_node: `bag` is '{folder}'; give the folder of a new bag", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    failure: OSError | None = None
    try:
        with _open(folder) as writer:
            node = RecordNode(writer)
            executor = SingleThreadedExecutor()
            executor.add_node(node)
            while not stopping.is_set():
                executor.spin_once(timeout_sec=0.1)
            executor.shutdown()
            node.destroy_node()
    except OSError as error:
        failure = error
    rclpy.try_shutdown()
    if failure is not None:
        print(
            f"record_node: {folder}: the recording ends here ({failure.strerror or failure}); free "
            "space and record anew, what was written can be played",
            file=sys.stderr,
        )
        return 1
    return 0


def _open(folder: Path) -> Writer:
    writer = Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP)
    # Label maps are mostly one value: compressed they take a fiftieth of the space.
    writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
    return writer


if __name__ == "__main__":
    sys.exit(main())
