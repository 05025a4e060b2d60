"""The parameters of a running node: declared, checked, and compared with what was passed to it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.node import Node
from rclpy.parameter import Parameter

from actiseg_ros.ros.arguments import did_you_mean, means_node
from actiseg_ros.ros.diagnostics.reporter import Reporter
from actiseg_ros.ros.messages import descriptor
from actiseg_ros.ros.parameters import ParameterSpec, change_problem

_QOS = "qos_overrides."


class NodeParameters:
    """Declares parameters on a node and guards their changes.

    Args:
        node: Node that gets the parameters.
        specs: The parameters.
        reporter: Hears of refused changes.
        is_configured: Whether only parameters that may change at any time may change now.
        changed: Called after changes; all values are valid then.

    Raises:
        ValueError: A parameter was given an impossible value.
    """

    def __init__(
        self,
        node: Node,
        specs: Iterable[ParameterSpec],
        reporter: Reporter,
        is_configured: Callable[[], bool],
        changed: Callable[[], None],
    ) -> None:
        self._node, self._reporter, self._is_configured = node, reporter, is_configured
        self._floats = set()
        for spec in specs:
            try:
                value = node.declare_parameter(spec.name, spec.default, descriptor(spec)).value
            except ParameterException as error:
                raise ValueError(f"parameter `{spec.name}`: {error}") from error
            if problem := spec.problem(value):
                raise ValueError(problem)
            if isinstance(spec.default, float):
                self._floats.add(spec.name)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(lambda parameters: changed())

    def __getitem__(self, name: str) -> Any:
        """Value of a parameter, in the type of its default."""
        value = self._node.get_parameter(name).value
        return float(value) if name in self._floats else value

    def _validate(self, parameters: list[Parameter]) -> SetParametersResult:
        for parameter in parameters:
            problem = change_problem(parameter.name, parameter.value, active=self._is_configured())
            if problem:
                self._reporter.warn("parameters", problem)
                return SetParametersResult(successful=False, reason=problem)
        return SetParametersResult(successful=True)

    def qos_overrides(self, topic: str) -> dict[str, Any]:
        """Overrides of a topic's quality of service that were passed to the node, by name."""
        return {
            name: value
            for name, value in self._passed().items()
            if name.startswith(f"{_QOS}{topic}.")
        }

    def _passed(self) -> dict[str, Any]:
        return {name: parameter.value for name, parameter in _overrides(self._node).items()}


def untaken(node: Node, *, qos: bool) -> list[str]:
    """Overrides that no parameter of a node took, each with the names that it resembles.

    Args:
        node: Node that has declared its parameters.
        qos: Whether to look at ``qos_overrides``, whose parameters exist only once the topics
            are subscribed to, or at all others.
    """
    known = [name for name in node._parameters if name.startswith(_QOS) == qos]
    return [
        f"parameter `{name}` does not exist and was ignored{did_you_mean(name, known)}"
        for name in _overrides(node)
        if name.startswith(_QOS) == qos and not node.has_parameter(name)
    ]


def _overrides(node: Node) -> dict[str, Parameter]:
    # rclpy has no public way to the overrides that a node was started with.
    overrides: dict[str, Parameter] = node._parameter_overrides
    return overrides


def unmatched(arguments: Sequence[str], node_name: str) -> list[str]:
    """Parameters on a command line that are for other nodes alone, and so for none.

    Args:
        arguments: Command line of the process, which has one node.
        node_name: Fully qualified name of the node, e.g. ``/kitchen/segment``.

    Returns:
        A line for each file, with its sections, and for each single parameter.
    """
    told = []
    for flag, value in itertools.pairwise(arguments):
        if flag in ("-p", "--param"):
            name, colon, parameter = value.partition(":=")[0].rpartition(":")
            if colon and not means_node(name, node_name):
                told.append(
                    f"parameter `{parameter}` was given for the node {name}, but this one is "
                    f"{node_name}; give it without a node's name"
                )
        if flag != "--params-file":
            continue
        try:
            content = yaml.safe_load(Path(value).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # rcl itself refuses the file, and says why
        names = _sections(content)
        if names and not any(means_node(name, node_name) for name in names):
            told.append(
                f"parameter file {value} has no section for this node, {node_name}, only for "
                f"{', '.join(names)}; rename the section, or use /**"
            )
    return told


def warn_of_untaken(node: Node, arguments: Sequence[str]) -> None:
    """Logs the parameters that were given to a node and that nobody took.

    Args:
        node: Node that has declared its parameters.
        arguments: Command line of the process.
    """
    for text in (*untaken(node, qos=False), *unmatched(arguments, node.get_fully_qualified_name())):
        node.get_logger().warning(text)


def _sections(content: object, prefix: str = "") -> list[str]:
    """Names of the nodes that a parameter file speaks of; namespaces may be nested."""
    if not isinstance(content, dict):
        return []
    found = []
    for key, value in content.items():
        name = f"{prefix}/{str(key).strip('/')}"
        if isinstance(value, dict) and "ros__parameters" in value:
            found.append(name)
        else:
            found += _sections(value, name)
    return found
