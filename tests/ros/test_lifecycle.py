"""Lifecycle, model bundles that cannot be used, and the end of the process."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition

from tests.actiseg_ros.dummy_bundle import write_dummy_bundle
from tests.ros.harness import Probe, Process, eventually, raw, running, scene

NAMESPACE = "/managed"


@pytest.fixture(scope="module")
def process(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    log = tmp_path_factory.mktemp("log") / "segment.log"
    with running(
        "segment_node", NAMESPACE, log, bundle=bundle, autostart=False, image_timeout=5.0
    ) as node:
        yield node
        assert node.popen.poll() is None, f"the node died:\n{node.log}"


@pytest.fixture(scope="module")
def probe(process: Process) -> Iterator[Probe]:
    probe = Probe(NAMESPACE, outputs=("mask", "grasp", "go"))
    yield probe
    probe.close()


def _go(probe: Probe) -> None:
    probe.matched()
    probe.narrate("cut tomato")
    probe.decision(feed=lambda: probe.images.publish(probe.stamp(raw(scene()))))


def test_all_transitions_and_no_go_unless_active(probe: Probe) -> None:
    assert probe.state() == "unconfigured"
    probe.decision("NOT_ACTIVE")
    assert not probe.transition(Transition.TRANSITION_ACTIVATE)
    assert not probe.set_objects(["tomato"]).success

    assert probe.transition(Transition.TRANSITION_CONFIGURE)
    assert probe.state() == "inactive"
    probe.decision("NOT_ACTIVE")
    assert probe.images.get_subscription_count() == 0

    for _ in range(2):
        assert probe.transition(Transition.TRANSITION_ACTIVATE)
        # Nothing from before the activation counts.
        probe.decision("NO_IMAGE", "NO_NARRATION")
        _go(probe)
        assert probe.transition(Transition.TRANSITION_DEACTIVATE)
        probe.decision("NOT_ACTIVE")
        assert not probe.next("go").data

    assert probe.transition(Transition.TRANSITION_CLEANUP)
    assert probe.state() == "unconfigured"


def _missing(folder: Path) -> None:
    shutil.rmtree(folder)


def _cut(folder: Path) -> None:
    graph = folder / "prompt_decoder.onnx"
    graph.write_bytes(graph.read_bytes()[:200])


def _altered(folder: Path) -> None:
    graph = folder / "image_encoder.onnx"
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.write_bytes(bytes(data))


def _half_json(folder: Path) -> None:
    record = folder / "bundle.json"
    record.write_text(record.read_text()[:100])


def _unlisted_graph(folder: Path) -> None:
    record = json.loads((folder / "bundle.json").read_text())
    del record["files"]["text_encoder.onnx"]
    (folder / "bundle.json").write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_missing, "no such bundle folder"),
        (_cut, "prompt_decoder.onnx"),
        (_altered, "image_encoder.onnx: altered"),
        (_half_json, "not valid JSON"),
        (_unlisted_graph, "text_encoder.onnx"),
    ],
)
def test_a_bad_bundle_leaves_the_node_unconfigured_alive_and_saying_why(
    probe: Probe,
    process: Process,
    bundle: Path,
    tmp_path: Path,
    spoil: Callable[[Path], None],
    told: str,
) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(bundle, bad)
    spoil(bad)
    assert probe.set_parameter("bundle", str(bad)).successful
    assert not probe.transition(Transition.TRANSITION_CONFIGURE)
    assert probe.state() == "unconfigured"
    assert told in probe.trouble("model", "cannot configure")
    probe.decision("NOT_ACTIVE")
    assert "cannot configure" in process.log

    assert probe.set_parameter("bundle", str(bundle)).successful
    assert probe.transition(Transition.TRANSITION_CONFIGURE)
    assert probe.transition(Transition.TRANSITION_CLEANUP)


def test_a_node_that_cannot_start_says_no_go_until_it_is_told_otherwise(
    bundle: Path, tmp_path: Path
) -> None:
    log = tmp_path / "segment.log"
    with running("segment_node", "/lost", log, bundle=tmp_path / "nowhere") as process:
        probe = Probe("/lost", outputs=("grasp", "go"))
        try:
            probe.decision("NOT_ACTIVE")
            assert not probe.next("go").data
            probe.trouble("model", "nowhere")
            time.sleep(6.0)  # longer than a problem of the moment is shown
            probe.trouble("model", "nowhere")
            assert not probe.transition(Transition.TRANSITION_CONFIGURE)
            eventually(lambda: process.log.count("cannot configure") == 2, "the second log line")
            assert probe.set_parameter("bundle", str(bundle)).successful
            assert probe.transition(Transition.TRANSITION_CONFIGURE)
            assert probe.transition(Transition.TRANSITION_ACTIVATE)
            _go(probe)

            start = probe.count("go")
            assert process.stop(signal.SIGTERM) == 0
            eventually(
                lambda: probe.since("grasp", 0)[-1].reasons == ["NOT_ACTIVE"], "the last no-go"
            )
            assert not probe.since("go", start)[-1].data
        finally:
            probe.close()


def test_why_a_calibration_cannot_be_used_is_told_as_long_as_it_is_so(tmp_path: Path) -> None:
    limits = {"active_score": -1.0, "p_uncertainty": 0.5, "n_uncertainty": 0.5, "distance": 1.0}
    bundle = write_dummy_bundle(tmp_path / "bundle", limits=limits)
    with running("segment_node", "/limitless", tmp_path / "log", bundle=bundle):
        probe = Probe("/limitless", outputs=("grasp",))
        try:
            for _ in range(8):  # seconds, longer than a problem of the moment is shown
                probe.trouble("gate", "limit active_score is -1")
            assert "NOT_CALIBRATED" in probe.next("grasp").reasons
        finally:
            probe.close()


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("image_transport", "theora", "theora"),
        ("hold_frames", 0, "hold_frames"),
        ("image_timeout", -1.0, "image_timeout"),
    ],
)
def test_an_impossible_parameter_ends_the_start_with_a_clear_line(
    tmp_path: Path, name: str, value: object, told: str
) -> None:
    with running("segment_node", "/wrong", tmp_path / "log", **{name: value}) as process:
        assert process.popen.wait(60) == 2
    assert told in process.log and "Traceback" not in process.log
