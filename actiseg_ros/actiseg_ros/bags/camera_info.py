"""Camera calibration as `sensor_msgs/CameraInfo`, from the YAML of ROS's camera_calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import yaml

from actiseg_ros.bags.account import BagError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

_MATRICES = {
    "camera_matrix": (3, 3),
    "rectification_matrix": (3, 3),
    "projection_matrix": (3, 4),
}


@dataclass(frozen=True)
class Calibration:
    """Intrinsics of a camera, pixels.

    Attributes:
        path: File that they come from.
        width: Columns of the pictures that were calibrated.
        height: Their rows.
        distortion_model: For example ``plumb_bob``.
        d: Distortion coefficients, float64.
        k: Camera matrix, float64 [3, 3].
        r: Rectification matrix, float64 [3, 3].
        p: Projection matrix, float64 [3, 4].
    """

    path: Path
    width: int
    height: int
    distortion_model: str
    d: npt.NDArray[np.float64]
    k: npt.NDArray[np.float64]
    r: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]

    def scaled(self, width: int, height: int) -> Calibration:
        """The same camera with pictures of another size.

        Raises:
            BagError: The pictures have another shape.
        """
        right, down = width / self.width, height / self.height
        if abs(right / down - 1) > 0.01:
            raise BagError(
                f"{self.path}: is the calibration of pictures of {self.width}x{self.height}, which "
                f"those of {width}x{height} are no scaled form of"
            )
        scale = np.array([[right], [down], [1.0]])
        return Calibration(
            self.path,
            width,
            height,
            self.distortion_model,
            self.d,
            self.k * scale,
            self.r,
            self.p * scale,
        )


def read_calibration(path: Path) -> Calibration:
    """Reads a calibration file (``image_width``, ``camera_matrix`` and so on).

    Raises:
        BagError: It cannot be read, or a field is missing or malformed.
    """
    try:
        record = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BagError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BagError(f"{path}: is no YAML file ({' '.join(str(error).split())})") from error
    if not isinstance(record, Mapping):
        raise BagError(f"{path}: is no calibration; it must name image_width, camera_matrix, …")
    sides = [record.get(name) for name in ("image_width", "image_height")]
    if not all(isinstance(side, int) and side > 0 for side in sides):
        raise BagError(f"{path}: image_width and image_height are {sides}, not sizes in pixels")
    matrices = [_numbers(path, record, name, shape) for name, shape in _MATRICES.items()]
    model = record.get("distortion_model", record.get("camera_model"))
    if not isinstance(model, str):
        raise BagError(f"{path}: distortion_model is {model!r}, not a name such as plumb_bob")
    return Calibration(
        path,
        sides[0],  # type: ignore[arg-type]
        sides[1],  # type: ignore[arg-type]
        model,
        _numbers(path, record, "distortion_coefficients", None),
        *matrices,
    )


def _numbers(
    path: Path, record: Mapping[str, Any], name: str, shape: tuple[int, int] | None
) -> npt.NDArray[np.float64]:
    entry = record.get(name)
    data = entry.get("data") if isinstance(entry, Mapping) else entry
    try:
        values = np.asarray(data, np.float64)
        values = values.reshape(-1) if shape is None else values.reshape(shape)
    except (TypeError, ValueError):
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        wanted = "numbers" if shape is None else f"{shape[0]} times {shape[1]} numbers"
        raise BagError(f"{path}: {name} must have {wanted} in `data`")
    return values


def camera_info(
    store: Typestore, header: Any, width: int, height: int, calibration: Calibration | None
) -> Any:
    """Fills the message.

    Args:
        store: Type store with `sensor_msgs`.
        header: Header of the picture that it belongs to.
        width: Columns of the picture.
        height: Rows of the picture.
        calibration: None for a camera that is not calibrated: all matrices are zero, as
            `sensor_msgs/CameraInfo` asks for.

    Raises:
        BagError: The calibration is of pictures of another shape.
    """
    region = store.types["sensor_msgs/msg/RegionOfInterest"](
        x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
    )
    found = calibration.scaled(width, height) if calibration else None
    return store.types["sensor_msgs/msg/CameraInfo"](
        header=header,
        height=height,
        width=width,
        distortion_model=found.distortion_model if found else "",
        d=found.d if found else np.zeros(0),
        k=found.k.reshape(-1) if found else np.zeros(9),
        r=found.r.reshape(-1) if found else np.zeros(9),
        p=found.p.reshape(-1) if found else np.zeros(12),
        binning_x=0,
        binning_y=0,
        roi=region,
    )
