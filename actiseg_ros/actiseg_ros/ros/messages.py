"""From the run-time results to ROS messages.

Every scalar is converted to the plain Python type of its field: in Jazzy a NumPy bool or a wrong
number type is not refused but published as another value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from actiseg_msgs.msg import ActiveObject, ActiveObjectArray, GraspDecision
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from actiseg_ros.bundle import Bundle
from actiseg_ros.gate.events import Frame
from actiseg_ros.gate.features import MaskUncertainty, mask_uncertainties
from actiseg_ros.gate.state import Decision
from actiseg_ros.ros.diagnostics.problems import Level, Problem
from actiseg_ros.ros.parameters import ParameterSpec
from actiseg_ros.vision.compressed import (
    claimed_size,
    compressed_content,
    decode_compressed,
    encode_jpeg,
)
from actiseg_ros.vision.depth import Camera, Points, camera
from actiseg_ros.vision.images import Rgb, content_digest, decode_raw, raw_content, to_bytes
from actiseg_ros.vision.label_map import extent
from actiseg_ros.vision.segmenter import Segmentation

_NAN = float("nan")


@dataclass(frozen=True)
class Identity:
    """Who decides.

    Attributes:
        model_id: SHA-256 (hex) of the model, empty without one.
        calibration_id: SHA-256 (hex) of the calibration, empty without one.
    """

    model_id: str = ""
    calibration_id: str = ""


def to_nanoseconds(stamp: object) -> int:
    """Nanoseconds of a `builtin_interfaces/Time` or ``Duration``."""
    return int(stamp.sec) * 10**9 + int(stamp.nanosec)  # type: ignore[attr-defined]


def decode_image(message: Image | CompressedImage) -> Rgb:
    """Decodes a received image.

    Raises:
        ImageError: Its fields contradict each other, or its data are damaged.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data)
    return decode_raw(
        message.encoding,
        message.height,
        message.width,
        message.step,
        message.is_bigendian,
        message.data,
    )


def image_size(message: Image | CompressedImage) -> tuple[int, int]:
    """Height and width that an image claims, before it is decoded; 0 and 0 if it does not say."""
    if isinstance(message, CompressedImage):
        return claimed_size(message.data)
    return int(message.height), int(message.width)


def image_digest(message: Image | CompressedImage) -> int:
    """Number that is the same for two images of one picture, whatever else their messages hold."""
    if isinstance(message, CompressedImage):
        return content_digest(*compressed_content(message.data))
    height, width = image_size(message)
    return content_digest(
        raw_content(message.encoding, height, width, int(message.step), message.data)
    )


def mono8(header: Header, pixels: npt.NDArray[np.uint8]) -> Image:
    """Fills an image message.

    Args:
        header: Header of the input image.
        pixels: uint8 [H, W].
    """
    message = Image()
    message.header = header
    message.height, message.width = (int(side) for side in pixels.shape)
    message.encoding = "mono8"
    message.is_bigendian = 0
    message.step = message.width
    message.data = to_bytes(pixels)
    return message


def jpeg(header: Header, rgb: npt.NDArray[np.uint8]) -> CompressedImage:
    """Fills a compressed image message from uint8 [H, W, 3], RGB."""
    message = CompressedImage()
    message.header = header
    message.format = "jpeg"
    message.data = encode_jpeg(rgb)
    return message


def camera_of(message: CameraInfo) -> Camera:
    """Reads the geometry of a camera.

    Raises:
        DepthError: It is not calibrated.
    """
    roi = message.roi
    return camera(
        str(message.header.frame_id),
        (int(message.height), int(message.width)),
        message.k,
        message.p,
        str(message.distortion_model),
        message.d,
        (int(message.binning_y), int(message.binning_x)),
        (int(roi.y_offset), int(roi.x_offset), int(roi.height), int(roi.width)),
    )


def point_cloud(header: Header, points: Points) -> PointCloud2:
    """Fills an unordered cloud.

    Args:
        header: Header of the image that the points belong to.
        points: float32 [N, 3], metres in the header's frame.
    """
    message = PointCloud2(height=1, width=len(points), is_bigendian=False, is_dense=True)
    message.header = header
    message.fields = [
        PointField(name=name, offset=4 * index, datatype=PointField.FLOAT32, count=1)
        for index, name in enumerate("xyz")
    ]
    message.point_step, message.row_step = 12, 12 * len(points)
    message.data = to_bytes(np.ascontiguousarray(points, "<f4").view(np.uint8))
    return message


def uncertainty_image(
    uncertain: npt.NDArray[np.bool_] | None, size: tuple[int, int]
) -> npt.NDArray[np.uint8]:
    """Makes a picture of uncertain pixels.

    Args:
        uncertain: bool [h, w] on the mask grid, see `uncertain_map`; None if none are known.
        size: Height and width of the picture.

    Returns:
        uint8 [H, W]: 255 where uncertain, else 0.
    """
    if uncertain is None:
        return np.zeros(size, np.uint8)
    grid = uncertain.astype(np.uint8) * 255
    return np.asarray(cv2.resize(grid, size[::-1], interpolation=cv2.INTER_NEAREST), np.uint8)


def objects_message(
    header: Header, segmentation: Segmentation | None, bundle: Bundle
) -> ActiveObjectArray:
    """Describes every candidate; without a segmentation the list is empty."""
    message = ActiveObjectArray()
    message.header = header
    if segmentation is None:
        return message
    message.narration = str(segmentation.prompt.narration)
    message.objects = [
        _object(segmentation, index, uncertainty)
        for index, uncertainty in enumerate(mask_uncertainties(segmentation, bundle))
    ]
    return message


def _object(segmentation: Segmentation, index: int, uncertainty: MaskUncertainty) -> ActiveObject:
    message = ActiveObject()
    message.name = str(segmentation.prompt.names[index])
    message.label = int(index + 1)
    message.active_score = float(segmentation.active[index])
    message.p_uncertainty = float(uncertainty.p_uncertainty)
    message.n_uncertainty = float(uncertainty.n_uncertainty)
    found = extent(segmentation.labels, index + 1)
    if found is None:
        message.centroid_x = message.centroid_y = _NAN
        return message
    message.area, message.x, message.y = found.area, found.x, found.y
    message.width, message.height = found.width, found.height
    message.centroid_x, message.centroid_y = found.centroid
    return message


def time_message(nanoseconds: int) -> Time:
    """Fills a time from nanoseconds."""
    seconds, rest = divmod(int(nanoseconds), 10**9)
    return Time(sec=seconds, nanosec=rest)


def header_of(frame: Frame | None) -> Header:
    """Header of an image, with its arrival where nobody stamped it; all zero without one.

    What belongs to one image has one stamp, by which a robot finds the mask that a go is about.
    """
    if frame is None:
        return Header()
    stamp_ns = frame.stamp_ns or frame.taken_ns
    return Header(stamp=time_message(stamp_ns), frame_id=str(frame.source.frame_id))


def decision_message(decision: Decision, sequence: int, identity: Identity) -> GraspDecision:
    """Fills the decision.

    Args:
        decision: What was decided.
        sequence: Its number, growing by 1.
        identity: Who decided.
    """
    message = GraspDecision()
    message.header = header_of(decision.frame)
    message.sequence = int(sequence)
    message.decided = time_message(decision.decided.ros_ns)
    message.valid_until = time_message(decision.valid_until_ns)
    message.go = bool(decision.go)
    message.target = str(decision.target)
    message.target_label = int(decision.target_label)
    message.state = str(decision.state)
    message.reasons = [str(reason) for reason in decision.reasons]
    for name in ("p_uncertainty", "n_uncertainty", "p_limit", "n_limit", "age", "latency"):
        setattr(message, name, float(getattr(decision, name)))
    message.model_id = str(identity.model_id)
    message.calibration_id = str(identity.calibration_id)
    shown = decision.certificate
    message.risk = float(shown.risk if shown else _NAN)
    message.confidence = float(shown.confidence if shown else _NAN)
    return message


def status(
    name: str, problems: Sequence[Problem], values: Mapping[str, object]
) -> DiagnosticStatus:
    """Fills one diagnostic status.

    Args:
        name: Node and part.
        problems: What is wrong with the part, worst first.
        values: Key values.
    """
    message = DiagnosticStatus()
    level = max((problem.level for problem in problems), default=Level.OK)
    message.level = bytes([int(level)])
    message.name = name
    message.hardware_id = "actiseg"
    message.message = "; ".join(problem.text for problem in problems) or "ok"
    message.values = [KeyValue(key=str(key), value=_text(value)) for key, value in values.items()]
    return message


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def descriptor(spec: ParameterSpec) -> ParameterDescriptor:
    """Description and range of a parameter as tools show them."""
    message = ParameterDescriptor(
        name=spec.name, description=spec.description, read_only=bool(spec.fixed)
    )
    if spec.choices:
        message.additional_constraints = f"one of: {', '.join(spec.choices)}"
    if spec.low is None or spec.high is None:
        return message
    if isinstance(spec.default, float):
        # Whole numbers are accepted too: `1` for `1.0` is the most common slip on a command line.
        message.dynamic_typing = True
        message.floating_point_range = [
            FloatingPointRange(from_value=float(spec.low), to_value=float(spec.high), step=0.0)
        ]
    else:
        message.integer_range = [
            IntegerRange(from_value=int(spec.low), to_value=int(spec.high), step=1)
        ]
    return message
