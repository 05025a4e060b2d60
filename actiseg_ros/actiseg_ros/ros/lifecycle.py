"""Transitions that fail with a reason: what rclpy swallows is reported here."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lifecycle_msgs.srv import ChangeState
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from actiseg_ros.ros.diagnostics.reporter import Reporter

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR


@dataclass(frozen=True)
class Failed:
    """Why the last transition failed, and the part of the node that it concerns."""

    part: str
    text: str


class Reporting(Protocol):
    """A node with a reporter, which remembers what its last transition failed of."""

    reporter: Reporter
    failed: Failed | None


Owner = TypeVar("Owner", bound=Reporting)
Transition = Callable[[Owner, LifecycleState], TransitionCallbackReturn]


def transition(
    name: str, part: str = "lifecycle", on_failure: TransitionCallbackReturn = ERROR
) -> Callable[..., Any]:
    """Reports what a transition raises; rclpy would turn it into an error without a word.

    Args:
        name: What could not be done, for ``cannot NAME: cause``.
        part: Part of the node that its failure concerns.
        on_failure: Returned then: FAILURE stays in the state before, ERROR cleans up.
    """

    def decorate(method: Transition[Owner]) -> Transition[Owner]:
        @functools.wraps(method)
        def reported(self: Owner, state: LifecycleState) -> TransitionCallbackReturn:
            try:
                done = method(self, state)
            except Exception as error:
                kind = (
                    "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
                )
                self.failed = Failed(part, f"cannot {name}: {kind}{error}")
                self.reporter.error(self.failed.part, self.failed.text, "transition")
                return on_failure
            self.failed = None
            self.reporter.clear(part, "transition")
            return done

        return reported

    return decorate


def every(*steps: Callable[[], object]) -> None:
    """Takes all steps, whichever of them fail, and raises the first error afterwards.

    What is to be let go of must not stay because something before it could not.
    """
    first: Exception | None = None
    for step in steps:
        try:
            step()
        except Exception as error:
            first = first or error
    if first is not None:
        raise first


def answer_impossible_transitions(node: LifecycleNode) -> None:
    """Answers a request for a transition that the state does not have with a failure.

    rclpy lets it escape as an exception instead: the caller then waits for ever.
    """
    change_state = node._service_change_state.callback

    def answered(request: ChangeState.Request, response: ChangeState.Response) -> Any:
        try:
            return change_state(request, response)
        except RuntimeError as error:
            node.get_logger().warning(f"no such transition from this state: {error}")
            response.success = False
            return response

    node._service_change_state.callback = answered
