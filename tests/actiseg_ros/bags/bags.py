"""Bags as people have them, written by the libraries' own writers."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

START = 10**18
STEP = 10**8
"""Nanoseconds of the first message, and from one to the next."""


def store(stores: Stores = Stores.ROS2_JAZZY):
    found = get_typestore(stores)
    found.register(get_types_from_msg("float64[9] rotation\n", "vendor_msgs/msg/Extrinsics"))
    return found


def header(types, time_ns: int, frame: str = "camera", **more):
    stamp = types["builtin_interfaces/msg/Time"](sec=time_ns // 10**9, nanosec=time_ns % 10**9)
    return types["std_msgs/msg/Header"](stamp=stamp, frame_id=frame, **more)


def jpeg(index: int, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    grey = np.full((size[1], size[0], 3), (index * 20) % 256, np.uint8)
    return cv2.imencode(".jpg", grey)[1].reshape(-1)


def write(
    path: Path,
    count: int = 10,
    storage: StoragePlugin = StoragePlugin.MCAP,
    others: tuple[str, ...] = (),
    begin: int = 0,
    **options,
) -> Path:
    """Compressed images and narrations, a step apart, and messages of other types beside them."""
    types = store()
    kinds = {
        "/camera/image/compressed": "sensor_msgs/msg/CompressedImage",
        "/narration": "std_msgs/msg/String",
        **{f"/other{i}": kind for i, kind in enumerate(others)},
    }
    with Writer(path, version=9, storage_plugin=storage, **options) as writer:
        connections = {
            topic: writer.add_connection(topic, kind, typestore=types)
            for topic, kind in kinds.items()
        }
        for index in range(begin, begin + count):
            time_ns = START + index * STEP
            image = types.types["sensor_msgs/msg/CompressedImage"](
                header=header(types.types, time_ns), format="jpeg", data=jpeg(index)
            )
            for topic, message in (
                ("/camera/image/compressed", image),
                ("/narration", types.types["std_msgs/msg/String"](f"cut {index}")),
            ):
                connection = connections[topic]
                raw = types.serialize_cdr(message, connection.msgtype)
                writer.write(connection, time_ns, raw)
    return path


def write_ros1(path: Path, count: int = 10) -> Path:
    types = get_typestore(Stores.ROS1_NOETIC)
    with Writer1(path) as writer:
        images = writer.add_connection(
            "/camera/image/compressed", "sensor_msgs/msg/CompressedImage", typestore=types
        )
        said = writer.add_connection("/narration", "std_msgs/msg/String", typestore=types)
        for index in range(count):
            time_ns = START + index * STEP
            image = types.types["sensor_msgs/msg/CompressedImage"](
                header=header(types.types, time_ns, seq=index), format="jpeg", data=jpeg(index)
            )
            writer.write(images, time_ns, types.serialize_ros1(image, images.msgtype))
            text = types.types["std_msgs/msg/String"](f"cut {index}")
            writer.write(said, time_ns, types.serialize_ros1(text, said.msgtype))
    return path
