"""Publishes what was seen in an image: label map, objects, uncertain pixels, overlay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from actiseg_msgs.msg import ActiveObjectArray
from rclpy.node import Node
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CompressedImage, Image

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.features import uncertain_map
from actiseg_ros.gate.state import Decision
from actiseg_ros.overlay import draw_overlay, warm_up
from actiseg_ros.pipeline import Result
from actiseg_ros.ros.messages import header_of, jpeg, mono8, objects_message, uncertainty_image
from actiseg_ros.ros.worker import LatestWorker
from actiseg_ros.vision.images import Rgb


@dataclass(frozen=True)
class _Drawing:
    """What pictures for people are made of."""

    result: Result
    rgb: Rgb
    bundle: Bundle
    decision: Decision


class ResultPublisher:
    """Owner of ``~/mask``, ``~/objects``, ``~/uncertainty`` and ``~/overlay/compressed``.

    Args:
        node: Node that publishes.
        on_error: Hears what goes wrong while pictures for people are made.
    """

    def __init__(self, node: Node, on_error: Callable[[Exception], None]) -> None:
        self._on_error = on_error
        self._drawer: LatestWorker[_Drawing] | None = None

        def publisher(kind: type[Any], name: str) -> Any:
            overrides = QoSOverridingOptions.with_default_policies()
            return node.create_publisher(kind, name, 10, qos_overriding_options=overrides)

        self._mask = publisher(Image, "~/mask")
        self._objects = publisher(ActiveObjectArray, "~/objects")
        self._uncertainty = publisher(Image, "~/uncertainty")
        self._overlay = publisher(CompressedImage, "~/overlay/compressed")

    def publish(self, result: Result, rgb: Rgb, bundle: Bundle) -> None:
        """Publishes mask and objects of one image; empty ones if nothing was looked for.

        What nobody listens to is not made.

        Args:
            result: What was found.
            rgb: The image, uint8 [H, W, 3].
            bundle: Model that found it.
        """
        header, found = header_of(result.frame), result.segmentation
        if self._objects.get_subscription_count():
            self._objects.publish(objects_message(header, found, bundle))
        # Last, because who takes it is busy with it for a while, on the same cores.
        if self._mask.get_subscription_count():
            self._mask.publish(
                mono8(header, found.labels if found else np.zeros(rgb.shape[:2], np.uint8))
            )

    def start(self) -> None:
        """Begins to make pictures for people, in a thread of its own that nothing waits for."""
        warm_up()
        self._drawer = LatestWorker(self._draw, self._on_error, "pictures")

    def stop(self) -> None:
        """Ends it."""
        drawer, self._drawer = self._drawer, None
        if drawer is not None:
            drawer.stop(timeout=2.0)

    def publish_pictures(
        self, result: Result, rgb: Rgb, bundle: Bundle, decision: Decision
    ) -> None:
        """Publishes uncertain pixels and overlay, if somebody listens; newer ones replace them."""
        listeners = self._uncertainty.get_subscription_count()
        listeners += self._overlay.get_subscription_count()
        if self._drawer is not None and listeners:
            self._drawer.submit(_Drawing(result, rgb, bundle, decision))

    def _draw(self, drawing: _Drawing) -> None:
        header, found = header_of(drawing.result.frame), drawing.result.segmentation
        uncertain = uncertain_map(found, drawing.bundle) if found else None
        if self._uncertainty.get_subscription_count():
            size = drawing.rgb.shape[:2]
            self._uncertainty.publish(mono8(header, uncertainty_image(uncertain, size)))
        if self._overlay.get_subscription_count():
            picture = draw_overlay(drawing.rgb, found, drawing.decision, uncertain)
            self._overlay.publish(jpeg(header, picture))
