"""A model slower than the camera: frames are dropped, the heartbeat is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.actiseg_ros.dummy_bundle import rehash, write_dummy_bundle
from tests.ros.harness import Probe, raw, running, scene

NAMESPACE = "/slow"


def burden(graph_file: Path, size: int = 1500, products: int = 12) -> None:
    """Adds matrix products to an image encoder that change nothing but its duration."""
    model = onnx.load(graph_file)
    nodes = [
        helper.make_node("ReduceMean", ["frames"], ["_mean"], keepdims=0),
        helper.make_node("Expand", ["_mean", "_size"], ["_m0"]),
    ]
    for step in range(products):
        nodes.append(helper.make_node("MatMul", [f"_m{step}", "_m0"], [f"_p{step}"]))
        # Scaled, so that the products stay finite.
        nodes.append(helper.make_node("Mul", [f"_p{step}", "_scale"], [f"_m{step + 1}"]))
    nodes += [
        helper.make_node("ReduceMean", [f"_m{products}"], ["_end"], keepdims=0),
        helper.make_node("Mul", ["_end", "_zero"], ["_nothing"]),
        helper.make_node("Add", ["_light", "_nothing"], ["stride16"]),
    ]
    for node in model.graph.node:
        if node.output[0] == "stride16":
            node.output[0] = "_light"
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(
        [
            numpy_helper.from_array(np.int64([size, size]), "_size"),
            numpy_helper.from_array(np.float32(1 / size), "_scale"),
            numpy_helper.from_array(np.float32(0), "_zero"),
        ]
    )
    onnx.checker.check_model(model)
    onnx.save(model, graph_file)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    folder = write_dummy_bundle(tmp_path_factory.mktemp("slow"))
    burden(folder / "image_encoder.onnx")
    rehash(folder)
    log = tmp_path_factory.mktemp("log") / "segment.log"
    # 80 GFLOP a frame and 20 heartbeats a second: a run of the model spans several heartbeats on
    # any core of today, so that the counts below tell a blocked timer from a quick machine.
    with running(
        *("segment_node", NAMESPACE, log),
        bundle=folder,
        threads=1,
        image_timeout=30.0,
        heartbeat_rate=20.0,
    ) as process:
        probe = Probe(NAMESPACE, outputs=("mask", "grasp", "go"))
        probe.matched()
        probe.narrate("cut tomato")
        # Images may overtake a narration, and cost no run of the model without one.
        probe.next("grasp", lambda m: "NO_NARRATION" not in m.reasons)
        yield probe
        probe.close()
        assert process.popen.poll() is None, f"the node died:\n{process.log}"


def test_the_heartbeat_keeps_its_rate_and_only_new_frames_are_judged(probe: Probe) -> None:
    sent: dict[tuple[int, int], float] = {}

    def feed() -> None:
        message = probe.stamp(raw(scene()))
        sent[message.header.stamp.sec, message.header.stamp.nanosec] = time.monotonic()
        probe.images.publish(message)

    probe.next("mask", feed=feed, period=0.02)
    masks, beats = probe.count("mask"), probe.count("go")
    while probe.count("mask") < masks + 4:
        probe.next("go", feed=feed, period=0.02)
    judged, heard = probe.received["mask"][masks:], probe.received["go"][beats:]
    runs = np.diff([when for when, _ in judged])
    assert len(judged) < len(sent) / 2, "the model was meant to be slower than the camera"
    # Each judged image brings one decision of its own; the others are the heartbeat.
    assert len(heard) - len(judged) > len(judged), "the heartbeat waited for the model"
    # A queue of frames would make the results ever older; one slot keeps them one run behind.
    ages = [when - sent[m.header.stamp.sec, m.header.stamp.nanosec] for when, m in judged]
    assert np.median(ages) < 3 * runs.max()
    stamps = [(m.header.stamp.sec, m.header.stamp.nanosec) for _, m in judged]
    assert stamps == sorted(stamps)
    assert int(probe.values("image")["dropped"]) > 0


def test_an_uncalibrated_bundle_never_says_go(probe: Probe) -> None:
    start = probe.count("grasp")
    decision = probe.next(
        "grasp",
        lambda m: "NOT_CALIBRATED" in m.reasons and m.target == "tomato",
        feed=lambda: probe.images.publish(probe.stamp(raw(scene()))),
    )
    assert np.isnan(decision.p_limit) and np.isnan(decision.n_limit)
    assert not any(m.go for m in probe.since("grasp", start))
    assert probe.trouble("gate", "not calibrated")
