"""Signals as clusters, launchers and terminals send them: to many processes, and more than once."""

from __future__ import annotations

import signal
import time

import pytest

from training.engine import stop_signals
from training.engine.stop_signals import STOP_SIGNALS, stop_requests


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_signal_is_a_request_however_often_it_comes(number: signal.Signals) -> None:
    former = signal.getsignal(number)
    with stop_requests() as stop:
        assert not stop.requested
        for _ in range(3):  # from the cluster, from the launcher, from the parent
            signal.raise_signal(number)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        assert stop.number == number
    assert signal.getsignal(number) == former


def test_second_interrupt_acts_as_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop_signals, "_ECHO_SECONDS", 0.05)
    with pytest.raises(KeyboardInterrupt), stop_requests() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        time.sleep(0.1)
        signal.raise_signal(signal.SIGINT)
