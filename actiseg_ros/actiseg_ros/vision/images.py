"""ROS image messages to arrays and back, without cv_bridge and without trust in the sender.

Pure functions of the message's fields. Everything that does not add up is an `ImageError` that
names the field, its value and the remedy, because a wrong picture is worse than none.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ImageError

Rgb = npt.NDArray[np.uint8]
Buffer = bytes | bytearray | memoryview | array  # type: ignore[type-arg]

MAX_SIDE = 16384
MAX_PIXELS = 64 * 1024 * 1024
"""Larger images are taken for a mistake or an attack before any memory is asked for."""


@dataclass(frozen=True)
class _Encoding:
    """Layout of one encoding.

    Attributes:
        dtype: Type of one sample, native byte order.
        samples: Samples per pixel in a row.
        convert: From samples [H, W, samples] (or [H, W] if one) to RGB of the same type.
        even_width: Whether two pixels share samples.
        rows: Rows of data for two rows of picture (planar formats have more than two).
    """

    dtype: type
    samples: int
    convert: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    even_width: bool = False
    rows: int = 2

    def row_bytes(self, width: int) -> int:
        """Bytes of a row without padding."""
        return width * self.samples * np.dtype(self.dtype).itemsize


def _by_opencv(code: int) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    return lambda samples: np.asarray(cv2.cvtColor(samples, code))


def _grey(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.repeat(samples[..., None], 3, axis=2)


def _same(samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return samples


_BGR, _RGBA, _BGRA = cv2.COLOR_BGR2RGB, cv2.COLOR_RGBA2RGB, cv2.COLOR_BGRA2RGB
_ENCODINGS: dict[str, _Encoding] = {
    "rgb8": _Encoding(np.uint8, 3, _same),
    "bgr8": _Encoding(np.uint8, 3, _by_opencv(_BGR)),
    "rgba8": _Encoding(np.uint8, 4, _by_opencv(_RGBA)),
    "bgra8": _Encoding(np.uint8, 4, _by_opencv(_BGRA)),
    "mono8": _Encoding(np.uint8, 1, _grey),
    "rgb16": _Encoding(np.uint16, 3, _same),
    "bgr16": _Encoding(np.uint16, 3, _by_opencv(_BGR)),
    "rgba16": _Encoding(np.uint16, 4, _by_opencv(_RGBA)),
    "bgra16": _Encoding(np.uint16, 4, _by_opencv(_BGRA)),
    "mono16": _Encoding(np.uint16, 1, _grey),
    # Generic encodings say nothing about colour; OpenCV's order is what their senders use.
    "8uc1": _Encoding(np.uint8, 1, _grey),
    "8uc3": _Encoding(np.uint8, 3, _by_opencv(_BGR)),
    "8uc4": _Encoding(np.uint8, 4, _by_opencv(_BGRA)),
    "16uc3": _Encoding(np.uint16, 3, _by_opencv(_BGR)),
    "16uc4": _Encoding(np.uint16, 4, _by_opencv(_BGRA)),
    "32fc3": _Encoding(np.float32, 3, _by_opencv(_BGR)),
    "32fc4": _Encoding(np.float32, 4, _by_opencv(_BGRA)),
    "yuv422": _Encoding(np.uint8, 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY), even_width=True),
    "uyvy": _Encoding(np.uint8, 2, _by_opencv(cv2.COLOR_YUV2RGB_UYVY), even_width=True),
    "yuv422_yuy2": _Encoding(np.uint8, 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2), even_width=True),
    "yuyv": _Encoding(np.uint8, 2, _by_opencv(cv2.COLOR_YUV2RGB_YUY2), even_width=True),
    "nv12": _Encoding(np.uint8, 1, _by_opencv(cv2.COLOR_YUV2RGB_NV12), even_width=True, rows=3),
    "nv21": _Encoding(np.uint8, 1, _by_opencv(cv2.COLOR_YUV2RGB_NV21), even_width=True, rows=3),
}
# OpenCV names a Bayer pattern by the second row's second and third pixel, ROS by the first two.
for _ros, _code in {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}.items():
    _ENCODINGS[f"bayer_{_ros}8"] = _Encoding(np.uint8, 1, _by_opencv(_code))
    _ENCODINGS[f"bayer_{_ros}16"] = _Encoding(np.uint16, 1, _by_opencv(_code))

ENCODINGS = tuple(_ENCODINGS)
"""Names that `decode_raw` understands, in lower case."""

_DEPTH = ("16uc1", "32fc1")
"""Encodings that REP-118 gives to depth pictures: distances, in which nothing has a colour."""


def decode_raw(
    encoding: str, height: int, width: int, step: int, is_bigendian: int, data: Buffer
) -> Rgb:
    """Turns the fields of a ``sensor_msgs/Image`` into RGB.

    16-bit samples are divided by 257 and rounded, and must use their upper bits (`check_16_bit`);
    float samples must lie in [0, 1]. Depth pictures are no pictures.

    Args:
        encoding: One of `ENCODINGS`, upper or lower case.
        height: Rows of the picture.
        width: Columns of the picture.
        step: Bytes of a row, padding included.
        is_bigendian: Whether samples of several bytes have the highest byte first.
        data: Exactly ``step * height`` bytes (half as many again for nv12 and nv21).

    Returns:
        uint8 [height, width, 3], contiguous, in memory of its own or read-only.

    Raises:
        ImageError: The encoding is unknown, a size is impossible, or the fields disagree.
    """
    if encoding.strip().lower() in _DEPTH:
        raise ImageError(
            f"image `encoding` is {encoding}, a depth picture; remap the topic to the colour image"
        )
    layout = _ENCODINGS.get(encoding.strip().lower())
    if layout is None:
        raise ImageError(
            f"image `encoding` is {encoding[:40]!r}, which is unknown; publish one of "
            f"{', '.join(ENCODINGS)}"
        )
    _check_size(height, width)
    if layout.even_width and (width % 2 or (layout.rows == 3 and height % 2)):
        raise ImageError(
            f"image of {width}x{height} cannot be {encoding}, which joins pixels in pairs; "
            "publish an even size"
        )
    if encoding.lower().startswith("bayer") and min(height, width) < 4:
        raise ImageError(f"image of {width}x{height} is too small for {encoding}; at least 4x4")
    row_bytes = layout.row_bytes(width)
    if step < row_bytes:
        raise ImageError(
            f"image `step` is {step}, but a row of {width} pixels of {encoding} has {row_bytes} "
            "bytes; correct `step` or `encoding` in the publisher"
        )
    rows = height * layout.rows // 2
    raw = np.frombuffer(data, np.uint8)
    if raw.size != step * rows:
        raise ImageError(
            f"image `data` has {raw.size} bytes, but step {step} times {rows} rows is "
            f"{step * rows}; the message is cut short or its fields are wrong"
        )
    packed = np.ascontiguousarray(raw.reshape(rows, step)[:, :row_bytes])
    stored = np.dtype(layout.dtype).newbyteorder(">" if is_bigendian else "<")
    samples: npt.NDArray[Any] = packed.view(stored).astype(layout.dtype, copy=False)
    if layout.samples > 1:
        samples = samples.reshape(height, width, layout.samples)
    if layout.dtype == np.uint16:
        check_16_bit(samples, encoding)
    return _to_8_bit(layout.convert(samples), encoding)


def check_16_bit(samples: npt.NDArray[np.uint16], encoding: str) -> None:
    """Refuses 16-bit samples that are no light over the whole range.

    Cameras of 10 or 12 bits often leave the upper bits empty, which would give a black picture.
    Depth in millimetres has zeros where nothing was measured, and nothing between them and the
    nearest distance, where light has all shades.

    Args:
        samples: uint16 [H, W] or [H, W, C]; a fourth channel is opacity and no light.
        encoding: Name for the message.

    Raises:
        ImageError: They use at most 12 of their bits, or are distances.
    """
    if not samples.size:
        return
    largest = int((samples[..., :3] if samples.ndim > 2 else samples).max())
    if 0 < largest < 1 << 12:
        raise ImageError(
            f"image `data` of encoding {encoding} reaches {largest} of 65535: 12 bits or fewer in "
            "16, or a depth picture; let the driver scale to 16 bits or publish 8, or remap the "
            "topic to the colour image"
        )
    if samples.ndim > 2 or "bayer" in encoding.lower():
        return
    measured = samples[samples > 0]
    hollow = measured.size < 0.995 * samples.size and measured.size and measured.min() > 150
    # Eight bits that were widened have a gap above zero, too, but in all of their shades.
    if hollow and (measured % 256).any() and (measured % 257).any():
        raise ImageError(
            f"image `data` of encoding {encoding} looks like a depth picture (zeros, and nothing "
            f"else below {int(measured.min())}); remap the topic to the colour image"
        )


def _check_size(height: int, width: int) -> None:
    for name, value in (("height", height), ("width", width)):
        if not 0 < value <= MAX_SIDE:
            raise ImageError(
                f"image `{name}` is {value}, expected 1 to {MAX_SIDE}; check the camera driver"
            )
    if height * width > MAX_PIXELS:
        raise ImageError(
            f"image of {width}x{height} has more than {MAX_PIXELS} pixels; publish a smaller one"
        )


def _to_8_bit(rgb: npt.NDArray[Any], encoding: str) -> Rgb:
    if rgb.dtype == np.uint16:
        # As cv_bridge scales; the quotient is never half-way between two whole numbers.
        rgb = ((rgb.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif rgb.dtype == np.float32:
        if not np.isfinite(rgb).all():
            raise ImageError(
                f"image `data` of encoding {encoding} has NaN or infinite samples; "
                "publish a colour image, or fill the gaps"
            )
        low, high = float(rgb.min()), float(rgb.max())
        if low < 0 or high > 1:
            raise ImageError(
                f"image `data` of encoding {encoding} spans [{low:g}, {high:g}]; "
                "scale the samples to [0, 1]"
            )
        rgb = np.rint(rgb * np.float32(255)).astype(np.uint8)
    return np.ascontiguousarray(rgb, np.uint8)


def raw_content(encoding: str, height: int, width: int, step: int, data: Buffer) -> Buffer:
    """The bytes that `decode_raw` makes the picture of: without padding, opacity is 0.

    Args:
        encoding: As for `decode_raw`, like the others.
        height: Rows of the picture.
        width: Columns of the picture.
        step: Bytes of a row, padding included.
        data: The message's.

    Returns:
        Some of `data`, or a copy; all of it where the fields disagree, so that nothing can be
        decoded.
    """
    layout = _ENCODINGS.get(encoding.strip().lower())
    raw = np.frombuffer(data, np.uint8)
    if layout is None or min(height, width) <= 0:
        return data
    row_bytes, rows = layout.row_bytes(width), height * layout.rows // 2
    if step < row_bytes or raw.size != step * rows:
        return data
    packed = raw.reshape(rows, step)[:, :row_bytes]
    if layout.samples == 4:
        # Much quicker than to leave it out.
        packed = packed.copy()
        packed.view(f"u{row_bytes // (4 * width)}").reshape(rows, width, 4)[:, :, 3] = 0
    return np.ascontiguousarray(packed).data


def content_digest(*parts: Buffer) -> int:
    """Number that tells whether two images have the same content (CRC-32, about 1 ms a MB)."""
    digest = 0
    for part in parts:
        digest = zlib.crc32(part, digest)
    return digest


def to_bytes(pixels: npt.NDArray[np.uint8]) -> array:  # type: ignore[type-arg]
    """Copies an image into the type that rclpy takes for ``data`` without a conversion.

    Assigning anything else makes rclpy copy byte by byte, which costs 0.1 to 0.4 s an image.

    Args:
        pixels: uint8, any shape.

    Returns:
        ``array('B')`` of the pixels in row-major order.
    """
    filled = array("B")
    if pixels.size:  # a view of nothing cannot be cast
        filled.frombytes(np.ascontiguousarray(pixels).data.cast("B"))
    return filled
