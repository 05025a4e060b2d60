"""The page of decisions: what is on it, in which order, and that it works in a browser."""

from __future__ import annotations

import base64
import html
import itertools
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags.rosbag2 import StoragePlugin, Writer
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from actiseg_ros.bags.type_store import typestore
from tests.actiseg_ros.bags import bags
from tests.actiseg_ros.bags.bags import START, STEP
from tests.actiseg_ros.dummy_bundle import recertify, write_dummy_bundle
from tests.training.data.recordings.test_frames import record
from tests.training.deploy.labelled_clips import write_labelled_clips
from tests.training.report.browser import opened
from training.cli import main
from training.review.cards import Card, degree_of, worst_first
from training.review.page import render

NASTY = 'tea "pot" <script>alert(1)</script> & co'


def card(go: bool, degree: float, wrong: bool | None = None, **more: Any) -> Card:
    pixels = np.full((30, 50, 3), 90, np.uint8)
    jpeg = cv2.imencode(".jpg", pixels)[1].tobytes()
    reasons = () if go else ("P_UNCERTAIN",)
    values = {
        "title": "clip / frame", "narration": "cut pepper", "jpeg": jpeg, "go": go,
        "reasons": reasons, "target": "pepper", "objects": ("pepper",), "numbers": {"p": "0.10"},
        "degree": degree, "wrong": wrong,
    }  # fmt: skip
    return Card(**{**values, **more})


def verdicts(page: str) -> list[str]:
    return re.findall(r'data-verdict="([^"]*)"', page)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 9), st.sampled_from([True, False])), max_size=30
    ),
    st.integers(1, 40),
)
def test_worst_come_first_and_the_best_are_left_out(
    values: list[tuple[bool, float, bool]], most: int
) -> None:
    cards, summary = worst_first([card(*value) for value in values], most)
    order = ["wrong go", "refused, and rightly", "refused, though right", "right go"]
    ranks = [(order.index(one.verdict), -one.degree) for one in cards]
    assert ranks == sorted(ranks)
    assert len(cards) == min(most, len(values))
    assert summary.left_out == len(values) - len(cards)
    assert sum(summary.counts.values()) == len(values)


def test_doubt_is_the_largest_share_of_a_limit() -> None:
    assert degree_of([(0.2, 0.4), (0.3, 0.3)]) == 1.0
    assert degree_of([(0.2, math.nan)]) == 0.2
    assert degree_of([(math.nan, 0.3), (0.1, 0.3)]) == math.inf


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("study")
    limits = {
        "active_score": 0.5, "p_uncertainty": 0.3, "n_uncertainty": 0.3, "distance": 1e6,
    }  # fmt: skip
    bundle = write_dummy_bundle(root / "bundle", limits=limits)
    data = write_labelled_clips(root / "data")
    out = root / "page.html"
    options = ["--bundle", bundle, "--data", data, "--split", data / "ImageSets" / "val.json"]
    assert main(["review", *map(str, options), "--out", str(out)]) == 0
    return out


def test_labelled_clips_are_judged_against_the_truth(study: Path) -> None:
    found = verdicts(study.read_text())
    # A fourth of the sixty labels contradict the pictures.
    assert len(found) == 60
    wrong = [name for name in found if name in ("wrong go", "refused, and rightly")]
    assert len(wrong) == 15 and found[: len(wrong)] == wrong


def test_candidates_that_were_not_calibrated_are_told(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, data = shutil.copytree(study.parent / "bundle", tmp_path / "b"), study.parent / "data"
    record = json.loads((bundle / "bundle.json").read_text())
    del record["gate"]["policies"]["target"]
    recertify(record)
    (bundle / "bundle.json").write_text(json.dumps(record))
    options = ["--bundle", bundle, "--data", data, "--split", data / "ImageSets" / "val.json"]
    out = ["--candidates", "target", "--out", str(tmp_path / "page.html")]
    assert main(["review", *map(str, options), *out]) == 2
    assert "calibrated for candidates named, narration, not target" in capsys.readouterr().err


def bag(
    path: Path, count: int = 6, overlay: bool = False, masks: bool = True, camera: bool = True
) -> Path:
    """A run as it would be recorded: camera, masks, objects, decisions, doubt growing."""
    types = typestore()
    known = types.types
    names = {
        **({"/image/compressed": "sensor_msgs/msg/CompressedImage"} if camera else {}),
        "/segment/grasp": "actiseg_msgs/msg/GraspDecision",
        **({"/segment/overlay/compressed": "sensor_msgs/msg/CompressedImage"} if overlay else {}),
        **(
            {
                "/segment/mask": "sensor_msgs/msg/Image",
                "/segment/objects": "actiseg_msgs/msg/ActiveObjectArray",
            }
            if masks
            else {}
        ),
    }
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        topics = {n: writer.add_connection(n, kind, typestore=types) for n, kind in names.items()}
        for index in range(count):
            time_ns = START + index * STEP
            header = bags.header(known, time_ns)
            for name, connection in topics.items():
                message = _message(known, name, header, index)
                raw = types.serialize_cdr(message, connection.msgtype)
                writer.write(connection, time_ns + 10**6, raw)
    return path


def _message(known: Any, name: str, header: Any, index: int) -> Any:
    if name.endswith("compressed"):
        pixels = np.full((48, 64, 3), 250 if "overlay" in name else 60, np.uint8)
        data = cv2.imencode(".jpg", pixels)[1].reshape(-1)
        return known["sensor_msgs/msg/CompressedImage"](header=header, format="jpeg", data=data)
    if name.endswith("mask"):
        labels = np.zeros((48, 64), np.uint8)
        labels[20:40, 10:50] = 1
        return known["sensor_msgs/msg/Image"](
            header=header, height=48, width=64, encoding="mono8", is_bigendian=0, step=64,
            data=labels.reshape(-1),
        )  # fmt: skip
    if name.endswith("objects"):
        entry = known["actiseg_msgs/msg/ActiveObject"](
            name=NASTY, label=1, active_score=0.9, x=10, y=20, width=40, height=20,
            centroid_x=30.0, centroid_y=30.0, area=800, p_uncertainty=0.1, n_uncertainty=0.1,
        )  # fmt: skip
        return known["actiseg_msgs/msg/ActiveObjectArray"](
            header=header, narration="take tea pot", objects=[entry]
        )
    p, go = 0.1 * index, index <= 3
    return known["actiseg_msgs/msg/GraspDecision"](
        header=header, sequence=index + 1, decided=header.stamp, valid_until=header.stamp,
        go=go, target=NASTY, target_label=1, state="GO" if go else "NO_GO",
        reasons=[] if go else ["P_UNCERTAIN"], p_uncertainty=p, n_uncertainty=0.0,
        p_limit=0.3, n_limit=0.3, age=0.1, latency=0.1, model_id="", calibration_id="",
        risk=math.nan, confidence=math.nan,
    )  # fmt: skip


def page_of(tmp_path: Path, *bags_: Path, status: int = 0) -> str:
    out = tmp_path / "run.html"
    assert main(["review", "--bag", *map(str, bags_), "--out", str(out)]) == status
    return out.read_text() if out.exists() else ""


def test_a_run_shows_the_most_doubtful_pictures_first(tmp_path: Path) -> None:
    page = page_of(tmp_path, bag(tmp_path / "bag"))
    assert verdicts(page) == ["no-go", "no-go", "go", "go", "go", "go"]
    shown = re.findall(r"<dt>p-uncertainty</dt><dd>([\d.]+) of 0.30", page)
    assert shown == ["0.50", "0.40", "0.30", "0.20", "0.10", "0.00"]
    assert "take tea pot" in page and "<script>alert" not in page


def test_masks_are_drawn_and_overlays_are_taken_as_they_are(tmp_path: Path) -> None:
    def mean(page: str) -> float:
        coded = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
        raw = np.frombuffer(base64.b64decode(coded[0]), np.uint8)
        return float(cv2.imdecode(raw, cv2.IMREAD_COLOR)[25:35, 15:45].mean())

    plain = mean(page_of(tmp_path, bag(tmp_path / "plain", masks=False)))
    masked = mean(page_of(tmp_path, bag(tmp_path / "masked")))
    overlay = mean(page_of(tmp_path, bag(tmp_path / "overlay", overlay=True)))
    assert plain < masked < overlay and overlay > 200


def test_the_camera_is_found_in_whichever_bag_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = bag(tmp_path / "run", camera=False)
    depth = record(tmp_path / "depth", depth__image="depth")
    left = record(tmp_path / "left", left__image="raw", left__image__compressed="jpeg")
    right = record(tmp_path / "right", right__image="raw")
    for order in itertools.permutations((run, depth, left)):
        assert len(verdicts(page_of(tmp_path, *order))) == 6
    out = tmp_path / "chosen.html"
    for topic in ("left/image", "/right/image"):
        for order in itertools.permutations((run, left, right)):
            options = ["--bag", *map(str, order), "--topic", topic, "--out", str(out)]
            assert main(["review", *options]) == 0
    refused = {
        (run, depth): "holds no camera images",
        (run, left, right): "has images of 2 cameras; choose one with --topic: /left/image (",
        (run, right, shutil.copytree(right, tmp_path / "again")): "again: each has images on "
        "/right/image; leave out all but one",
    }
    for order, told in refused.items():
        page_of(tmp_path / "none", *order, status=2)
        error = capsys.readouterr().err
        assert told in error and str(order[1]) in error


def test_a_bag_without_decisions_says_what_to_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        types = bags.store()
        topic = writer.add_connection("/narration", "std_msgs/msg/String", typestore=types)
        message = types.types["std_msgs/msg/String"]("cut pepper")
        writer.write(topic, START, types.serialize_cdr(message, topic.msgtype))
    page_of(tmp_path, tmp_path / "bag", status=2)
    assert "record /segment/grasp" in capsys.readouterr().err


@pytest.mark.parametrize("options", [[], ["--data", "d"], ["--bag", "b", "--data", "d"]])
def test_what_is_reviewed_must_be_clear(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["review", "--out", str(tmp_path / "x.html"), *options]) == 2
    assert "give --data and --split (with --bundle), or --bag" in capsys.readouterr().err


@pytest.mark.timeout(600)
@pytest.mark.parametrize("width", [1280, 390])
def test_page_in_chromium(tmp_path: Path, width: int) -> None:
    cards, summary = worst_first(
        [
            card(True, 0.5),
            card(False, 2.0),
            card(False, 1.5, reasons=("P_UNCERTAIN", "N_UNCERTAIN"), objects=(NASTY, "pepper")),
        ],
        10,
    )
    path = tmp_path / "review.html"
    path.write_text(render("A review", {"bags": NASTY}, cards, summary))
    with opened(path, width) as browser:
        scrolled, inner = browser.execute_script(
            "return [document.scrollingElement.scrollWidth, window.innerWidth]"
        )
        assert inner == width and scrolled <= inner
        assert browser.execute_script(
            "return [...document.images].every(i => i.complete && i.naturalWidth)"
        )

        def visible() -> int:
            shown = [c for c in browser.find_elements(By.CLASS_NAME, "card") if c.is_displayed()]
            told = browser.find_element(By.ID, "count").text
            assert told == f"{len(shown)} shown"
            return len(shown)

        assert visible() == 3
        Select(browser.find_element(By.ID, "reason")).select_by_value("N_UNCERTAIN")
        assert visible() == 1
        browser.find_element(By.CSS_SELECTOR, "button[type=reset]").click()
        Select(browser.find_element(By.ID, "object")).select_by_value(NASTY)
        assert visible() == 1
        Select(browser.find_element(By.ID, "object")).select_by_value("")
        Select(browser.find_element(By.ID, "verdict")).select_by_value("no-go")
        assert visible() == 2
        assert browser.get_log("browser") == []
        asked = [
            message["params"]["request"]["url"]
            for entry in browser.get_log("performance")
            for message in [json.loads(entry["message"])["message"]]
            if message["method"] == "Network.requestWillBeSent"
        ]
        assert all(re.match(r"(file|data):", url) for url in asked)
    assert html.unescape(path.read_text()).count("alert(1)") > 0
