"""The bond with a lifecycle manager: alive from activation to deactivation, and no longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lifecycle_msgs.msg import Transition

from tests.ros.harness import Probe, eventually, running

bond = pytest.importorskip("bond.msg", reason="the package bond comes with a lifecycle manager")


def test_the_bond_lives_as_long_as_the_node_is_active(bundle: Path, tmp_path: Path) -> None:
    with running(
        "segment_node", "/bound", tmp_path / "log", bundle=bundle, autostart=False
    ) as node:
        probe = Probe("/bound", outputs=("grasp",))
        heard: list[Any] = []
        probe.node.create_subscription(bond.Status, "bond", heard.append, 10)
        manager = probe.node.create_publisher(bond.Status, "bond", 10)
        try:
            probe.decision("NOT_ACTIVE")
            for _ in range(2):
                assert probe.transition(Transition.TRANSITION_CONFIGURE)
                assert not any(status.active for status in heard[-1:])
                assert probe.transition(Transition.TRANSITION_ACTIVATE)
                start = len(heard)
                eventually(lambda start=start: len(heard) >= start + 3, "three signs of life")
                first = heard[-1]
                assert first.id == "segment" and first.active
                # The manager lets go, and is answered.
                manager.publish(bond.Status(id="segment", instance_id="manager", active=False))
                eventually(lambda: not heard[-1].active and heard[-1].instance_id != "manager", "")
                assert probe.transition(Transition.TRANSITION_DEACTIVATE)
                eventually(lambda: not heard[-1].active, "the end of the bond")
                assert heard[-1].instance_id == first.instance_id
                assert probe.transition(Transition.TRANSITION_CLEANUP)
            assert node.popen.poll() is None
        finally:
            probe.close()
