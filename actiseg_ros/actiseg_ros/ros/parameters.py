"""Parameters of `segment_node`: names, defaults, meaning, ranges and when they may change."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from actiseg_ros.prompts import MAX_DURATION, MAX_OBJECTS

Value = bool | int | float | str


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter.

    Attributes:
        name: Name as in a parameter file.
        default: Default value; its type is the parameter's type.
        description: What it means, with its unit.
        low: Smallest allowed number.
        high: Largest allowed number.
        choices: Allowed strings; empty means any.
        live: Whether it may be changed while the node is active.
        fixed: Whether it can only be given at the start.
    """

    name: str
    default: Value
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    fixed: bool = False

    def problem(self, value: object) -> str | None:
        """Says what is wrong with a value, or None if it may be set."""
        if isinstance(self.default, bool) or isinstance(value, bool):
            accepted = type(value) is type(self.default)
        elif isinstance(self.default, float):
            accepted = isinstance(value, float | int)
        else:
            accepted = isinstance(value, type(self.default))
        if not accepted:
            return f"{self.name}: {value!r} is no {type(self.default).__name__}"
        if self.choices and value not in self.choices:
            return f"{self.name}: {value!r} is none of {', '.join(self.choices)}"
        if self.low is None or self.high is None or not isinstance(value, int | float):
            return None
        if math.isfinite(value) and self.low <= value <= self.high:
            return None
        return f"{self.name}: {value!r} is outside [{self.low:g}, {self.high:g}]"


PROVIDERS: Mapping[str, tuple[str, ...] | None] = {
    "auto": None,
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": (
        "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider",
    ),
}  # fmt: skip
"""ONNX Runtime's execution providers of each value of `provider`."""

SPECS = (
    ParameterSpec(
        "autostart", True, "configure and activate at start, without a lifecycle manager"
    ),
    ParameterSpec("bundle", "", "folder of the model bundle; empty is the embedded default"),
    ParameterSpec(
        "image_transport",
        "raw",
        "`raw` subscribes to `image`, `compressed` to `image/compressed`",
        choices=("raw", "compressed"),
    ),
    ParameterSpec(
        "image_reliability",
        "best_effort",
        "reliability asked of the image publisher; `best_effort` matches every publisher",
        choices=("best_effort", "reliable"),
    ),
    ParameterSpec(
        "nouns_csv", "", "EPIC-KITCHENS noun classes csv that extends the bundle's vocabulary"
    ),
    ParameterSpec(
        "provider",
        "auto",
        "what runs the network: `auto` takes CUDA where it is, else the CPU",
        choices=tuple(PROVIDERS),
    ),
    ParameterSpec("threads", 0, "CPU threads of the network; 0 lets ONNX Runtime choose", 0, 256),
    ParameterSpec(
        "heartbeat_rate",
        10.0,
        "decisions per second without new images, hertz; the offered deadline is twice its period",
        1.0,
        100.0,
        fixed=True,
    ),
    ParameterSpec(
        "max_objects",
        32,
        "longest list of candidate objects that is accepted",
        1,
        MAX_OBJECTS,
        live=True,
    ),
    ParameterSpec("hold_frames", 3, "good, distinct frames in a row before go", 1, 1000, live=True),
    ParameterSpec(
        "image_timeout",
        0.5,
        "largest age of the judged image in seconds, by its stamp and by its arrival; also the "
        "longest gap in a row of good images",
        0.02,
        60.0,
        live=True,
    ),
    ParameterSpec(
        "narration_timeout",
        10.0,
        "seconds that a narration without a duration of its own holds",
        0.1,
        MAX_DURATION,
        live=True,
    ),
    ParameterSpec(
        "frozen_frames",
        5,
        "identical images in a row that count as a frozen camera; so does a picture that does not "
        "change for `image_timeout`",
        2,
        10000,
        live=True,
    ),
    ParameterSpec(
        "allow_still_images",
        False,
        "identical images are no frozen camera (for simulators and still pictures without noise)",
        live=True,
    ),
    ParameterSpec(
        "steady_masks",
        True,
        "carry masks from image to image so that they flicker less; a go needs evidence in each "
        "image by itself, too",
        live=True,
    ),
    ParameterSpec(
        "require_certificate",
        True,
        "go only with limits whose risk was certified at calibration",
        live=True,
    ),
    ParameterSpec(
        "max_risk",
        0.1,
        "largest certified share of wrong goes that the robot accepts",
        0.0001,
        0.9999,
        live=True,
    ),
    ParameterSpec(
        "min_confidence",
        0.9,
        "smallest confidence of the certified risk that the robot accepts",
        0.0001,
        0.9999,
        live=True,
    ),
    ParameterSpec(
        "stamp_source",
        "header",
        "`header` judges an image's age by its stamp, `arrival` by when it came in (for cameras "
        "without stamps or a synchronised clock)",
        choices=("header", "arrival"),
        live=True,
    ),
    ParameterSpec(
        "active_points",
        False,
        "publish the target's points on `~/active_points`, from a depth picture on `depth` that is "
        "registered to the image, and `camera_info`",
    ),
    ParameterSpec(
        "depth_tolerance",
        0.02,
        "largest difference in seconds between the stamps of an image and of its depth picture",
        0.0,
        1.0,
        live=True,
    ),
    ParameterSpec(
        "depth_rectified",
        False,
        "image and depth are rectified: P of `camera_info` holds, not K with the lens' distortion",
        live=True,
    ),
    ParameterSpec(
        "silence_warning",
        3.0,
        "seconds without a publisher or a message on an input before the node says so",
        0.5,
        3600.0,
        live=True,
    ),
)

BY_NAME: Mapping[str, ParameterSpec] = {spec.name: spec for spec in SPECS}


def change_problem(name: str, value: object, *, active: bool) -> str | None:
    """Says why a parameter may not be changed to a value now, or None if it may.

    Args:
        name: Name of the parameter; unknown names are left to others.
        value: Wanted value.
        active: Whether the node is configured or active.
    """
    spec = BY_NAME.get(name)
    if spec is None:
        return None
    if active and not spec.live:
        return f"{name}: cannot be changed now; deactivate and clean up the node first"
    return spec.problem(value)
