"""The gate that a node holds: the state machine, its current state, a lock and a clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from actiseg_ros.gate.calibration import Calibration
from actiseg_ros.gate.events import ClockRead, Event, Narrated, SettingsChanged, Time
from actiseg_ros.gate.state import Decision, GateOptions, GateState
from actiseg_ros.gate.state_machine import StateMachine


class Gate:
    """Takes events from any thread and answers at any time.

    Args:
        read_clock: Gives the present; it is read under the lock, so that events are in order of
            their times.
        options: Settings of the robot.
    """

    def __init__(self, read_clock: Callable[[], Time], options: GateOptions | None = None) -> None:
        self._read_clock = read_clock
        self._machine = StateMachine(None, options or GateOptions())
        self._state = GateState()
        self._lock = threading.Lock()

    @property
    def calibration(self) -> Calibration | None:
        """The limits in use, None if there are none."""
        return self._machine.calibration

    @property
    def options(self) -> GateOptions:
        """Settings of the robot."""
        return self._machine.options

    def set_calibration(self, calibration: Calibration | None) -> None:
        """Replaces the calibration; None makes go impossible."""
        with self._lock:
            self._machine = replace(self._machine, calibration=calibration)
        self.handle(SettingsChanged())

    def set_options(self, options: GateOptions) -> None:
        """Replaces the options; they hold from the next decision on."""
        if options == self.options:
            return
        with self._lock:
            self._machine = replace(self._machine, options=options)
        self.handle(SettingsChanged())

    @property
    def state(self) -> GateState:
        """The state after the last event."""
        return self._state

    def handle(self, event: Event) -> GateState:
        """Takes an event that happens now; returns the state after it."""
        with self._lock:
            self._state = self._machine.step(self._state, event, self._read_clock())
            return self._state

    def continues(self, event: Narrated) -> bool:
        """Whether what is narrated now only goes on (`StateMachine.continues`)."""
        with self._lock:
            return self._machine.continues(self._state, event, self._read_clock())

    def outdated(self, event: Narrated) -> bool:
        """Whether something newer was heard (`StateMachine.outdated`)."""
        self.handle(ClockRead())  # what was said before time went back is forgotten
        with self._lock:
            return self._machine.outdated(self._state, event, self._read_clock())

    def decide(self) -> Decision:
        """The answer of this moment; asking changes nothing."""
        with self._lock:
            return self._machine.decide(self._state, self._read_clock())

    def snapshot(self) -> tuple[StateMachine, GateState, Time]:
        """Machine, state and time that fit each other, for explanations."""
        with self._lock:
            return self._machine, self._state, self._read_clock()
