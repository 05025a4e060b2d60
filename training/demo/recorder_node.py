"""Records the node's outputs into a bag, as the bytes that came over DDS."""

from __future__ import annotations

import threading
from importlib import import_module
from pathlib import Path
from typing import Any

from actiseg_msgs.msg import GraspDecision
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from actiseg_ros.bags.type_store import typestore

TOPICS = {
    "/segment/mask": "sensor_msgs/msg/Image",
    "/segment/objects": "actiseg_msgs/msg/ActiveObjectArray",
    "/segment/uncertainty": "sensor_msgs/msg/Image",
    "/segment/overlay/compressed": "sensor_msgs/msg/CompressedImage",
    "/segment/grasp": "actiseg_msgs/msg/GraspDecision",
    "/segment/go": "std_msgs/msg/Bool",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}


class Recorder:
    """A node with a thread that writes what it hears, timed by /clock.

    Args:
        bag: Folder of the new bag; use as a context manager to complete it.
    """

    def __init__(self, bag: Path) -> None:
        self.node = Node("recorder", parameter_overrides=[Parameter("use_sim_time", value=True)])
        self.last: GraspDecision | None = None
        self._writer = Writer(bag, version=9, storage_plugin=StoragePlugin.MCAP)
        # Label maps are mostly one value: compressed they take a fiftieth of the space.
        self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._spin, name="recorder")

    def __enter__(self) -> Recorder:
        self._writer.open()
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        for topic, type_name in TOPICS.items():
            package, _, name = type_name.partition("/msg/")
            kind = getattr(import_module(f"{package}.msg"), name)
            connection = self._writer.add_connection(topic, type_name, typestore=typestore())
            self.node.create_subscription(
                kind, topic, self._writing(topic, connection), qos, raw=True
            )
        self._thread.start()
        return self

    def _writing(self, topic: str, connection: Any) -> Any:
        def write(raw: bytes) -> None:
            if topic == "/segment/grasp":
                self.last = deserialize_message(raw, GraspDecision)
            now = self.node.get_clock().now().nanoseconds
            if now:  # before the first /clock message nothing belongs to the recording
                self._writer.write(connection, now, raw)

        return write

    def _spin(self) -> None:
        while not self._stopping.is_set():
            self._executor.spin_once(timeout_sec=0.1)

    def __exit__(self, *error: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()
        self._writer.close()
