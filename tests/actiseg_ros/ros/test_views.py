"""Layouts of RViz and Foxglove: their properties exist, their topics are the node's."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from actiseg_ros.ros.views import in_namespace, write_layout

OUTPUTS = {"mask", "objects", "uncertainty", "overlay/compressed", "grasp", "go"}
# rviz_default_plugins/Image of RViz 2 (Jazzy): image_display.cpp, ros_topic_display.hpp and
# qos_profile_property.cpp.
IMAGE = {"Class", "Name", "Enabled", "Value", "Topic", "Normalize Range", "Min Value", "Max Value",
         "Median window"}  # fmt: skip
TOPIC = {"Value", "Depth", "History Policy", "Reliability Policy", "Durability Policy",
         "Filter size"}  # fmt: skip


@pytest.fixture
def config(repository: Path) -> Path:
    return repository / "actiseg_ros" / "config"


def topics_of(content: Any) -> set[str]:
    """All names of topics in a layout: texts that begin with a slash."""
    if isinstance(content, dict):
        return set().union(*map(topics_of, content.values()), set())
    if isinstance(content, list):
        return set().union(*map(topics_of, content), set())
    return {content} if isinstance(content, str) and content.startswith("/") else set()


def loaded(path: Path) -> Any:
    text = path.read_text()
    return json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)


@pytest.mark.parametrize("name", ["segment.rviz", "segment.foxglove.json"])
@pytest.mark.parametrize(
    ("namespace", "begin"),
    [("", ""), ("/", ""), ("robot1", "/robot1"), ("/a/b/", "/a/b"), ("segment", "/segment")],
)
def test_topics_follow_the_namespace(
    config: Path, tmp_path: Path, name: str, namespace: str, begin: str
) -> None:
    written = loaded(write_layout(config / name, tmp_path, namespace))
    found = topics_of(written) - {"/diagnostics"}
    assert found
    for topic in found:
        output = topic.removeprefix(f"{begin}/segment/").partition(".")[0]
        assert output in OUTPUTS, topic


def test_other_text_stays(config: Path) -> None:
    assert in_namespace("/my/segment/mask a/segment/b ~/segment/c", "x") == (
        "/my/segment/mask a/segment/b ~/segment/c"
    )
    text = (config / "segment.rviz").read_text()
    assert in_namespace(text, "") == text


def test_rviz_knows_every_property(config: Path) -> None:
    displays = loaded(config / "segment.rviz")["Visualization Manager"]["Displays"]
    shown = set()
    for display in displays:
        assert display["Class"] == "rviz_default_plugins/Image"
        assert set(display) <= IMAGE and set(display["Topic"]) <= TOPIC
        assert display["Enabled"] == display["Value"]
        if display["Enabled"]:
            shown.add(display["Topic"]["Value"])
    assert shown == {"/segment/overlay/compressed", "/segment/mask"}


def test_foxglove_shows_each_panel_of_its_layout(config: Path) -> None:
    layout = loaded(config / "segment.foxglove.json")
    named = set(re.findall(r'"(\w+!\w+)"', json.dumps(layout["layout"])))
    assert named == set(layout["configById"])
