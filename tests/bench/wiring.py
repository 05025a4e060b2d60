"""What a decision costs beside the network: messages, decoding, evidence, outputs for listeners.

The real node with a camera and two listeners in processes of their own, over DDS. Inference is the
time inside ONNX Runtime (image encoder and prompt decoder); all else that a decision waits for from
the arrival of its image on is counted, whichever thread it is spent in. The pictures for people,
uncertain pixels and overlay, which nothing waits for, are told beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np

os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")

import domain_coordinator
import rclpy
from actiseg_msgs.msg import ActionNarration, ActiveObjectArray, GraspDecision
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CompressedImage, Image

from actiseg_ros.ros import segment_node
from actiseg_ros.vision.images import to_bytes

NAMES = ("knife", "pepper", "plate", "bowl", "spoon", "sponge", "left hand", "right hand")
INFERENCE = ("image_encoder", "prompt_decoder")
OUTPUTS = {
    "mask": Image,
    "objects": ActiveObjectArray,
    "uncertainty": Image,
    "overlay/compressed": CompressedImage,
    "grasp": GraspDecision,
}


@contextmanager
def alone_on_dds() -> Iterator[None]:
    """Reserves a free domain, so that no other node is heard."""
    with domain_coordinator.domain_id() as number:
        os.environ["ROS_DOMAIN_ID"] = str(number)
        yield


def picture(index: int, height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    # Surfaces with a little noise, as a camera gives them; noise alone costs a JPEG too much.
    small = rng.integers(0, 256, (9, 16, 3), dtype=np.uint8)
    pixels = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    return cv2.add(pixels, rng.integers(0, 6, pixels.shape, dtype=np.uint8))


def message_of(pixels: np.ndarray) -> Image:
    height, width = pixels.shape[:2]
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.data = to_bytes(pixels)
    message.header.frame_id = "camera"
    return message


def camera(pictures: Sequence[np.ndarray], rate: float) -> None:
    """Shows uint8 [H, W, 3] pictures in turn at a rate, as a process; asks for all objects."""
    rclpy.init()
    node = rclpy.create_node("camera")
    images = node.create_publisher(
        Image, "image", QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    )
    actions = node.create_publisher(ActionNarration, "action", 1)
    shown = [message_of(pixels) for pixels in pictures]
    began = time.monotonic()
    for number in range(10**9):
        message = shown[number % len(shown)]
        message.header.stamp = node.get_clock().now().to_msg()
        images.publish(message)
        if number % round(rate) == 0:
            action = ActionNarration(narration="cut pepper", object_names=list(NAMES))
            actions.publish(action)
        time.sleep(max(0.0, began + (number + 1) / rate - time.monotonic()))


def listener(names: tuple[str, ...]) -> None:
    rclpy.init()
    node = rclpy.create_node("listener_" + str(len(names)))
    for name in names:
        node.create_subscription(OUTPUTS[name], f"segment/{name}", lambda message: None, 10)
    rclpy.spin(node)


class Stopwatch:
    """Milliseconds of named parts, by the thread's own call."""

    def __init__(self) -> None:
        self.parts: dict[str, list[float]] = defaultdict(list)

    def around(self, owner: Any, method: str, part: str) -> None:
        function: Callable[..., Any] = getattr(owner, method)

        def timed(*args: Any, **named: Any) -> Any:
            began = time.perf_counter()
            try:
                return function(*args, **named)
            finally:
                self.parts[part].append(1e3 * (time.perf_counter() - began))

        setattr(owner, method, timed)


def main() -> None:
    with alone_on_dds():
        run()


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default="", help="model bundle; the embedded one by default")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--rate", type=float, default=8.0, help="images per second")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    shown = [picture(index, options.height, options.width) for index in range(4)]
    others = [
        spawn.Process(target=camera, args=(shown, options.rate)),
        spawn.Process(target=listener, args=(("mask", "objects", "grasp"),)),
        spawn.Process(target=listener, args=(tuple(OUTPUTS),)),
    ]
    for process in others:
        process.start()
    try:
        found = measure(options)
        for part, value in found["parts_p50_ms"].items():
            print(f"{part:32s} {value:7.2f} ms")
        print(
            f"inference {found['inference_p50_ms']} ms; all else "
            f"p50 {found['wiring_ms']['p50']} ms, "
            f"p95 {found['wiring_ms']['p95']} ms"
        )
        print(json.dumps({"wiring": found}))
    finally:
        for process in others:
            process.kill()


def measure(options: argparse.Namespace) -> dict[str, Any]:
    watch = Stopwatch()
    watch.around(segment_node, "decode_image", "decode")
    rclpy.init()
    values = {"bundle": options.bundle, "threads": options.threads, "image_timeout": 5.0}
    overrides = [Parameter(name, value=value) for name, value in values.items()]
    node = segment_node.SegmentNode(parameter_overrides=overrides)
    node.trigger_configure()
    rows: list[dict[str, float]] = []
    found: dict[str, Any] = {}
    segment = node._pipeline.segment

    def kept(*args: Any) -> Any:
        found["result"] = segment(*args)
        return found["result"]

    node._pipeline.segment = kept
    watch.around(node._pipeline, "segment", "segment")
    watch.around(node._results, "publish", "outputs")
    watch.around(node._results, "_draw", "pictures")
    watch.around(node._decisions, "publish", "decision")
    judge, on_image = node._judge_image, node._on_image
    arrivals: list[float] = []

    def judged(job: Any) -> None:
        began = time.perf_counter()
        found.clear()
        judge(job)
        total = 1e3 * (time.perf_counter() - began)
        result = found.get("result")
        if result is None or result.segmentation is None:
            return
        timings = result.segmentation.timings
        inference = 1e3 * sum(timings[name] for name in INFERENCE)
        rows.append({"inference": inference, "worker": total - inference})

    def arrived(*args: Any) -> None:
        began = time.perf_counter()
        on_image(*args)
        arrivals.append(1e3 * (time.perf_counter() - began))

    node._judge_image, node._on_image = judged, arrived
    node.trigger_activate()
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    threading.Thread(target=executor.spin, daemon=True).start()
    deadline = time.monotonic() + 30 + options.frames / options.rate * 3
    warm = 10
    while len(rows) < options.frames + warm and time.monotonic() < deadline:
        time.sleep(0.05)
    raw = serialize_message(message_of(picture(0, options.height, options.width)))
    takes = []
    for _ in range(20):
        began = time.perf_counter()
        deserialize_message(raw, Image)
        takes.append(1e3 * (time.perf_counter() - began))
    take = float(np.median(takes))
    rows, arrivals = rows[warm:], arrivals[warm:]
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()
    wiring = np.array([row["worker"] for row in rows]) + np.median(arrivals) + take
    parts = {
        "executor: take the message": take,
        "executor: callback": float(np.median(arrivals)),
        "worker": float(np.median([row["worker"] for row in rows])),
        **{
            f"{'' if name == 'pictures' else 'worker: '}{name}": float(np.median(times))
            for name, times in watch.parts.items()
        },
    }
    parts["worker: segment"] -= float(np.median([row["inference"] for row in rows]))
    p50, p95 = (round(float(value), 1) for value in np.percentile(wiring, (50, 95)))
    return {
        "image": f"{options.width}x{options.height}",
        "candidates": len(NAMES),
        "listeners": 2,
        "frames": len(rows),
        "inference_p50_ms": round(float(np.median([row["inference"] for row in rows])), 1),
        "wiring_ms": {"p50": p50, "p95": p95},
        "parts_p50_ms": {name: round(value, 2) for name, value in parts.items()},
    }


if __name__ == "__main__":
    main()
