"""Real processes and a probe that talks to them over DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from actiseg_msgs.msg import ActionNarration, ActiveObjectArray, GraspDecision
from actiseg_msgs.srv import SetObjects
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from actiseg_ros.vision.images import to_bytes
from tests.actiseg_ros.dummy_bundle import paint

REPOSITORY = Path(__file__).resolve().parents[2]
EXECUTABLES = REPOSITORY / "ros2_ws" / "install" / "actiseg_ros" / "lib" / "actiseg_ros"
DISCOVERY = 10.0
"""Seconds: discovery sometimes takes three, on a busy machine more."""
PATIENCE = 60.0
"""Seconds to wait for something that has to come; only a failing test waits so long."""

OUTPUTS: dict[str, type[Any]] = {
    "mask": Image,
    "objects": ActiveObjectArray,
    "uncertainty": Image,
    "overlay/compressed": CompressedImage,
    "grasp": GraspDecision,
    "go": Bool,
}


class Process:
    """A node's process with its log."""

    def __init__(
        self,
        executable: str,
        namespace: str,
        log: Path,
        files: tuple[Path, ...] = (),
        **parameters: Any,
    ) -> None:
        flags = [part for file in files for part in ("--params-file", str(file))]
        values = [f"{name}:={_yaml(value)}" for name, value in parameters.items()]
        flags += [part for value in values for part in ("-p", value)]
        self.log_file = log
        with log.open("wb") as stream:
            self.popen = subprocess.Popen(
                [str(EXECUTABLES / executable), "--ros-args", "-r", f"__ns:={namespace}", *flags],
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, "RCUTILS_LOGGING_BUFFERED_STREAM": "0"},
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def stop(self, number: int = signal.SIGINT) -> int:
        """Ends the process by a signal and returns its exit status."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        try:
            return self.popen.wait(15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def running(
    executable: str, namespace: str, log: Path, files: tuple[Path, ...] = (), **parameters: Any
) -> Iterator[Process]:
    process = Process(executable, namespace, log, files, **parameters)
    try:
        yield process
    finally:
        if process.popen.poll() is None:
            process.stop()


def eventually(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """Waits until a condition gives something true, and returns it."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        result = condition()
        if result:
            return result
        time.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {patience} s")


class Probe:
    """Publishes to a `segment` node's inputs and records its outputs, in a thread of its own."""

    def __init__(
        self,
        namespace: str,
        *,
        compressed: bool = False,
        reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE,
        image_type: type[Any] | None = None,
        outputs: tuple[str, ...] = tuple(OUTPUTS),
    ) -> None:
        self.node = rclpy.create_node("probe", namespace=namespace)
        self.received: dict[str, list[tuple[float, Any]]] = defaultdict(list)
        self._changed = threading.Condition()
        for name in outputs:
            self._record(name, OUTPUTS[name], f"segment/{name}")
        self._record("diagnostics", DiagnosticArray, "/diagnostics")
        kind = image_type or (CompressedImage if compressed else Image)
        topic = "image/compressed" if compressed else "image"
        qos = QoSProfile(depth=1, reliability=reliability)
        self.images = self.node.create_publisher(kind, topic, qos)
        self.narrations = self.node.create_publisher(String, "narration", 10)
        self.actions = self.node.create_publisher(ActionNarration, "action", 10)
        self._clients: dict[str, Any] = {}
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stopping = False
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self) -> None:
        while not self._stopping:
            self._executor.spin_once(timeout_sec=0.1)

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def _record(self, name: str, kind: type[Any], topic: str) -> None:
        def callback(message: Any) -> None:
            with self._changed:
                self.received[name].append((time.monotonic(), message))
                self._changed.notify_all()

        self.node.create_subscription(kind, topic, callback, 50)

    def destroy(self, handle: Publisher | Subscription) -> None:
        """Destroys a publisher or subscription in the probe's thread.

        rclpy's executor dies of one that another thread takes away while it gathers what to wait
        for (ros2/rclpy issue 1284), and then the probe hears nothing more.
        """
        ends = {
            Publisher: self.node.destroy_publisher,
            Subscription: self.node.destroy_subscription,
        }
        done = self._executor.create_task(ends[type(handle)], handle)
        eventually(done.done, "the end of a publisher or subscription")

    # Inputs

    def matched(self) -> None:
        """Waits until the node listens to all inputs and is heard."""
        for publisher in (self.images, self.narrations, self.actions):
            eventually(publisher.get_subscription_count, publisher.topic_name, DISCOVERY + PATIENCE)
        self.next("grasp")

    def stamp(self, message: Any, shift: float = 0.0) -> Any:
        """Stamps a message with now, shifted by seconds, in the test camera's frame."""
        nanoseconds = self.node.get_clock().now().nanoseconds + round(shift * 1e9)
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
        message.header.frame_id = "test_camera"
        return message

    def narrate(self, text: str) -> None:
        self.narrations.publish(String(data=text))

    # Outputs

    def count(self, name: str) -> int:
        with self._changed:
            return len(self.received[name])

    def since(self, name: str, start: int) -> list[Any]:
        with self._changed:
            return [message for _, message in self.received[name][start:]]

    def next(
        self,
        name: str,
        wanted: Callable[[Any], bool] = lambda message: True,
        *,
        feed: Callable[[], None] | None = None,
        period: float = 0.05,
        patience: float = PATIENCE,
    ) -> Any:
        """First message from now on that is wanted; `feed` is called every `period` meanwhile."""
        start = self.count(name)
        deadline = time.monotonic() + patience
        due = time.monotonic()
        while time.monotonic() < deadline:
            assert self._thread.is_alive(), "the probe's thread has died"
            if feed is not None and time.monotonic() >= due:
                feed()
                due = time.monotonic() + period
            with self._changed:
                for _, message in self.received[name][start:]:
                    if wanted(message):
                        return message
                start = len(self.received[name])
                self._changed.wait(0.02)
        last = [message for _, message in self.received[name][-3:]]
        raise AssertionError(f"no wanted message on {name} within {patience} s; last: {last}")

    def decision(self, *reasons: str, feed: Callable[[], None] | None = None) -> Any:
        """Next decision with exactly these reasons; none is go."""
        return self.next("grasp", lambda m: tuple(m.reasons) == reasons, feed=feed)

    def trouble(self, part: str, text: str, feed: Callable[[], None] | None = None) -> str:
        """Next diagnostic of a part that is not OK and has this text; returns its message."""
        suffix = f"{self.node.get_namespace()}/segment: {part}"

        def wanted(message: Any) -> bool:
            return any(
                status.name.endswith(suffix) and status.level != b"\0" and text in status.message
                for status in message.status
            )

        message = self.next("diagnostics", wanted, feed=feed)
        return next(status.message for status in message.status if status.name.endswith(suffix))

    def values(self, part: str) -> dict[str, str]:
        """Key values of a part in the next diagnostics."""
        suffix = f"{self.node.get_namespace()}/segment: {part}"
        message = self.next(
            "diagnostics", lambda m: any(status.name.endswith(suffix) for status in m.status)
        )
        found = next(status for status in message.status if status.name.endswith(suffix))
        return {pair.key: pair.value for pair in found.values}

    # Services

    def call(self, kind: type[Any], name: str, request: Any) -> Any:
        client = self._clients.get(name)
        if client is None:
            client = self._clients[name] = self.node.create_client(kind, f"segment/{name}")
        assert client.wait_for_service(DISCOVERY + PATIENCE), name
        future = client.call_async(request)
        eventually(future.done, f"answer of {name}")
        return future.result()

    def transition(self, identity: int) -> bool:
        request = ChangeState.Request()
        request.transition.id = identity
        return bool(self.call(ChangeState, "change_state", request).success)

    def state(self) -> str:
        return str(self.call(GetState, "get_state", GetState.Request()).current_state.label)

    def set_parameter(self, name: str, value: Any) -> Any:
        request = SetParameters.Request()
        request.parameters = [Parameter(name, value=value).to_parameter_msg()]
        return self.call(SetParameters, "set_parameters", request).results[0]

    def set_objects(self, names: list[str]) -> Any:
        return self.call(SetObjects, "set_objects", SetObjects.Request(names=names))

    def reset(self) -> Any:
        return self.call(Trigger, "reset", Trigger.Request())


_RNG = np.random.default_rng(0)


def scene(height: int = 128, width: int = 192) -> np.ndarray:
    """A tomato on a grey table, uint8 RGB; some noise makes each picture a new one."""
    rgb = paint({"tomato": (width // 4, height // 4, width // 4, height // 4)}, height, width)
    rgb[-4:] += _RNG.integers(0, 8, rgb[-4:].shape, dtype=np.uint8)
    return rgb


def raw(rgb: np.ndarray, encoding: str = "rgb8") -> Image:
    message = Image(height=rgb.shape[0], width=rgb.shape[1], encoding=encoding)
    message.step = rgb.strides[0]
    message.data = to_bytes(rgb.view(np.uint8))
    return message
