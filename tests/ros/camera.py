"""A camera as a process of its own, so that it can be stopped, frozen and killed."""

from __future__ import annotations

import sys
import time

import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import Image

from tests.ros.harness import raw, scene


def main() -> None:
    namespace, rate = sys.argv[1], float(sys.argv[2])
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("camera", namespace=namespace)
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    images = node.create_publisher(Image, "image", qos)
    while True:
        message = raw(scene())
        message.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id = "test_camera"
        images.publish(message)
        time.sleep(1 / rate)


if __name__ == "__main__":
    main()
