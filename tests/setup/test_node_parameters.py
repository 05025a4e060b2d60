"""The parameter file that users copy says what the node does."""

from pathlib import Path

import yaml

from actiseg_ros.ros.parameters import SPECS


def test_parameter_file_lists_every_default(repository: Path) -> None:
    text = (repository / "actiseg_ros" / "config" / "segment.yaml").read_text()
    written = yaml.safe_load(text)["/**/segment"]["ros__parameters"]
    assert written == {spec.name: spec.default for spec in SPECS}


def test_parameter_file_has_the_types_that_ros_infers(repository: Path) -> None:
    text = (repository / "actiseg_ros" / "config" / "segment.yaml").read_text()
    written = yaml.safe_load(text)["/**/segment"]["ros__parameters"]
    for spec in SPECS:
        assert type(written[spec.name]) is type(spec.default), spec.name
