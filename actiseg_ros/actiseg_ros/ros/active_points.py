"""``~/active_points``: the target's points, for a planner that wants to know where it is.

A thread of its own waits for the depth picture of a judged image, so that neither the network nor
the decision waits for it. Nothing here changes the decision.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from actiseg_ros.clock import steady_seconds
from actiseg_ros.pipeline import Result
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.diagnostics.values import Values
from actiseg_ros.ros.inputs import Input, Inputs, Origin
from actiseg_ros.ros.messages import camera_of, header_of, point_cloud, to_nanoseconds
from actiseg_ros.ros.node_parameters import NodeParameters
from actiseg_ros.ros.worker import LatestWorker
from actiseg_ros.vision.depth import (
    Camera,
    DepthError,
    DepthReason,
    Points,
    decode_depth,
    target_points,
)

DEPTH, CAMERA_INFO = "depth", "camera_info"
_MOST = 32
"""Depth pictures that are kept at most."""


class DepthBuffer:
    """The last depth pictures by their stamps."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pictures: deque[tuple[int, Image]] = deque(maxlen=_MOST)
        self._last = -np.inf

    def add(self, picture: Image, keep: float) -> None:
        """Takes a picture that came in now; those of more than `keep` seconds before go."""
        stamp = to_nanoseconds(picture.header.stamp)
        with self._changed:
            if self._pictures and stamp < self._pictures[-1][0]:
                self._pictures.clear()  # time began anew
            while self._pictures and stamp - self._pictures[0][0] > keep * 1e9:
                self._pictures.popleft()
            self._pictures.append((stamp, picture))
            self._last = time.monotonic()
            self._changed.notify_all()

    def of(self, stamp: int, tolerance: float, patience: float) -> Image:
        """The picture that was taken with an image.

        Args:
            stamp: The image's, nanoseconds.
            tolerance: Largest difference of the stamps, seconds.
            patience: Seconds to wait for it.

        Raises:
            DepthError: There is none.
        """
        deadline = time.monotonic() + patience
        allowed = tolerance * 1e9
        with self._changed:
            while True:
                # Of equals the newest: what came before under the same stamp is older.
                near = min(
                    reversed(self._pictures), key=lambda each: abs(each[0] - stamp), default=None
                )
                away = abs(near[0] - stamp) if near else np.inf
                left = deadline - time.monotonic()
                # Pictures come in the order of their stamps: is a nearer one still to come?
                last = near is not None and (
                    self._pictures[-1][0] >= stamp or 2 * away <= self._interval()
                )
                if near is not None and away <= allowed and (last or left <= 0):
                    return near[1]
                if left <= 0 or (last and away > allowed):
                    break
                self._changed.wait(left)
            silence = time.monotonic() - self._last
        if near is None or silence > max(patience, 1.0):
            since = f" for {silence:.1f} s" if np.isfinite(silence) else ""
            raise DepthError(DepthReason.NO_DEPTH, f"no depth picture came in{since}")
        behind = (near[0] - stamp) * 1e-9
        side = "after" if behind > 0 else "before"
        raise DepthError(
            DepthReason.LATE_DEPTH,
            f"the nearest depth picture is stamped {abs(behind):.3g} s {side} the image, but "
            f"`depth_tolerance` is {tolerance:g} s; synchronise both streams in the driver, or "
            "raise `depth_tolerance`",
        )

    def _interval(self) -> float:
        """Nanoseconds from one picture to the next, 0 while that cannot be told; lock held."""
        stamps = [stamp for stamp, _ in self._pictures]
        return min((late - early for early, late in itertools.pairwise(stamps)), default=0)


@dataclass(frozen=True)
class _Job:
    result: Result
    is_current: Callable[[], bool]


class ActivePoints:
    """Owner of ``~/active_points``, while it is asked for.

    Args:
        node: Node that publishes.
        inputs: Its subscriptions.
        reporter: Hears why there are no points.
        settings: The node's parameters.
    """

    def __init__(
        self, node: Node, inputs: Inputs, reporter: Reporter, settings: NodeParameters
    ) -> None:
        self._node, self._inputs, self._reporter = node, inputs, reporter
        self._settings = settings
        self._publisher: Any = None
        self._worker: LatestWorker[_Job] | None = None
        self._buffer = DepthBuffer()
        self._info: CameraInfo | None = None
        self._said: Values = {}

    @property
    def on(self) -> bool:
        """Whether points are published."""
        return self._worker is not None

    def start(self) -> list[tuple[Input, Callable[[Any, Origin], None]]]:
        """Begins, if the parameter `active_points` asks for it.

        Returns:
            The topics to subscribe to, and who takes their messages.
        """
        if not self._settings["active_points"] or self.on:
            return []
        self._buffer, self._info, self._said = DepthBuffer(), None, {}
        self._publisher = self._node.create_publisher(
            PointCloud2,
            "~/active_points",
            10,
            qos_overriding_options=QoSOverridingOptions.with_default_policies(),
        )
        self._worker = LatestWorker(self._locate, self._on_error, "points")
        reliability = ReliabilityPolicy[self._settings["image_reliability"].upper()]
        remedy = "make its publisher reliable, or set `image_reliability` to best_effort"
        pictures = QoSProfile(depth=5, reliability=reliability)
        infos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
        return [
            (Input(DEPTH, Image, pictures, "depth", remedy), self._on_depth),
            (Input(CAMERA_INFO, CameraInfo, infos, "depth", remedy), self._on_info),
        ]

    def stop(self) -> None:
        """Ends; nothing happens if it is not on."""
        worker, self._worker = self._worker, None
        if worker is None:
            return
        worker.stop(timeout=2.0)
        publisher, self._publisher = self._publisher, None
        self._node.destroy_publisher(publisher)
        self._reporter.clear("depth", "reason")

    def submit(self, result: Result, is_current: Callable[[], bool]) -> None:
        """Takes what was found in an image; `is_current` says whether it still counts."""
        worker = self._worker
        if worker is not None:
            worker.submit(_Job(result, is_current))

    def _on_depth(self, message: Image, origin: Origin) -> None:
        self._buffer.add(message, 2 * self._settings["image_timeout"])

    def _on_info(self, message: CameraInfo, origin: Origin) -> None:
        self._info = message

    # In a thread of its own

    def _locate(self, job: _Job) -> None:
        frame = job.result.frame
        said: Values = {"reason": "", "points": 0, "target": ""}
        points = np.zeros((0, 3), np.float32)
        try:
            points = self._points(job.result, said)
            said["points"] = len(points)
            self._reporter.clear("depth", "reason")
        except DepthError as error:
            said["reason"] = error.reason
            if error.reason is DepthReason.NO_TARGET:
                self._reporter.clear("depth", "reason")
            else:
                self._reporter.warn("depth", f"{error.reason}: {error}", "reason")
        self._said = said
        publisher = self._publisher
        # An empty cloud says that this image has no points; one of the past would be believed.
        if publisher is not None and job.is_current():
            publisher.publish(point_cloud(header_of(frame), points))

    def _points(self, result: Result, said: Values) -> Points:
        label, found = result.target_label, result.segmentation
        mask = found.labels == label if found is not None and label else None
        if mask is None or result.prompt is None or not mask.any():
            raise DepthError(DepthReason.NO_TARGET, "no target is drawn in the image")
        said["target"] = result.prompt.target
        frame = result.frame
        if not frame.stamp_ns:
            raise DepthError(
                DepthReason.LATE_DEPTH,
                "the image has no stamp, so nobody can tell which depth picture was taken with it; "
                "let the driver stamp both",
            )
        timeout = self._settings["image_timeout"]
        patience = max(0.0, timeout - (steady_seconds() - frame.arrived.steady))
        picture = self._buffer.of(frame.stamp_ns, self._settings["depth_tolerance"], patience)
        away = (to_nanoseconds(picture.header.stamp) - frame.stamp_ns) * 1e-6
        said["behind the image (ms)"] = away
        if self._info is None:
            raise DepthError(DepthReason.NO_CAMERA_INFO, "no camera info came in")
        seen_by = camera_of(self._info)
        self._check_frames(frame.source.frame_id, str(picture.header.frame_id), seen_by)
        depth = decode_depth(
            picture.encoding,
            picture.height,
            picture.width,
            picture.step,
            picture.is_bigendian,
            picture.data,
        )
        points = target_points(depth, mask, seen_by, rectified=self._settings["depth_rectified"])
        said["measured"] = len(points) / int(np.count_nonzero(mask))
        return points

    def _check_frames(self, image: str, depth: str, seen_by: Camera) -> None:
        if not image:
            raise DepthError(
                DepthReason.DEPTH_DISAGREES,
                "the image has no `frame_id`, so nobody could tell where its points are; let the "
                "driver give it the camera's optical frame",
            )
        for name, other in (("the depth picture", depth), ("camera info", seen_by.frame_id)):
            if other != image:
                raise DepthError(
                    DepthReason.DEPTH_DISAGREES,
                    f"{name} is in frame {other!r} and the image in {image!r}, so it is not "
                    "registered to it; let the driver align depth to colour",
                )

    def _on_error(self, error: Exception) -> None:
        self._reporter.error("depth", f"{type(error).__name__}: {error}", "failure")

    # Diagnostics

    def values(self) -> Values:
        """Key values of this moment; reports inputs that are silent."""
        for name in (DEPTH, CAMERA_INFO):
            self._inputs.check_silence((name,), self._settings["silence_warning"])
        return {
            "depth topic": self._inputs.topic(DEPTH),
            "camera info topic": self._inputs.topic(CAMERA_INFO),
            "received": self._inputs.arrivals(DEPTH).count,
            "images passed over": self._worker.dropped if self._worker else 0,
            **self._said,
        }
