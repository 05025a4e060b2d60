"""ROS 2 node `segment`: camera images and narrations in, masks and a go/no-go decision out.

The executor's thread only takes messages and keeps the heartbeat; the network runs in a worker
thread. Decisions are published in every state of the lifecycle while the process lives, so that a
consumer of ``~/go`` hears an explicit no-go (NOT_ACTIVE) and not silence.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from actiseg_msgs.msg import ActionNarration, ActiveObjectArray, GraspDecision
from actiseg_msgs.srv import SetObjects
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import Trigger

from actiseg_ros.errors import ImageError, RobotError
from actiseg_ros.gate.features import uncertain_map
from actiseg_ros.gate.state import Decision, Gate, GateOptions
from actiseg_ros.overlay import draw_overlay
from actiseg_ros.pipeline import ImageTicket, Pipeline, load_pipeline
from actiseg_ros.ros.diagnosis import Values, gate_values, model_values, prompt_values
from actiseg_ros.ros.health import Level, Problem
from actiseg_ros.ros.listening_node import Input, ListeningNode
from actiseg_ros.ros.messages import (
    decision_message,
    decode_image,
    jpeg,
    mono8,
    objects_message,
    to_nanoseconds,
    uncertainty_map,
)
from actiseg_ros.ros.parameters import SPECS
from actiseg_ros.ros.reporting_node import survives
from actiseg_ros.ros.worker import LatestWorker
from actiseg_ros.vision.images import Rgb, content_digest
from actiseg_ros.vision.segmenter import Segmentation

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class _ImageJob:
    """An arrived image that waits for the network."""

    message: Image | CompressedImage
    ticket: ImageTicket


class SegmentNode(ListeningNode):
    """Wires topics, services, parameters and the lifecycle to a `Pipeline`."""

    def __init__(self) -> None:
        self._pipeline: Pipeline | None = None
        self._asleep = Gate(None)  # answers NOT_ACTIVE as long as there is no pipeline
        self._worker: LatestWorker[_ImageJob] | None = None
        self._image_topic = ""
        self._no_model = self._no_limits = ""  # why, for the diagnostics
        self._headers: dict[int, Header] = {}
        self._latencies: deque[float] = deque(maxlen=200)
        self._judged = self._dropped = 0
        self._publishing = threading.Lock()
        super().__init__("segment", SPECS)
        self._mask = self.publisher(Image, "~/mask")
        self._objects = self.publisher(ActiveObjectArray, "~/objects")
        self._uncertainty = self.publisher(Image, "~/uncertainty")
        self._overlay = self.publisher(CompressedImage, "~/overlay/compressed")
        self._grasp = self.publisher(GraspDecision, "~/grasp")
        self._go = self.publisher(Bool, "~/go")
        self.create_service(SetObjects, "~/set_objects", self._on_set_objects)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._heartbeat: Any = None
        self._start_heartbeat()

    def _start_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self.destroy_timer(self._heartbeat)
        # Steady time: no-go has to be said even when simulated time stands still.
        period = 1.0 / self.value("heartbeat_rate")
        self._heartbeat = self.create_timer(period, self._publish_decision, clock=self.steady)

    # Parameters

    @property
    def settled(self) -> bool:
        """From configuration to clean-up the model and the inputs are fixed."""
        return self._pipeline is not None

    def on_parameters_changed(self) -> None:
        """Hands new limits to the running gate."""
        if self._pipeline is not None:
            self._pipeline.gate.options = self._gate_options()
            self._pipeline.max_objects = self.value("max_objects")

    def _gate_options(self) -> GateOptions:
        return GateOptions(**{name: self.value(name) for name in GateOptions.__dataclass_fields__})

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and verifies the bundle; a bad one leaves the node unconfigured."""
        try:
            self._pipeline = self._load_pipeline()
            self._start_heartbeat()
        except (RobotError, OSError) as error:
            self._no_model = f"cannot configure: {error}"
            self.tell(Problem("model", Level.ERROR, self._no_model), "unconfigured")
            return FAILURE
        except Exception as error:
            self._no_model = f"cannot configure: {type(error).__name__}: {error}"
            self.on_failure(error)
            return FAILURE
        self._no_model = ""
        return SUCCESS

    def _load_pipeline(self) -> Pipeline:
        nouns = self.value("nouns_csv")
        pipeline, complaint = load_pipeline(
            self.value("bundle"),
            self._gate_options(),
            threads=self.value("threads"),
            nouns_csv=Path(nouns) if nouns else None,
            max_objects=self.value("max_objects"),
        )
        self._no_limits = complaint
        bundle = pipeline.bundle
        self.get_logger().info(
            f"bundle '{bundle.name}' ({bundle.model_id[:12]}) from {bundle.path} on "
            f"{', '.join(pipeline.segmenter.providers)}"
        )
        return pipeline

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the worker and subscribes to the inputs."""
        assert self._pipeline is not None
        self._pipeline.set_active(True)
        self._worker = LatestWorker(self._process, self.on_failure, "inference")
        reliability = ReliabilityPolicy[self.value("image_reliability").upper()]
        latest = QoSProfile(depth=1, reliability=reliability)
        remedy = "set `image_reliability` to best_effort, or make the publisher reliable"
        kind, self._image_topic = Image, "image"
        if self.value("image_transport") == "compressed":
            kind, self._image_topic = CompressedImage, "image/compressed"
        self.listen(Input(self._image_topic, kind, latest, "image", remedy), self._on_image)
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        remedy = "make the publisher reliable"
        self.listen(Input("narration", String, reliable, "narration", remedy), self._on_narration)
        self.listen(
            Input("action", ActionNarration, reliable, "narration", remedy), self._on_action
        )
        topics = (self._image_topic, "narration", "action")
        names = ", ".join(self.resolve_topic_name(name) for name in topics)
        self.get_logger().info(f"active: listening to {names}")
        return super().on_activate(state)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Says no-go, then stops listening and working."""
        self._stop()
        return super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of the network, so that another bundle can be configured."""
        self._stop()
        self._pipeline = None
        return SUCCESS

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Says no-go for the last time."""
        return self.on_cleanup(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition the node starts anew as unconfigured."""
        return self.on_cleanup(state)

    def _stop(self) -> None:
        if self._pipeline is not None:
            self._pipeline.set_active(False)
        self._publish_decision()
        self.stop_listening()
        worker, self._worker = self._worker, None
        if worker is not None:
            self._dropped += worker.dropped
            if not worker.stop(timeout=2.0):
                text = "the network hangs; restart the node before activating it again"
                self.tell(Problem("model", Level.ERROR, text))

    def say_farewell(self) -> None:
        """Publishes a last no-go and waits until subscribers have it."""
        self._stop()
        for publisher in (self._grasp, self._go):
            publisher.wait_for_all_acked(Duration(seconds=0.5))

    # Inputs

    @survives
    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._pipeline is None or self._worker is None:
            return
        stamp_ns = self._age_stamp(to_nanoseconds(message.header.stamp))
        digest = content_digest(message.data)
        self._pipeline.gate.image_arrived(stamp_ns, digest)
        self._worker.submit(_ImageJob(message, ImageTicket(stamp_ns, digest, time.monotonic())))

    def _age_stamp(self, stamp_ns: int) -> int:
        """The time that an image's age counts from; tells of stamps that cannot be right."""
        now_ns = self.get_clock().now().nanoseconds
        if self.value("stamp_source") == "arrival":
            return now_ns
        if stamp_ns == 0:
            text = (
                "images have no stamp, so their age is unknown and none counts as fresh; stamp "
                "them, or set `stamp_source` to arrival"
            )
            self.tell(Problem("image", Level.WARN, text), "stamp")
            return stamp_ns
        age = (now_ns - stamp_ns) * 1e-9
        if now_ns == 0:
            text = "`use_sim_time` is set, but /clock has not told any time yet"
            self.tell(Problem("image", Level.WARN, text), "stamp")
        elif abs(age) > self.value("image_timeout"):
            text = (
                f"image stamps are {abs(age):.3g} s {'behind' if age > 0 else 'ahead of'} this "
                "node's clock, so no image counts as fresh; set `use_sim_time` when a bag or a "
                "simulator publishes /clock, synchronise the clocks, or set `stamp_source` to "
                "arrival"
            )
            self.tell(Problem("image", Level.WARN, text), "stamp")
        return stamp_ns

    @survives
    def _on_narration(self, message: String) -> None:
        if self._pipeline is not None:
            self._note(self._pipeline.narrate(message.data))
            self._tell_end(message.data)

    @survives
    def _on_action(self, message: ActionNarration) -> None:
        if self._pipeline is None:
            return
        names, target = message.object_names, message.target_name
        duration = to_nanoseconds(message.duration) * 1e-9
        stamp_ns = to_nanoseconds(message.header.stamp)
        age = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9 if stamp_ns else 0.0
        try:
            self._note(self._pipeline.act(message.narration, names, target, duration, age))
            self._tell_end(message.narration)
        except RobotError as error:
            text = f"action message refused: {error}"
            self.tell(Problem("narration", Level.ERROR, text), "refused")

    def _tell_end(self, narration: str) -> None:
        if not narration.strip():
            text = "empty narration: the action ended"
            self.get_logger().info(text, throttle_duration_sec=5.0)

    def _note(self, notes: tuple[str, ...]) -> None:
        if notes:
            self.tell(Problem("narration", Level.WARN, "; ".join(notes)), "note")

    def _on_set_objects(
        self, request: SetObjects.Request, response: SetObjects.Response
    ) -> SetObjects.Response:
        response.success = False
        try:
            if self._pipeline is None:
                response.message = "the node is not configured; configure it first"
                return response
            names, notes = self._pipeline.set_objects(request.names)
            self._note(notes)
            response.success = True
            response.names = [str(name) for name in names]
            response.message = "; ".join(notes) or (
                f"{len(names)} candidate objects" if names else "candidates from the narration"
            )
        except RobotError as error:
            self.tell(Problem("narration", Level.WARN, f"set_objects refused: {error}"), "set")
            response.message = str(error)
        except Exception as error:
            self.on_failure(error)
            response.message = f"internal error: {error!r}"
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._pipeline is not None:
            self._pipeline.reset()
        self._publish_decision()
        response.success = True
        response.message = "narration and evidence forgotten; no-go until both are fresh again"
        return response

    # The worker's thread

    def _process(self, job: _ImageJob) -> None:
        pipeline, header = self._pipeline, job.message.header
        if pipeline is None:
            return
        try:
            rgb = decode_image(job.message)
        except ImageError as error:
            pipeline.gate.image_rejected()
            self.tell(Problem("image", Level.ERROR, str(error)), "decode")
            self._publish_decision()
            return
        # The decision may still be about the image before, so two headers are kept.
        newest = dict(list(self._headers.items())[-1:])
        self._headers = {**newest, job.ticket.stamp_ns: header}
        segmentation = pipeline.process(rgb, job.ticket)
        if self._worker is None or (segmentation is None and pipeline.prompt is not None):
            return  # deactivated, or the prompt changed, while the network was running
        self._publish_segmentation(header, rgb, segmentation, pipeline)
        decision = self._publish_decision()
        if segmentation is not None:
            self._judged += 1
            self._latencies.append(decision.latency)
        if self._overlay.get_subscription_count():
            uncertain = uncertain_map(segmentation, pipeline.bundle) if segmentation else None
            picture = draw_overlay(rgb, segmentation, decision, uncertain)
            self._overlay.publish(jpeg(header, picture))

    def _publish_segmentation(
        self, header: Header, rgb: Rgb, segmentation: Segmentation | None, pipeline: Pipeline
    ) -> None:
        nothing = np.zeros(rgb.shape[:2], np.uint8)
        self._mask.publish(mono8(header, segmentation.labels if segmentation else nothing))
        self._objects.publish(objects_message(header, segmentation, pipeline.bundle))
        doubtful = uncertainty_map(segmentation, pipeline.bundle) if segmentation else nothing
        self._uncertainty.publish(mono8(header, doubtful))

    # Outputs of any thread

    def on_failure(self, error: Exception) -> None:
        """Reports an unforeseen error from any thread and makes the decision no-go."""
        if self._pipeline is not None:
            self._pipeline.gate.inference_failed()
        self.tell(Problem("model", Level.ERROR, f"{type(error).__name__}: {error}"), "failure")
        self._publish_decision()

    @property
    def _gate(self) -> Gate:
        return self._pipeline.gate if self._pipeline else self._asleep

    def _decide(self) -> Decision:
        return self._gate.decide(self.get_clock().now().nanoseconds)

    def _publish_decision(self) -> Decision:
        # Deciding and publishing together: an older go must not overtake a newer no-go.
        with self._publishing:
            decision = self._decide()
            header = self._headers.get(decision.stamp_ns) if decision.stamp_ns else None
            self._grasp.publish(decision_message(header or Header(), decision))
            self._go.publish(Bool(data=bool(decision.go)))
        return decision

    def diagnosed(self) -> Mapping[str, Values]:
        """Collects the key values, and tells what is missing or wrong on the way."""
        self.explain(self._image_topic)
        # Images must keep coming; of the two ways to narrate, one word on either is enough.
        narrated = any(self.arrivals(name).count for name in ("narration", "action"))
        for name in ("narration", "action"):
            (self.hush if narrated else self.explain)(name)
        pipeline, model = self._pipeline, {"bundle": self.value("bundle") or "embedded"}
        if pipeline is None:
            level = Level.ERROR if self._no_model else Level.WARN
            text = self._no_model or "no model is loaded"
            self.problems.show(Problem("model", level, text), "unconfigured")
        else:
            self.problems.clear("model", "unconfigured")
            model = model_values(pipeline, list(self._latencies))
            if pipeline.gate.calibration is None:
                text = "the bundle is not calibrated, so go is impossible; run `actiseg calibrate`"
                level = Level.ERROR if self._no_limits else Level.WARN
                self.tell(Problem("gate", level, self._no_limits or text), "uncalibrated")
        missing = pipeline.missing_target if pipeline else ""
        self.problems.clear("narration", "target")
        if missing and not any(missing in told.text for told in self.problems.of("narration")):
            self.problems.show(Problem("narration", Level.WARN, missing), "target")
        return {
            "image": self._image_values(),
            "narration": prompt_values(pipeline),
            "model": model,
            "gate": gate_values(self._gate, self._decide()),
        }

    def _image_values(self) -> Values:
        report = self.arrivals(self._image_topic)
        if report.gaps:
            text = (
                f"{report.gaps} gaps among the last images: some are lost on their way; run the "
                "camera driver with the Fast DDS profile config/fastdds.xml, or use "
                "`image_transport` compressed"
            )
            self.tell(Problem("image", Level.WARN, text), "gaps")
        waiting = self._worker.dropped if self._worker else 0
        return {
            "topic": self.resolve_topic_name(self._image_topic) if self._image_topic else "",
            "received": report.count,
            "rate (Hz)": report.rate,
            "judged": self._judged,
            "dropped": self._dropped + waiting,
            "gaps": report.gaps,
            "silence (s)": report.silence,
        }


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until a signal; 2 if a parameter has an impossible value."""
    # Own handlers: rclpy's would tear the context down before the last no-go is out.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    try:
        node = SegmentNode()
    except (ParameterException, ValueError) as error:
        print(f"segment_node: bad parameter: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    if node.get_parameter("autostart").value and node.trigger_configure() == SUCCESS:
        node.trigger_activate()
    try:
        while not stopping.is_set() and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=0.2)
            except Exception as error:  # one bad callback must not silence the heartbeat
                node.on_failure(error)
    finally:
        node.say_farewell()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
