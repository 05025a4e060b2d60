"""Base node: checked parameters, problems that are told, diagnostics, and no sudden end."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode
from rclpy.parameter import Parameter
from rclpy.qos_overriding_options import QoSOverridingOptions

from actiseg_ros.ros.health import Level, Problem, Problems
from actiseg_ros.ros.messages import descriptor, status
from actiseg_ros.ros.parameters import ParameterSpec, change_problem

_DIAGNOSTICS_PERIOD = 1.0


def survives(method: Callable[..., None]) -> Callable[..., None]:
    """Makes a callback report whatever it did not foresee, so that the node lives on."""

    @functools.wraps(method)
    def guarded(self: ReportingNode, *arguments: Any) -> None:
        try:
            method(self, *arguments)
        except Exception as error:
            self.on_failure(error)

    return guarded


class ReportingNode(LifecycleNode):
    """Lifecycle node that checks its parameters and tells its problems.

    Args:
        name: Name of the node.
        specs: Its parameters.

    Raises:
        ValueError: A parameter was given an impossible value.
    """

    def __init__(self, name: str, specs: Iterable[ParameterSpec]) -> None:
        super().__init__(name)
        self.problems = Problems()
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._answer_impossible_transitions()
        self._whole_floats = set()
        for spec in specs:
            value = self.declare_parameter(spec.name, spec.default, descriptor(spec)).value
            if problem := spec.problem(value):
                raise ValueError(problem)
            if isinstance(spec.default, float):
                self._whole_floats.add(spec.name)
        self.add_on_set_parameters_callback(self._validate_parameters)
        self.add_post_set_parameters_callback(lambda parameters: self.on_parameters_changed())
        self._diagnostics = self.publisher(DiagnosticArray, "/diagnostics")
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=self.steady)

    # What a node may or must add

    @property
    def settled(self) -> bool:
        """Whether only parameters that may change at any time may change now."""
        return False

    def on_parameters_changed(self) -> None:
        """Applies new values; all of them are valid."""

    def on_failure(self, error: Exception) -> None:
        """Reports an unforeseen error; may be called from any thread."""
        raise NotImplementedError

    def diagnosed(self) -> Mapping[str, Mapping[str, object]]:
        """Key values of each part of the node; told problems are added by part."""
        raise NotImplementedError

    # What it gets

    def value(self, name: str) -> Any:
        """Value of a parameter, in the type of its default."""
        value = self.get_parameter(name).value
        return float(value) if name in self._whole_floats else value

    def publisher(self, kind: type[Any], name: str, depth: int = 10) -> Any:
        """A reliable publisher whose quality of service parameters may override."""
        overrides = QoSOverridingOptions.with_default_policies()
        return self.create_publisher(kind, name, depth, qos_overriding_options=overrides)

    def tell(self, problem: Problem, kind: str = "") -> None:
        """Logs a problem, at most every few seconds, and remembers it for the diagnostics."""
        if not self.problems.report(problem, kind):
            return
        # Two calls, because rclpy refuses a second severity from the same line of code.
        if problem.level is Level.ERROR:
            self.get_logger().error(f"{problem.part}: {problem.text}")
        else:
            self.get_logger().warning(f"{problem.part}: {problem.text}")

    def _validate_parameters(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            problem = change_problem(parameter.name, parameter.value, active=self.settled)
            if problem:
                self.tell(Problem("parameters", Level.WARN, problem))
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

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

    @survives
    def _publish_diagnostics(self) -> None:
        # Collecting the values may find problems, so it comes before these are asked for.
        parts = {**self.diagnosed(), "parameters": {}}
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        message.status = [
            status(f"{name}: {part}", self.problems.of(part), values)
            for part, values in parts.items()
        ]
        self._diagnostics.publish(message)
