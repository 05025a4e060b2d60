"""ROS 2 node `segment`: camera images and narrations in, masks and a go/no-go decision out.

The executor's thread only takes messages and keeps the heartbeat; the network runs in a worker
thread. Decisions are published in every state of the lifecycle while the process lives, so that a
consumer of ``~/go`` hears an explicit no-go (NOT_ACTIVE) and not silence.
"""

from __future__ import annotations

import functools
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from actiseg_msgs.msg import ActionNarration, ActiveObjectArray, GraspDecision
from actiseg_msgs.srv import SetObjects
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.exceptions import ParameterException
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter
from rclpy.qos import (
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.qos_overriding_options import QoSOverridingOptions
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Bool, Header, String
from std_srvs.srv import Trigger

from .bundle import load_bundle
from .calibration import Calibration, load_calibration
from .compressed import decode_compressed
from .errors import BundleError, ImageError, RobotError
from .gate import Decision, Gate, GateOptions
from .health import ArrivalMonitor, Level, Problem, Problems
from .images import Rgb, content_digest, decode_raw
from .messages import (
    decision_message,
    jpeg,
    mono8,
    objects_message,
    status,
    to_nanoseconds,
    uncertainty_map,
)
from .overlay import draw_overlay
from .parameters import SPECS, ParameterSpec, change_problem
from .pipeline import ImageTicket, Pipeline
from .prompts import Vocabulary, read_noun_classes
from .segmenter import Segmentation, Segmenter
from .silence import Publisher, explain_silence
from .worker import LatestWorker

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class _ImageJob:
    """An arrived image that waits for the network."""

    message: Image | CompressedImage
    ticket: ImageTicket


@dataclass
class _Input:
    """One subscribed topic and how it behaves."""

    part: str
    topic: str
    type_name: str
    qos: QoSProfile
    remedy: str
    monitor: ArrivalMonitor
    since: float


def _survives(method: Callable[..., None]) -> Callable[..., None]:
    """Makes a callback report whatever it did not foresee, so that the node lives on."""

    @functools.wraps(method)
    def guarded(self: SegmentNode, *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.on_failure(error)

    return guarded


class SegmentNode(LifecycleNode):
    """Wires topics, services, parameters and the lifecycle to a `Pipeline`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__("segment", **arguments)
        self._answer_impossible_transitions()
        for spec in SPECS:
            value = self.declare_parameter(spec.name, spec.default, _descriptor(spec)).value
            if problem := spec.problem(value):
                raise ValueError(problem)
        self.add_on_set_parameters_callback(self._validate_parameters)
        self.add_post_set_parameters_callback(self._apply_parameters)
        self._problems = Problems()
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._pipeline: Pipeline | None = None
        self._asleep = Gate(None)  # answers NOT_ACTIVE as long as there is no pipeline
        self._worker: LatestWorker[_ImageJob] | None = None
        self._inputs: dict[str, _Input] = {}
        self._input_subscriptions: list[Any] = []
        self._headers: dict[int, Header] = {}
        self._latencies: deque[float] = deque(maxlen=200)
        self._judged = 0
        self._dropped_before = 0
        self._publishing = threading.Lock()
        self._create_outputs()
        self.create_service(SetObjects, "~/set_objects", self._on_set_objects)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._heartbeat: Any = None
        self._start_heartbeat()
        self.create_timer(1.0, self._publish_diagnostics, clock=self._steady)

    def _answer_impossible_transitions(self) -> None:
        """Answers a request for a transition that the state does not have with a failure.

        rclpy lets it escape as an exception instead: the caller then waits for ever.
        """
        change_state = self._service_change_state.callback

        def answered(request: ChangeState.Request, response: ChangeState.Response) -> Any:
            try:
                return change_state(request, response)
            except RuntimeError as error:
                self.get_logger().warning(f"no such transition from this state: {error}")
                response.success = False
                return response

        self._service_change_state.callback = answered

    def _create_outputs(self) -> None:
        def publisher(kind: type[Any], name: str, depth: int = 5) -> Any:
            overrides = QoSOverridingOptions.with_default_policies()
            return self.create_publisher(kind, name, depth, qos_overriding_options=overrides)

        self._mask = publisher(Image, "~/mask")
        self._objects = publisher(ActiveObjectArray, "~/objects")
        self._uncertainty = publisher(Image, "~/uncertainty")
        self._overlay = publisher(CompressedImage, "~/overlay/compressed")
        self._grasp = publisher(GraspDecision, "~/grasp", 10)
        self._go = publisher(Bool, "~/go", 10)
        self._diagnostics = publisher(DiagnosticArray, "/diagnostics", 10)

    def _start_heartbeat(self) -> None:
        if self._heartbeat is not None:
            self.destroy_timer(self._heartbeat)
        # Steady time: no-go has to be said even when simulated time stands still.
        period = 1.0 / self._value("heartbeat_rate")
        self._heartbeat = self.create_timer(period, self._publish_decision, clock=self._steady)

    # Parameters

    def _value(self, name: str) -> Any:
        value = self.get_parameter(name).value
        return float(value) if isinstance(value, int) and name in _FLOATS else value

    def _gate_options(self) -> GateOptions:
        return GateOptions(**{name: self._value(name) for name in GateOptions.__dataclass_fields__})

    def _validate_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        configured = self._pipeline is not None
        for parameter in parameters:
            problem = change_problem(parameter.name, parameter.value, active=configured)
            if problem:
                self._tell(Problem("parameters", Level.WARN, problem))
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def _apply_parameters(self, parameters: list[Parameter]) -> None:
        if self._pipeline is not None:
            self._pipeline.gate.options = self._gate_options()
            self._pipeline.max_objects = self._value("max_objects")

    # Lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Loads and verifies the bundle; a bad one leaves the node unconfigured."""
        try:
            self._pipeline = self._load_pipeline()
            self._start_heartbeat()
        except (RobotError, OSError) as error:
            self._tell(Problem("model", Level.ERROR, f"cannot configure: {error}"), "load")
            return FAILURE
        except Exception as error:
            self.on_failure(error)
            return FAILURE
        self._problems.clear("model", "load")
        return SUCCESS

    def _load_pipeline(self) -> Pipeline:
        bundle = load_bundle(self._value("bundle"))
        segmenter = Segmenter(bundle, threads=self._value("threads"))
        segmenter.warm_up()
        vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
        if self._value("nouns_csv"):
            vocabulary = vocabulary.extended(read_noun_classes(Path(self._value("nouns_csv"))))
        calibration: Calibration | None = None
        try:
            calibration = load_calibration(bundle)
        except BundleError as error:
            self._tell(Problem("gate", Level.ERROR, str(error)), "calibration")
        self.get_logger().info(
            f"bundle '{bundle.name}' ({bundle.model_id[:12]}) from {bundle.path} on "
            f"{', '.join(segmenter.providers)}; {len(vocabulary)} object names"
        )
        return Pipeline(
            bundle,
            segmenter,
            calibration,
            self._gate_options(),
            vocabulary,
            self._value("max_objects"),
        )

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Starts the worker and subscribes to the inputs."""
        assert self._pipeline is not None
        self._pipeline.set_active(True)
        self._worker = LatestWorker(self._process, self.on_failure, "inference")
        self._subscribe()
        return super().on_activate(state)

    def _subscribe(self) -> None:
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        reliability = ReliabilityPolicy[self._value("image_reliability").upper()]
        latest = QoSProfile(depth=1, reliability=reliability)
        remedy = "set `image_reliability` to best_effort, or make the publisher reliable"
        kind, topic = Image, "image"
        if self._value("image_transport") == "compressed":
            kind, topic = CompressedImage, "image/compressed"
        self._listen("image", kind, topic, self._on_image, latest, remedy)
        remedy = "make the publisher reliable and volatile"
        self._listen("narration", String, "narration", self._on_narration, reliable, remedy)
        self._listen("action", ActionNarration, "action", self._on_action, reliable, remedy)

    def _listen(
        self,
        part: str,
        kind: type[Any],
        name: str,
        callback: Callable[[Any], None],
        qos: QoSProfile,
        remedy: str,
    ) -> None:
        type_name = f"{kind.__module__.split('.')[0]}/msg/{kind.__name__}"
        topic = self.resolve_topic_name(name)
        watched = _Input(part, topic, type_name, qos, remedy, ArrivalMonitor(), time.monotonic())
        self._inputs[part] = watched
        events = SubscriptionEventCallbacks(
            incompatible_qos=functools.partial(self._on_incompatible_qos, watched),
            incompatible_type=lambda event: None,  # `_explain_silence` says more
        )
        self._input_subscriptions.append(
            self.create_subscription(
                kind,
                name,
                callback,
                qos,
                event_callbacks=events,
                qos_overriding_options=QoSOverridingOptions.with_default_policies(),
            )
        )

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
        for subscription in self._input_subscriptions:
            self.destroy_subscription(subscription)
        self._input_subscriptions.clear()
        self._inputs.clear()
        worker, self._worker = self._worker, None
        if worker is not None:
            self._dropped_before += worker.dropped
            if not worker.stop():
                text = "the network hangs; restart the node before activating it again"
                self._tell(Problem("model", Level.ERROR, text))

    def say_farewell(self) -> None:
        """Publishes a last no-go and waits until subscribers have it."""
        self._stop()
        for publisher in (self._grasp, self._go):
            publisher.wait_for_all_acked(Duration(seconds=0.5))

    # Inputs

    @_survives
    def _on_image(self, message: Image | CompressedImage) -> None:
        if self._pipeline is None or self._worker is None:
            return
        self._inputs["image"].monitor.arrived()
        stamp_ns = self._age_stamp(to_nanoseconds(message.header.stamp))
        digest = content_digest(message.data)
        self._pipeline.gate.image_arrived(stamp_ns, digest)
        self._worker.submit(_ImageJob(message, ImageTicket(stamp_ns, digest, time.monotonic())))

    def _age_stamp(self, stamp_ns: int) -> int:
        """The time that an image's age counts from; tells of stamps that cannot be right."""
        now_ns = self.get_clock().now().nanoseconds
        if self._value("stamp_source") == "arrival":
            return now_ns
        if stamp_ns == 0:
            text = "images have no stamp; their age counts from their arrival"
            self._tell(Problem("image", Level.WARN, text), "stamp")
            return now_ns
        age = (now_ns - stamp_ns) * 1e-9
        if abs(age) > self._value("image_timeout"):
            text = (
                f"image stamps are {abs(age):.3g} s {'behind' if age > 0 else 'ahead of'} this "
                "node's clock, so no image counts as fresh; set `use_sim_time` when a bag or a "
                "simulator publishes /clock, synchronise the clocks, or set `stamp_source` to "
                "arrival"
            )
            self._tell(Problem("image", Level.WARN, text), "stamp")
        return stamp_ns

    @_survives
    def _on_narration(self, message: String) -> None:
        if self._pipeline is None:
            return
        self._inputs["narration"].monitor.arrived()
        self._note("narration", self._pipeline.narrate(message.data))

    @_survives
    def _on_action(self, message: ActionNarration) -> None:
        if self._pipeline is None:
            return
        self._inputs["action"].monitor.arrived()
        try:
            notes = self._pipeline.act(
                message.narration,
                message.object_names,
                message.target_name,
                self._remaining(message),
            )
        except RobotError as error:
            text = f"action message refused: {error}"
            self._tell(Problem("narration", Level.ERROR, text), "refused")
            return
        self._note("narration", notes)

    def _remaining(self, message: ActionNarration) -> float:
        """Seconds that an action still lasts; 0 if the message does not say."""
        duration = to_nanoseconds(message.duration) * 1e-9
        stamp_ns = to_nanoseconds(message.header.stamp)
        if duration <= 0 or stamp_ns == 0:
            return max(0.0, duration)
        elapsed = (self.get_clock().now().nanoseconds - stamp_ns) * 1e-9
        # 0 would mean "not known": an action that is over has a life too short to matter.
        return max(1e-3, min(duration, duration - elapsed))

    def _note(self, part: str, notes: tuple[str, ...]) -> None:
        for note in notes:
            self._tell(Problem(part, Level.WARN, note), "note")

    def _on_set_objects(
        self, request: SetObjects.Request, response: SetObjects.Response
    ) -> SetObjects.Response:
        response.success = False
        try:
            if self._pipeline is None:
                response.message = "the node is not configured; configure it first"
                return response
            names, notes = self._pipeline.set_objects(request.names)
            self._note("narration", notes)
            response.success = True
            response.names = [str(name) for name in names]
            response.message = "; ".join(notes) or (
                f"{len(names)} candidate objects" if names else "candidates from the narration"
            )
        except RobotError as error:
            self._tell(Problem("narration", Level.WARN, f"set_objects refused: {error}"), "set")
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
            rgb = _decode(job.message)
        except ImageError as error:
            pipeline.gate.image_rejected()
            self._tell(Problem("image", Level.ERROR, str(error)), "decode")
            self._publish_decision()
            return
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
            self._overlay.publish(jpeg(header, draw_overlay(rgb, segmentation, decision)))

    def _publish_segmentation(
        self, header: Header, rgb: Rgb, segmentation: Segmentation | None, pipeline: Pipeline
    ) -> None:
        nothing = np.zeros(rgb.shape[:2], np.uint8)
        self._mask.publish(mono8(header, segmentation.labels if segmentation else nothing))
        self._objects.publish(objects_message(header, segmentation, pipeline.bundle))
        doubtful = uncertainty_map(segmentation) if segmentation else nothing
        self._uncertainty.publish(mono8(header, doubtful))

    def on_failure(self, error: Exception) -> None:
        """Reports an unforeseen error from any thread and makes the decision no-go."""
        if self._pipeline is not None:
            self._pipeline.gate.inference_failed()
        self._tell(Problem("model", Level.ERROR, f"{type(error).__name__}: {error}"), "failure")
        self._publish_decision()

    # Outputs of the executor's thread

    def _publish_decision(self) -> Decision:
        # Deciding and publishing together: an older go must not overtake a newer no-go.
        with self._publishing:
            gate = self._pipeline.gate if self._pipeline else self._asleep
            decision = gate.decide(self.get_clock().now().nanoseconds)
            header = self._headers.get(decision.stamp_ns) if decision.stamp_ns else None
            self._grasp.publish(decision_message(header or Header(), decision))
            self._go.publish(Bool(data=bool(decision.go)))
        return decision

    def _tell(self, problem: Problem, kind: str = "") -> None:
        """Logs a problem, at most every few seconds, and remembers it for the diagnostics."""
        if not self._problems.report(problem, kind):
            return
        # Two calls, because rclpy refuses a second severity from the same line of code.
        if problem.level is Level.ERROR:
            self.get_logger().error(f"{problem.part}: {problem.text}")
        else:
            self.get_logger().warning(f"{problem.part}: {problem.text}")

    def _on_incompatible_qos(self, watched: _Input, event: Any) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)
        text = (
            f"a publisher on {watched.topic} offers incompatible QoS (policy {policy}); "
            f"{watched.remedy}"
        )
        self._tell(Problem(watched.part, Level.ERROR, text), "qos")

    def _narrated(self) -> bool:
        return any(self._inputs[part].monitor.report().count for part in ("narration", "action"))

    def _explain_silence(self, watched: _Input) -> None:
        now = time.monotonic()
        silence = min(watched.monitor.report().silence, now - watched.since)
        if silence < self._value("silence_warning"):
            self._problems.clear(watched.part, "silence")
            return
        publishers = []
        for info in self.get_publishers_info_by_topic(watched.topic):
            compatible, reason = qos_check_compatible(info.qos_profile, watched.qos)
            mismatch = reason if compatible == QoSCompatibility.ERROR else ""
            publishers.append(Publisher(info.node_name, info.topic_type, mismatch.strip()))
        problem = explain_silence(
            watched.part,
            watched.topic,
            watched.type_name,
            publishers,
            dict(self.get_topic_names_and_types()),
            silence,
            watched.remedy,
        )
        self._tell(problem, "silence")

    @_survives
    def _publish_diagnostics(self) -> None:
        for part, watched in self._inputs.items():
            # Images must keep coming; of the two ways to narrate one word on either is enough.
            if part == "image" or not self._narrated():
                self._explain_silence(watched)
            else:
                self._problems.clear(part, "silence")
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [
            self._status("image", self._image_values(), "images come in"),
            self._status("narration", self._prompt_values(), "listening"),
            self._status("model", self._model_values(), "ready"),
            self._status("gate", self._gate_values(), "see `decision`"),
            self._status("parameters", {}, "valid"),
        ]
        self._diagnostics.publish(message)

    def _status(self, part: str, values: dict[str, object], fine: str) -> DiagnosticStatus:
        problems = self._problems.of(part)
        if part == "narration":
            problems += self._problems.of("action")
        return status(f"{self.get_fully_qualified_name()}: {part}", problems, values, fine)

    def _image_values(self) -> dict[str, object]:
        watched = self._inputs.get("image")
        if watched is None:
            return {}
        report = watched.monitor.report()
        if report.gaps:
            text = (
                f"{report.gaps} gaps among the last images: some are lost on their way; run the "
                "camera driver with the Fast DDS profile config/fastdds.xml, or use "
                "`image_transport` compressed"
            )
            self._tell(Problem("image", Level.WARN, text), "gaps")
        dropped = self._worker.dropped if self._worker else 0
        return {
            "topic": watched.topic,
            "type": watched.type_name,
            "received": report.count,
            "rate (Hz)": report.rate,
            "judged": self._judged,
            "dropped": self._dropped_before + dropped,
            "gaps": report.gaps,
            "silence (s)": report.silence,
        }

    def _prompt_values(self) -> dict[str, object]:
        prompt = self._pipeline.prompt if self._pipeline else None
        if prompt is None:
            return {"narration": ""}
        return {
            "narration": prompt.narration,
            "objects": ", ".join(prompt.names),
            "target": prompt.target,
        }

    def _model_values(self) -> dict[str, object]:
        if self._pipeline is None:
            text = "not configured: no model is loaded"
            self._problems.report(Problem("model", Level.WARN, text), "unconfigured")
            return {"bundle": self._value("bundle") or "embedded"}
        self._problems.clear("model", "unconfigured")
        values: dict[str, object] = {
            "bundle": self._pipeline.bundle.path,
            "model": self._pipeline.bundle.model_id,
            "providers": ", ".join(self._pipeline.segmenter.providers),
        }
        if self._latencies:
            for percent in (50, 95, 99):
                latency = float(np.percentile(list(self._latencies), percent))
                values[f"latency p{percent} (ms)"] = 1000 * latency
        return values

    def _gate_values(self) -> dict[str, object]:
        gate = self._pipeline.gate if self._pipeline else self._asleep
        decision = gate.decide(self.get_clock().now().nanoseconds)
        calibration = gate.calibration
        if calibration is None and self._pipeline is not None:
            text = "the bundle is not calibrated, so go is impossible; run `actiseg calibrate`"
            self._tell(Problem("gate", Level.WARN, text), "uncalibrated")
        return {
            "decision": decision.state,
            "reasons": ", ".join(str(reason) for reason in decision.reasons),
            "certified": bool(calibration and calibration.certified),
            "p_uncertainty": decision.p_uncertainty,
            "p_limit": decision.p_limit,
            "n_uncertainty": decision.n_uncertainty,
            "n_limit": decision.n_limit,
            "distance": decision.distance,
            "distance_limit": calibration.limits.distance if calibration else float("nan"),
            "active_score": decision.active_score,
            "good_frames": decision.good_frames,
        }


_FLOATS = frozenset(spec.name for spec in SPECS if isinstance(spec.default, float))


def _descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Description and range of a parameter as tools show them."""
    descriptor = ParameterDescriptor(name=spec.name, description=spec.description)
    descriptor.read_only = False
    if spec.choices:
        descriptor.additional_constraints = f"one of: {', '.join(spec.choices)}"
    if spec.low is None or spec.high is None:
        return descriptor
    if isinstance(spec.default, float):
        # Whole numbers are accepted too: `1` for `1.0` is the most common slip on a command line.
        descriptor.dynamic_typing = True
        descriptor.floating_point_range = [
            FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high), step=0.0)
        ]
    else:
        descriptor.integer_range = [
            IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)
        ]
    return descriptor


def _decode(message: Image | CompressedImage) -> Rgb:
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    return decode_raw(
        message.encoding,
        message.height,
        message.width,
        message.step,
        message.is_bigendian,
        message.data,
    )


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
