"""From a mask and a registered depth picture to points in front of the camera.

Pure functions of the messages' fields. A depth picture is registered if its pixels look along the
rays of the colour image's pixels: same camera, same size, same frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import RobotError
from actiseg_ros.vision.images import Buffer

FloatMap = npt.NDArray[np.float32]
Points = npt.NDArray[np.float32]

_SAMPLES = {"16uc1": (np.uint16, 1e-3), "mono16": (np.uint16, 1e-3), "32fc1": (np.float32, 1.0)}
"""Type of a sample and its unit in metres, by encoding (REP 118)."""
_ENOUGH = 0.1
"""Share of the target's pixels that must have a distance; below, they are chance hits."""
_POLYNOMIAL = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14)}
"""Numbers of coefficients of the lens models that OpenCV's pinhole camera knows."""
_STEPS, _CLOSE = 20, 1e-3
"""Steps at most towards the ray of a pixel, and how near is enough, pixels."""
_WIDEST = 89.0
"""Degrees from the optical axis up to which a ray is in front of the camera."""
_FISHEYE = ("equidistant", "fisheye")


class DepthReason(str, Enum):
    """Why there are no points."""

    NO_TARGET = "NO_TARGET"
    NO_DEPTH = "NO_DEPTH"
    LATE_DEPTH = "LATE_DEPTH"
    NO_CAMERA_INFO = "NO_CAMERA_INFO"
    BAD_DEPTH = "BAD_DEPTH"
    BAD_CAMERA_INFO = "BAD_CAMERA_INFO"
    DEPTH_DISAGREES = "DEPTH_DISAGREES"
    NOT_MEASURED = "NOT_MEASURED"

    def __str__(self) -> str:
        return self.value


class DepthError(RobotError):
    """There are no points: the reason, and in words its cause and remedy."""

    def __init__(self, reason: DepthReason, text: str) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Camera:
    """Geometry of a camera's pictures, pixels; fields as in ``sensor_msgs/CameraInfo``.

    Attributes:
        frame_id: Frame of the pictures: x right, y down, z along the optical axis (REP 103).
        height: Rows of its pictures.
        width: Their columns.
        k: Camera matrix of pictures as the lens gives them, float64 [3, 3].
        p: Projection matrix of rectified pictures, float64 [3, 4].
        model: Name of the lens model.
        d: Its coefficients, float64.
    """

    frame_id: str
    height: int
    width: int
    k: npt.NDArray[np.float64]
    p: npt.NDArray[np.float64]
    model: str = ""
    d: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


def camera(
    frame_id: str,
    size: tuple[int, int],
    k: Sequence[float],
    p: Sequence[float],
    model: str,
    d: Sequence[float],
    binning: tuple[int, int] = (1, 1),
    region: tuple[int, int, int, int] = (0, 0, 0, 0),
) -> Camera:
    """Reads the fields of a ``sensor_msgs/CameraInfo``.

    Args:
        frame_id: Header's frame.
        size: Height and width of the full picture.
        k: Camera matrix of the full picture, 9 numbers.
        p: Projection matrix, 12 numbers.
        model: Name of the lens model.
        d: Its coefficients.
        binning: Pixels that were joined, in y and x; 0 is 1.
        region: Part of the full picture that is sent: y, x, height and width; 0 is all of it.

    Raises:
        DepthError: The camera is not calibrated, or a number is not finite.
    """
    matrix, projection = np.array(k, np.float64), np.array(p, np.float64)
    lens = np.array(d, np.float64)
    if not (
        np.isfinite(matrix).all() and np.isfinite(projection).all() and np.isfinite(lens).all()
    ):
        raise DepthError(DepthReason.BAD_CAMERA_INFO, "camera info has numbers that are not finite")
    matrix, projection = matrix.reshape(3, 3), projection.reshape(3, 4)
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0):
        if not (projection[0, 0] > 0 and projection[1, 1] > 0):
            raise DepthError(
                DepthReason.BAD_CAMERA_INFO,
                f"camera info has a focal length of {matrix[0, 0]:g}, so the camera is not "
                "calibrated; calibrate it, and give its driver the file",
            )
        matrix = projection[:, :3].copy()
    elif not (projection[0, 0] > 0 and projection[1, 1] > 0):
        projection = np.hstack([matrix, np.zeros((3, 1))])
    top, left, height, width = region
    down, right = (max(1, number) for number in binning)
    scale = np.array([[1 / right], [1 / down], [1.0]])
    shift = np.zeros((3, 1))
    shift[0], shift[1] = left, top
    matrix[:, 2:3] -= shift
    projection[:, 2:3] -= shift
    return Camera(
        frame_id,
        (height or size[0]) // down,
        (width or size[1]) // right,
        matrix * scale,
        projection * scale,
        model,
        lens,
    )


def decode_depth(
    encoding: str, height: int, width: int, step: int, is_bigendian: int, data: Buffer
) -> FloatMap:
    """Turns the fields of a depth picture into metres.

    Args:
        encoding: 16UC1 or mono16 (millimetres, 0: nothing was measured), or 32FC1 (metres; what is
            not finite or not above 0 was not measured).
        height: Rows.
        width: Columns.
        step: Bytes of a row, padding included.
        is_bigendian: Whether samples have the highest byte first.
        data: Exactly ``step * height`` bytes.

    Returns:
        float32 [height, width] along the optical axis; nan where nothing was measured.

    Raises:
        DepthError: Another encoding, or the fields contradict each other.
    """
    known = _SAMPLES.get(encoding.strip().lower())
    if known is None:
        raise DepthError(
            DepthReason.BAD_DEPTH,
            f"depth `encoding` is {encoding[:40]!r}, expected 16UC1 (millimetres) or 32FC1 (metres)"
            "; remap the topic to the raw, registered depth picture",
        )
    kind, unit = known
    row_bytes = width * np.dtype(kind).itemsize
    raw = np.frombuffer(data, np.uint8)
    if not (height and width) or step < row_bytes or raw.size != step * height:
        raise DepthError(
            DepthReason.BAD_DEPTH,
            f"depth picture of {width}x{height} {encoding} with `step` {step} has {raw.size} bytes "
            f"of `data`, expected {height} rows of at least {row_bytes}; the message is cut short "
            "or its fields are wrong",
        )
    packed = np.ascontiguousarray(raw.reshape(height, step)[:, :row_bytes])
    stored = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    metres = packed.view(stored).astype(np.float32)
    metres[~(np.isfinite(metres) & (metres > 0))] = np.nan
    return metres if unit == 1.0 else metres * np.float32(unit)


def rays(
    pixels: npt.NDArray[np.float64], seen_by: Camera, *, rectified: bool
) -> npt.NDArray[np.float64]:
    """Where the rays of pixels cross the plane one metre in front of the camera.

    Args:
        pixels: float64 [N, 2], columns and rows; the centre of the first pixel is (0, 0).
        seen_by: The camera.
        rectified: Whether its pictures are rectified, so that `Camera.p` holds; else `Camera.k`
            with the lens.

    Returns:
        float64 [N, 2], x and y; nan for pixels that no ray in front of the camera reaches, or
        none that could be found.

    Raises:
        DepthError: The lens has a model that is not known.
    """
    matrix = seen_by.p[:, :3] if rectified else seen_by.k
    if not len(pixels):
        return np.zeros((0, 2))
    fisheye = seen_by.model.strip().lower() in _FISHEYE
    # Without coefficients a fisheye still draws angles, and no other lens bends anything.
    if rectified or not (fisheye or seen_by.d.any()):
        focal, centre = matrix.diagonal()[:2], matrix[:2, 2]
        return np.asarray((pixels - centre) / focal)
    if fisheye and not seen_by.d.size:
        seen_by = replace(seen_by, d=np.zeros(4))
    model, d = seen_by.model.strip().lower(), seen_by.d
    if fisheye and d.size == 4:
        found = cv2.fisheye.undistortPoints(pixels[:, None], matrix, d)[:, 0]
    elif d.size in _POLYNOMIAL.get(model, ()):
        found = cv2.undistortPoints(pixels[:, None], matrix, d)[:, 0]
    else:
        raise DepthError(
            DepthReason.BAD_CAMERA_INFO,
            f"camera info has the lens model {seen_by.model!r} with {d.size} coefficients, which "
            "is not known; rectify image and depth, and set `depth_rectified`",
        )
    # OpenCV's inverse stops after a few steps, near the edge of a wide lens a pixel too early.
    with np.errstate(over="ignore", invalid="ignore"):  # where there is no ray, steps run away
        for _ in range(_STEPS):
            missed = pixels - _drawn(found, seen_by)
            close = np.abs(missed).max(axis=1) < _CLOSE
            if close.all():
                break
            found = np.where(close[:, None], found, found + missed / matrix.diagonal()[:2])
        close = np.abs(pixels - _drawn(found, seen_by)).max(axis=1) < _CLOSE
        known = close & (np.hypot(*found.T) <= _edge(seen_by))
    return np.where(known[:, None], found, np.nan)


def _drawn(crossing: npt.NDArray[np.float64], seen_by: Camera) -> npt.NDArray[np.float64]:
    """Pixels [N, 2] where the lens draws the rays that cross the plane at one metre there."""
    ahead = np.column_stack([crossing, np.ones(len(crossing))])[:, None]
    fisheye = seen_by.model.strip().lower() in _FISHEYE
    project = cv2.fisheye.projectPoints if fisheye else cv2.projectPoints
    nothing = np.zeros(3)
    return np.asarray(project(ahead, nothing, nothing, seen_by.k, seen_by.d)[0][:, 0])


def _edge(seen_by: Camera) -> float:
    """How far out a lens model means something, metres in the plane at one metre.

    Beyond, its polynomial turns back, so that two rays would meet in a pixel.
    """
    away = np.tan(np.radians(np.linspace(0.0, _WIDEST, 4 * int(_WIDEST) + 1)))
    edge = away[-1]
    for angle in np.linspace(0.0, 2 * np.pi, 8, endpoint=False):
        drawn = _drawn(np.outer(away, [np.cos(angle), np.sin(angle)]), seen_by)
        outwards = np.diff(np.hypot(*((drawn - drawn[0]) / seen_by.k.diagonal()[:2]).T)) > 0
        if not outwards.all():
            edge = min(edge, away[int(np.argmin(outwards))])
    return float(edge)


def target_points(
    depth: FloatMap, mask: npt.NDArray[np.bool_], seen_by: Camera, *, rectified: bool
) -> Points:
    """Points of the pixels of a mask, in the camera's frame.

    Args:
        depth: float32 [H, W], metres along the optical axis, nan where nothing was measured.
        mask: bool [H, W].
        seen_by: The camera of both.
        rectified: See `rays`.

    Returns:
        float32 [N, 3], metres: x right, y down, z forward; pixels in raster order.

    Raises:
        DepthError: Sizes differ, or too few of the mask's pixels were measured.
    """
    for name, size in (
        ("the depth picture", depth.shape),
        ("camera info", (seen_by.height, seen_by.width)),
    ):
        if size != mask.shape:
            raise DepthError(
                DepthReason.DEPTH_DISAGREES,
                f"{name} is of {size[1]}x{size[0]} pixels and the image of "
                f"{mask.shape[1]}x{mask.shape[0]}, so it is not registered to it; let the driver "
                "align depth to colour",
            )
    rows, columns = np.nonzero(mask)
    distance = depth[rows, columns]
    measured = np.isfinite(distance)
    if not measured.any() or np.count_nonzero(measured) < _ENOUGH * len(rows):
        raise DepthError(
            DepthReason.NOT_MEASURED,
            f"{np.count_nonzero(measured)} of the target's {len(rows)} pixels have a distance; it "
            "may be too near, too far, shiny or transparent",
        )
    pixels = np.stack([columns[measured], rows[measured]], axis=1).astype(np.float64)
    crossing, distance = rays(pixels, seen_by, rectified=rectified), distance[measured]
    known = np.isfinite(crossing).all(axis=1)
    if np.count_nonzero(known) < _ENOUGH * len(rows):
        raise DepthError(
            DepthReason.BAD_CAMERA_INFO,
            f"camera info has a ray for {np.count_nonzero(known)} of the target's {len(rows)} "
            f"pixels: its lens model ({seen_by.model}) does not reach that far out; calibrate the "
            "camera up to the edge of its pictures, or rectify image and depth and set "
            "`depth_rectified`",
        )
    points = np.empty((np.count_nonzero(known), 3), np.float32)
    points[:, :2] = crossing[known] * distance[known, None]
    points[:, 2] = distance[known]
    return points
