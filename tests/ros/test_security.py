"""The SROS 2 policy gives what the nodes use, and nothing else. Enclaves need another Fast DDS."""

from __future__ import annotations

import contextlib
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from rclpy.node import NodeNameNonExistentError

from tests.ros.harness import REPOSITORY, Probe, eventually, running

POLICY = REPOSITORY / "actiseg_ros" / "config" / "segment.policy.xml"
OPTIONAL = {"/bond"}
"""Only with a lifecycle manager's message package."""


def allowed(node: str) -> dict[str, set[str]]:
    """Full names by ``subscribe``, ``publish`` and ``reply``, as SROS 2 resolves them."""
    (profile,) = ElementTree.parse(POLICY).getroot().iterfind(f".//profile[@node='{node}']")
    assert profile.get("ns") == "/"
    found: dict[str, set[str]] = {"subscribe": set(), "publish": set(), "reply": set()}
    for group in profile:
        for kind, rule in group.items():
            assert rule == "ALLOW"
            for entry in group:
                name = str(entry.text)
                prefix = f"/{node}" if name.startswith("~") else "" if name[0] == "/" else "/"
                found[kind].add(prefix + name.lstrip("~"))
    return found


def used(probe: Probe, node: str) -> dict[str, set[str]]:
    """What the ROS graph shows of a node."""
    space = probe.node.get_namespace()
    ask = {
        "subscribe": probe.node.get_subscriber_names_and_types_by_node,
        "publish": probe.node.get_publisher_names_and_types_by_node,
        "reply": probe.node.get_service_names_and_types_by_node,
    }
    return {
        kind: {name.removeprefix(space) for name, _ in question(node, space)}
        for kind, question in ask.items()
    }


def differs(probe: Probe, node: str, policy: dict[str, set[str]]) -> dict[str, set[str]]:
    """Names that only the policy or only the node has, once they agree or after ten seconds."""
    found: dict[str, set[str]] = {}

    def same() -> bool:
        try:
            now = used(probe, node)
        except NodeNameNonExistentError:  # not discovered yet
            return False
        found.update({kind: (now[kind] ^ policy[kind]) - OPTIONAL for kind in policy})
        return not any(found.values())

    with contextlib.suppress(AssertionError):
        eventually(same, "the policy's rights", 10)
    return {kind: names for kind, names in found.items() if names}


def test_nodes_may_do_exactly_what_they_do(bundle: Path, tmp_path: Path) -> None:
    values = {"active_points": True, "use_sim_time": True}
    policy = allowed("segment")
    policy["subscribe"].remove("/image/compressed")  # only with `image_transport` compressed
    with (
        running("segment_node", "/secure", tmp_path / "log", bundle=bundle, **values),
        running("consumer_node", "/secure", tmp_path / "consumer", use_sim_time=True),
    ):
        probe = Probe("/secure", outputs=("grasp",))
        try:
            probe.next("grasp", lambda m: "NOT_ACTIVE" not in m.reasons)
            assert not differs(probe, "segment", policy)
            assert not differs(probe, "consumer", allowed("consumer"))
        finally:
            probe.close()
