"""What the robot is told: narrations, actions and object names, from messages to the pipeline."""

from __future__ import annotations

import math
from collections.abc import Callable

from actiseg_msgs.msg import ActionNarration
from actiseg_msgs.srv import SetObjects
from rclpy.node import Node
from std_msgs.msg import String

from actiseg_ros.errors import RobotError
from actiseg_ros.pipeline import Pipeline
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.inputs import Origin
from actiseg_ros.ros.messages import to_nanoseconds


class Instructions:
    """Hands instructions to the pipeline and reports what had to be changed or refused.

    Args:
        node: Node that offers the service ``~/set_objects``; the callbacks are given to its inputs.
        reporter: Hears of changes and refusals.
        pipeline: Gives the current pipeline, None while the node is not configured.
    """

    def __init__(
        self, node: Node, reporter: Reporter, pipeline: Callable[[], Pipeline | None]
    ) -> None:
        self._node, self._reporter, self._pipeline = node, reporter, pipeline
        node.create_service(SetObjects, "~/set_objects", self._on_set_objects)

    def on_narration(self, message: String, origin: Origin) -> None:
        """Takes a message of the topic ``narration``."""
        pipeline = self._pipeline()
        if pipeline is not None and self._is_dated("narration", origin.age):
            self._note(pipeline.narrate(message.data, origin.age, kept=origin.age))
            self._log_end(message.data, pipeline)

    def on_action(self, message: ActionNarration, origin: Origin) -> None:
        """Takes a message of the topic ``action``."""
        pipeline = self._pipeline()
        if pipeline is None:
            return
        names, target = message.object_names, message.target_name
        duration = to_nanoseconds(message.duration) * 1e-9
        stamp_ns = to_nanoseconds(message.header.stamp)
        now_ns = self._node.get_clock().now().nanoseconds
        age = origin.age
        if stamp_ns:
            # A clock that has not told any time yet cannot tell that the action has begun.
            age = (now_ns - stamp_ns) * 1e-9 if now_ns else -math.inf
        if not self._is_dated("action", age):
            return
        try:
            self._note(
                pipeline.act(message.narration, names, target, duration, age, kept=origin.age)
            )
            self._log_end(message.narration, pipeline)
        except RobotError as error:
            self._reporter.error("narration", f"action message refused: {error}", "refused")

    def _on_set_objects(
        self, request: SetObjects.Request, response: SetObjects.Response
    ) -> SetObjects.Response:
        pipeline = self._pipeline()
        response.success = False
        if pipeline is None:
            response.message = "the node is not configured; configure it first"
            return response
        try:
            names, notes = pipeline.set_objects(request.names)
        except Exception as error:  # a caller would wait for ever for the answer
            kind = "" if isinstance(error, RobotError) else f"{type(error).__name__}: "
            response.message = f"{kind}{error}"
            self._reporter.warn("narration", f"set_objects refused: {response.message}", "set")
            return response
        self._note(notes)
        response.success = True
        response.names = [str(name) for name in names]
        response.message = "; ".join(notes) or (
            f"{len(names)} candidate objects" if names else "candidates from the narration"
        )
        return response

    def _is_dated(self, name: str, age: float) -> bool:
        if age < math.inf:
            return True
        topic = self._node.resolve_topic_name(name)
        text = (
            f"a message on {topic} was kept from before this node listened, and by /clock "
            "(`use_sim_time`) nobody can tell how old it is, so it is ignored; send it again, or "
            "send an action with a stamp"
        )
        self._reporter.warn("narration", text, "kept")
        return False

    def _log_end(self, narration: str, pipeline: Pipeline) -> None:
        if not narration.strip() and pipeline.prompt is None:
            text = "empty narration: the action ended"
            self._node.get_logger().info(text, throttle_duration_sec=5.0)

    def _note(self, notes: tuple[str, ...]) -> None:
        if notes:
            self._reporter.warn("narration", "; ".join(notes), "note")
