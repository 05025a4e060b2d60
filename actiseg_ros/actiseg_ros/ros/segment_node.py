"""ROS 2 node `segment`: camera images and narrations in, masks and a go/no-go decision out.

Three threads share the work: the executor's takes messages, the worker's runs the network on the
newest image, and the heartbeat's (`DecisionPublisher`) says the decision. It is said in every state
of the lifecycle while the process lives, so that a consumer of ``~/go`` hears an explicit no-go
(NOT_ACTIVE) and not silence.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rclpy
from actiseg_msgs.msg import ActionNarration
from rclpy.clock import Clock, ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger

from actiseg_ros.clock import steady_seconds
from actiseg_ros.errors import ImageError, RobotError
from actiseg_ros.gate.events import (
    Deactivated,
    Frame,
    ImageArrived,
    ImageRejected,
    InferenceFailed,
    Source,
    Time,
)
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.state import GateOptions
from actiseg_ros.pipeline import Pipeline, load_model
from actiseg_ros.ros.active_points import ActivePoints
from actiseg_ros.ros.bond import Bond
from actiseg_ros.ros.decision_publisher import DecisionPublisher
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.inputs import NARRATIONS, Input, Inputs, Origin
from actiseg_ros.ros.instructions import Instructions
from actiseg_ros.ros.lifecycle import (
    FAILURE,
    SUCCESS,
    Failed,
    answer_impossible_transitions,
    every,
    transition,
)
from actiseg_ros.ros.messages import (
    Identity,
    decode_image,
    image_digest,
    image_size,
    to_nanoseconds,
)
from actiseg_ros.ros.node_diagnostics import NodeDiagnostics, NodeStatus
from actiseg_ros.ros.node_parameters import NodeParameters, unmatched, untaken
from actiseg_ros.ros.parameters import PROVIDERS, SPECS
from actiseg_ros.ros.process import on_ending_signal
from actiseg_ros.ros.result_publisher import ResultPublisher
from actiseg_ros.ros.start import start_ros
from actiseg_ros.ros.worker import LatestWorker

_DIAGNOSTICS_PERIOD = 1.0


@dataclass(frozen=True)
class _ImageJob:
    """An arrived image that waits for the network."""

    message: Image | CompressedImage
    frame: Frame


class SegmentNode(LifecycleNode):
    """Wires topics, services, parameters and the lifecycle to a `Pipeline` and a `Gate`.

    It can run in any process and executor, beside others of its kind under other names or
    namespaces. The heartbeat does not depend on the executor.

    Args:
        **options: Passed on to `rclpy.lifecycle.LifecycleNode`, e.g. `namespace`,
            `parameter_overrides`, `context`.

    Raises:
        ValueError: A parameter was given an impossible value.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("segment", **options)
        answer_impossible_transitions(self)
        self.failed: Failed | None = None
        self.reporter = Reporter(self)
        self._pipeline: Pipeline | None = None
        self._worker: LatestWorker[_ImageJob] | None = None
        self._image_topic = ""
        self._latencies: deque[float] = deque(maxlen=200)
        self._judged = self._dropped = 0
        self._settings = NodeParameters(
            self, SPECS, self.reporter, lambda: self._pipeline is not None, self._apply_parameters
        )
        self._gate = Gate(self._read_clock, self._gate_options())
        self._inputs = Inputs(self, self.reporter)
        self._instructions = Instructions(self, self.reporter, lambda: self._pipeline)
        self._results = ResultPublisher(self, self._on_picture_failure)
        self._points = ActivePoints(self, self._inputs, self.reporter, self._settings)
        self._bond = Bond(self)
        self._diagnostics = NodeDiagnostics(self.reporter, self._inputs, self._gate, self._settings)
        rate = self.value("heartbeat_rate")
        self._decisions = DecisionPublisher(self, self._gate, self.reporter, rate, self._identity)
        self.create_service(Trigger, "~/reset", self._on_reset)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=steady)
        for text in untaken(self, qos=False):
            self.reporter.warn("parameters", text, text)

    def destroy_node(self) -> None:
        """Says no-go for the last time, lets go of everything that runs, and ends the node."""
        every(self._release, self._decisions.close, super().destroy_node)

    # Parameters and clock

    def value(self, name: str) -> Any:
        """Value of a parameter, in the type of its default."""
        return self._settings[name]

    def _apply_parameters(self) -> None:
        self._gate.set_options(self._gate_options())
        if self._pipeline is not None:
            self._pipeline.configure(self.value("max_objects"), steady=self.value("steady_masks"))

    def _gate_options(self) -> GateOptions:
        return GateOptions(**{name: self.value(name) for name in GateOptions.__dataclass_fields__})

    def _read_clock(self) -> Time:
        clock = self.get_clock()
        return Time(clock.now().nanoseconds, steady_seconds(), bool(clock.ros_time_is_active))

    def _identity(self) -> Identity:
        pipeline = self._pipeline
        if pipeline is None:
            return Identity()
        calibration = pipeline.model.calibration
        return Identity(pipeline.model.bundle.model_id, calibration.id if calibration else "")

    # Lifecycle

    @transition("configure", part="model", on_failure=FAILURE)
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and verifies the bundle; a bad one leaves the node unconfigured."""
        nouns, provider = self.value("nouns_csv"), self.value("provider")
        model = load_model(
            self.value("bundle"),
            threads=self.value("threads"),
            nouns_csv=Path(nouns).expanduser() if nouns else None,
            providers=PROVIDERS[provider],
        )
        self._pipeline = Pipeline(
            model, self._gate, self.value("max_objects"), steady=self.value("steady_masks")
        )
        self._latencies.clear()  # they were those of another network
        bundle, providers = model.bundle, ", ".join(model.segmenter.providers)
        self.get_logger().info(
            f"bundle '{bundle.name}' ({bundle.model_id[:12]}) from {bundle.path} on {providers}"
        )
        return SUCCESS

    @transition("activate", on_failure=FAILURE)
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the worker and subscribes to the inputs."""
        assert self._pipeline is not None
        if self._worker is not None:
            if self._worker.alive:
                raise RobotError(
                    f"the network has hung for {self._worker.busy_for:.0f} s in the image of the "
                    "activation before; wait for it, or start the node anew"
                )
            self._worker = None
        try:
            self._pipeline.activate()
            self._worker = LatestWorker(self._judge_image, self._on_failure, "inference")
            self._results.start()
            self._subscribe()
            super().on_activate(state)
            self._bond.form()
        except Exception:
            self._stop()
            raise
        topics = ", ".join(self._inputs.topic(name) for name in (self._image_topic, *NARRATIONS))
        self.get_logger().info(f"active: listening to {topics}")
        for text in untaken(self, qos=True):
            self.reporter.warn("parameters", text, text)
        return SUCCESS

    def _subscribe(self) -> None:
        reliability = ReliabilityPolicy[self.value("image_reliability").upper()]
        kind, self._image_topic = Image, "image"
        if self.value("image_transport") == "compressed":
            kind, self._image_topic = CompressedImage, "image/compressed"
        newest = QoSProfile(depth=1, reliability=reliability)
        remedy = "set `image_reliability` to best_effort, or make the publisher reliable"
        image = Input(self._image_topic, kind, newest, "image", remedy, late=False)
        remedy = "make the publisher reliable"
        # Each has a profile of its own, because overrides change it in place.
        narration = Input("narration", String, QoSProfile(depth=10), "narration", remedy)
        action = Input("action", ActionNarration, QoSProfile(depth=10), "narration", remedy)
        for wanted, callback in (
            (image, self._on_image),
            (narration, self._instructions.on_narration),
            (action, self._instructions.on_action),
            *self._points.start(),
        ):
            try:
                self._inputs.subscribe(wanted, callback)
            except Exception as error:
                overrides = self._settings.qos_overrides(self.resolve_topic_name(wanted.name))
                given = ", ".join(f"{name}: {value}" for name, value in overrides.items())
                text = f"cannot subscribe to {wanted.name}: {error}"
                remedy = f"; correct the parameter {given}" if given else ""
                raise RobotError(text + remedy) from error

    @transition("deactivate")
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Says no-go, then stops listening and working."""
        self._stop()
        return super().on_deactivate(state)

    @transition("clean up")
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Lets go of the network, so that another bundle can be configured."""
        self._release()
        return SUCCESS

    @transition("shut down")
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Says no-go and lets go of the network."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After an error in a transition the node starts anew as unconfigured."""
        self._gate.handle(Deactivated())
        try:
            self._release()
        except Exception as error:
            self.reporter.error("lifecycle", f"let go of all but: {error!r}", "recovery")
        return SUCCESS

    def _release(self) -> None:
        every(self._stop, self._forget)

    def _forget(self) -> None:
        self._pipeline = None
        self._gate.set_calibration(None)

    def _stop(self) -> None:
        pipeline = self._pipeline
        every(
            self._bond.end,
            pipeline.deactivate if pipeline else lambda: None,
            self._decisions.publish,
            self._inputs.unsubscribe_all,
            self._points.stop,
            self._results.stop,
            self._stop_worker,
        )

    def _stop_worker(self) -> None:
        worker = self._worker
        if worker is None:
            return
        if worker.stop(timeout=2.0):
            self._dropped += worker.dropped
            self._worker = None
        else:
            # It stays known: no second worker may start beside it.
            text = "the network hangs; start the node anew, or wait for it before activating"
            self.reporter.error("model", text, "hung")

    # Inputs, in the executor's thread

    def _on_image(self, message: Image | CompressedImage, origin: Origin) -> None:
        worker = self._worker
        if worker is None:
            return
        now = self._read_clock()
        stamp_ns = to_nanoseconds(message.header.stamp)
        height, width = image_size(message)
        frame = Frame(
            stamp_ns,
            self._taken(stamp_ns, now),
            image_digest(message),
            Source(origin.publisher, str(message.header.frame_id), height, width),
            now,
        )
        arrived = self._gate.handle(ImageArrived(frame)).frame
        if arrived is not None:
            worker.submit(_ImageJob(message, arrived))

    def _taken(self, stamp_ns: int, now: Time) -> int:
        """ROS time that an image's age counts from; reports stamps that cannot be right."""
        if self.value("stamp_source") == "arrival":
            return now.ros_ns
        age = (now.ros_ns - stamp_ns) * 1e-9
        if stamp_ns == 0:
            text = (
                "images have no stamp, so their age is unknown and none counts as fresh; stamp "
                "them, or set `stamp_source` to arrival"
            )
            self.reporter.warn("image", text, "stamp")
        elif now.ros_ns == 0:
            text = "`use_sim_time` is set, but /clock has not told any time yet"
            self.reporter.warn("image", text, "stamp")
        elif abs(age) > self.value("image_timeout"):
            text = (
                f"image stamps are {abs(age):.3g} s {'behind' if age > 0 else 'ahead of'} this "
                f"node's clock, but `image_timeout` is {self.value('image_timeout'):g} s, so no "
                "image counts as fresh; set `use_sim_time` when a bag or a simulator publishes "
                "/clock, synchronise the clocks, or set `stamp_source` to arrival"
            )
            self.reporter.warn("image", text, "stamp")
        return stamp_ns

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        if self._worker is not None:
            self._worker.clear()
        if self._pipeline is not None:
            self._pipeline.reset()
        self._decisions.publish()
        response.success = True
        response.message = "narration and evidence forgotten; no-go until both are fresh again"
        return response

    # The newest image, in the worker's thread

    def _judge_image(self, job: _ImageJob) -> None:
        pipeline = self._pipeline
        if pipeline is None:
            return
        try:
            rgb = decode_image(job.message)
        except ImageError as error:
            self._gate.handle(ImageRejected())
            self.reporter.error("image", str(error), "decode")
            self._decisions.publish()
            return
        result = pipeline.segment(rgb, job.frame)
        if not pipeline.is_current(result):
            return  # reset, deactivated, or asked something else while the network was running
        # Before any decision about this image, so that a consumer of a go has its mask.
        bundle = pipeline.model.bundle
        self._results.publish(result, rgb, bundle)
        pipeline.submit(result)
        decision = self._decisions.publish()
        self._points.submit(result, lambda: pipeline.is_current(result))
        if result.segmentation is not None:
            self._judged += 1
            self._latencies.append(steady_seconds() - job.frame.arrived.steady)
        self._results.publish_pictures(result, rgb, bundle, decision)

    def _on_failure(self, error: Exception) -> None:
        """Reports an unforeseen error from any thread and makes the decision no-go."""
        self._gate.handle(InferenceFailed())
        self.reporter.error("model", f"{type(error).__name__}: {error}", "failure")
        self._decisions.publish()

    def _on_picture_failure(self, error: Exception) -> None:
        """Reports an error of a picture for people, which says nothing about the decision."""
        self.reporter.error("image", f"pictures: {type(error).__name__}: {error}", "pictures")

    def _publish_diagnostics(self) -> None:
        status = NodeStatus(
            str(self._state_machine.current_state[1]),
            self.failed,
            self._image_topic,
            self._pipeline,
            self._worker,
            self._judged,
            self._dropped + (self._worker.dropped if self._worker else 0),
            list(self._latencies),
            self._points if self._points.on else None,
        )
        self._diagnostics.publish(status)


def main(arguments: list[str] | None = None) -> int:
    """Runs the node until a signal; 2 if it cannot be made, e.g. of an impossible parameter."""
    stopping = threading.Event()
    # Before any other thread starts; rclpy's own handlers would tear the context down before the
    # last no-go is out.
    on_ending_signal(stopping.set)
    options = {"signal_handler_options": SignalHandlerOptions.NO}
    if not start_ros("segment_node", arguments, **options):
        return 2
    try:
        node = SegmentNode()
    except Exception as error:
        print(f"segment_node: cannot start: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    given = arguments if arguments is not None else sys.argv
    for text in unmatched(given, node.get_fully_qualified_name()):
        node.reporter.warn("parameters", text, text)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        started = node.value("autostart") and node.trigger_configure() == SUCCESS
        if started and not stopping.is_set():
            node.trigger_activate()
        while not stopping.is_set() and rclpy.ok():
            try:
                executor.spin_once(timeout_sec=0.2)
            except Exception as error:  # one bad callback must not end the node
                node._on_failure(error)
    finally:
        node.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
