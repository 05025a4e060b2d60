"""What `segment_node` says of itself once a second: key values, problems and their remedies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actiseg_ros.gate.explanation import explain
from actiseg_ros.gate.gate import Gate
from actiseg_ros.gate.rule import Reason
from actiseg_ros.pipeline import Pipeline
from actiseg_ros.ros.active_points import ActivePoints
from actiseg_ros.ros.diagnostics.pace import explain_pace
from actiseg_ros.ros.diagnostics.problems import Level
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.diagnostics.values import Values, gate_values, model_values, prompt_values
from actiseg_ros.ros.fast_dds import profile, variable
from actiseg_ros.ros.inputs import NARRATIONS, Inputs
from actiseg_ros.ros.lifecycle import Failed
from actiseg_ros.ros.node_parameters import NodeParameters
from actiseg_ros.ros.worker import LatestWorker

_SAID_ELSEWHERE = {
    Reason.NOT_CALIBRATED, Reason.NO_IMAGE, Reason.BAD_IMAGE, Reason.NO_NARRATION,
    Reason.INFERENCE_ERROR,
}  # fmt: skip
"""Reasons whose cause another check reports."""
_REPEAT = 60.0
"""Seconds before a reason that still stands is logged again."""
_HANGING = 5.0
"""Seconds in one image after which the network is said to hang."""


@dataclass(frozen=True)
class NodeStatus:
    """What only the node itself knows.

    Attributes:
        state: Lifecycle state.
        failed: Why the last transition failed, None if it did not.
        image_topic: Name of the image input, empty before the first activation.
        pipeline: None while no model is loaded.
        worker: Thread of the network, None while inactive.
        judged: Images judged so far.
        dropped: Images that newer ones replaced before they were judged.
        latencies: Seconds from arrival to decision of the last images judged.
        points: Publisher of the target's points, None unless they are asked for.
    """

    state: str
    failed: Failed | None
    image_topic: str
    pipeline: Pipeline | None
    worker: LatestWorker[Any] | None
    judged: int
    dropped: int
    latencies: Sequence[float]
    points: ActivePoints | None


class NodeDiagnostics:
    """Looks for problems that stand, reports them, and publishes the diagnostics.

    Args:
        reporter: Publishes and logs.
        inputs: The node's subscriptions.
        gate: The node's gate.
        settings: The node's parameters.
    """

    def __init__(
        self, reporter: Reporter, inputs: Inputs, gate: Gate, settings: NodeParameters
    ) -> None:
        self._reporter, self._inputs, self._gate = reporter, inputs, gate
        self._settings = settings
        self._standing: dict[Reason, float] = {}
        self._logged: dict[Reason, float] = {}

    def publish(self, status: NodeStatus) -> None:
        """Publishes the diagnostics of this moment."""
        try:
            parts: dict[str, Values] = {
                "image": self._image(status),
                "narration": self._narration(status),
                "model": self._model(status),
                "gate": self._decision(status),
                "parameters": {},
                "lifecycle": {"state": status.state},
            }
            if status.points is not None:
                parts["depth"] = status.points.values()
            if status.failed is not None:
                failed = status.failed
                self._reporter.note(failed.part, Level.ERROR, failed.text, "transition")
            self._reporter.publish(parts)
        except Exception as error:
            self._reporter.error("model", f"diagnostics: {error!r}", "diagnostics")

    def _image(self, status: NodeStatus) -> Values:
        self._inputs.check_silence((status.image_topic,), self._settings["silence_warning"])
        topic = self._inputs.topic(status.image_topic)
        arrivals = self._inputs.arrivals(status.image_topic)
        if arrivals.lost:
            text = (
                f"{arrivals.lost} of the last images were lost on their way, or replaced by newer "
                f"ones before this node could take them; run the camera driver with {variable()}="
                f"{profile('fastdds.xml')}, or use `image_transport` compressed"
            )
            self._reporter.warn("image", text, "lost")
        publishers = self._inputs.publishers(status.image_topic)
        if len(publishers) > 1:
            names = ", ".join(sorted(publisher.node for publisher in publishers))
            text = (
                f"{len(publishers)} publishers on {topic}: {names}; their images are never counted "
                "together, so leave one"
            )
            self._reporter.warn("image", text, "publishers")
        return {
            "topic": topic,
            "publishers": len(publishers),
            "received": arrivals.count,
            "rate (Hz)": arrivals.rate,
            "judged": status.judged,
            "dropped": status.dropped,
            "lost": arrivals.lost,
            "silence (s)": arrivals.silence,
        }

    def _narration(self, status: NodeStatus) -> Values:
        # Of the two ways to narrate, one word on either is enough.
        self._inputs.check_silence(NARRATIONS, self._settings["silence_warning"])
        pipeline = status.pipeline
        missing = pipeline.missing_target if pipeline else ""
        self._reporter.clear("narration", "target")
        if missing and not any(missing in told.text for told in self._reporter.of("narration")):
            self._reporter.note("narration", Level.WARN, missing, "target")
        return prompt_values(pipeline.prompt if pipeline else None)

    def _model(self, status: NodeStatus) -> Values:
        if status.pipeline is None:
            if status.failed is None:
                self._reporter.note("model", Level.WARN, "no model is loaded", "unconfigured")
            return {"bundle": self._settings["bundle"] or "embedded"}
        self._reporter.clear("model", "unconfigured")
        segmenter = status.pipeline.model.segmenter
        if segmenter.missing_providers:
            missing, present = map(", ".join, (segmenter.missing_providers, segmenter.providers))
            text = (
                f"`provider` is {self._settings['provider']}, but {missing} is not in the session, "
                f"which runs on {present}; install the onnxruntime that has it, with its libraries"
            )
            self._reporter.warn("model", text, "provider")
        limit = self._settings["image_timeout"]
        arrivals = self._inputs.arrivals(status.image_topic)
        if arrivals.count:
            pace = explain_pace(status.latencies[-10:], arrivals.interval, arrivals.silence, limit)
            if pace is not None:
                self._reporter.report(pace.part, pace.level, pace.text, "pace")
        busy = status.worker.busy_for if status.worker else 0.0
        if busy > max(_HANGING, 2 * limit):
            text = f"the network has been working on one image for {busy:.0f} s"
            self._reporter.error("model", text, "busy")
        return model_values(status.pipeline.model, status.latencies)

    def _decision(self, status: NodeStatus) -> Values:
        machine, state, now = self._gate.snapshot()
        decision = machine.decide(state, now)
        if status.pipeline is not None:
            complaint = status.pipeline.model.complaint
            if not machine.calibrated(state.candidates):
                level = Level.ERROR if complaint else Level.WARN
                text = explain(Reason.NOT_CALIBRATED, machine, state, now)
                if machine.calibration is None and complaint:
                    text = complaint
                self._reporter.report("gate", level, text, "calibration")
            elif complaint:
                self._reporter.warn("gate", f"goes uncertified: {complaint}", "calibration")
        # A reason that stands for long is explained, above all one that never ends by itself.
        self._standing = {
            reason: self._standing.get(reason, now.steady) for reason in decision.reasons
        }
        for reason, since in self._standing.items():
            stood = now.steady - since
            text = f"{reason} for {stood:.0f} s: {explain(reason, machine, state, now)}"
            second = reason is Reason.SECOND_PUBLISHER
            level = Level.ERROR if second else Level.WARN
            if reason in _SAID_ELSEWHERE or status.pipeline is None:
                continue
            if second or stood >= self._settings["silence_warning"]:
                self._reporter.note("gate", level, text, str(reason))
                if now.steady - self._logged.get(reason, -_REPEAT) >= _REPEAT:
                    self._logged[reason] = now.steady
                    self._reporter.report("gate", level, text, str(reason))
        for reason in set(Reason) - set(decision.reasons):
            self._reporter.clear("gate", str(reason))
            self._logged.pop(reason, None)
        return gate_values(decision, state, machine.calibration)
