"""JPEG and PNG bytes to arrays and back; damage is an error and never a grey area.

Decoders commonly fill the missing part of a picture and go on. Therefore every warning of the JPEG
decoder counts as an error, and a PNG's checksums are compared before a decoder sees it. A JPEG has
no checksum: damage that leaves other, valid codes cannot be seen.
"""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg

from actiseg_ros.errors import ImageError
from actiseg_ros.vision.images import MAX_PIXELS, MAX_SIDE, Buffer, Rgb, check_16_bit, to_bytes

_HEADER = 1 << 18
"""Bytes that are looked at for the size; segments of up to 64 KiB each may come before it."""
_PNG_DEPTH = 24
"""Place of the bits of a sample in a PNG file."""
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
_DECODE = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_PNG_PICTURE = {b"IHDR", b"PLTE", b"IDAT"}
_JPEG_END, _JPEG_BARE = 0xD9, {0x01, 0xD8}
_IN_CODED_PIXELS = np.isin(np.arange(256), (0x00, *range(0xD0, 0xD8), 0xFF))
"""What follows 0xFF within coded pixels, where it begins no segment (ITU T.81, B.1.1)."""
_JPEG_REMARKS = {0xFE, *range(0xE0, 0xF0)}
"""Comments and what applications add, often the time at which the picture was sent."""


def decode_compressed(data: Buffer) -> Rgb:
    """Decodes the ``data`` of a ``sensor_msgs/CompressedImage``.

    The bytes themselves tell the format; the message's ``format`` text differs between senders.

    Args:
        data: A JPEG or PNG file.

    Returns:
        uint8 [H, W, 3], RGB, contiguous.

    Raises:
        ImageError: Empty, another format, damaged, cut short, or too large.
    """
    raw = bytes(data)
    try:
        if raw.startswith(_JPEG):
            return _decode_jpeg(raw)
        if raw.startswith(_PNG):
            return _decode_png(raw)
    except ImageError:
        raise
    except (ValueError, cv2.error) as error:  # the decoders' own
        raise _damaged(str(error), len(raw)) from error
    raise ImageError(
        f"compressed image of {len(raw)} bytes starts with {raw[:8].hex() or 'nothing'}, "
        "which is neither JPEG nor PNG; set the publisher to one of them"
    )


def claimed_size(data: Buffer) -> tuple[int, int]:
    """Height and width in the header of a JPEG or PNG file, without decoding it.

    Returns:
        0 and 0 if they cannot be read.
    """
    raw = bytes(memoryview(data)[:_HEADER])
    if raw.startswith(_PNG) and len(raw) >= 24:
        return int.from_bytes(raw[20:24], "big"), int.from_bytes(raw[16:20], "big")
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(raw, strict=False)
        return int(height), int(width)
    except (ValueError, KeyError):
        return 0, 0


def compressed_content(data: Buffer) -> Iterator[memoryview]:
    """The parts of a JPEG or PNG file that the picture is decoded from.

    Left out are comments, times, other metadata and what follows the end, in which files of one
    picture may differ.

    Args:
        data: A file; of other formats and damaged ones everything may be part of the picture.
    """
    raw = bytes(data)
    if raw.startswith(_JPEG):
        return _jpeg_content(raw)
    if raw.startswith(_PNG):
        return _png_content(raw)
    return iter((memoryview(raw),))


def encode_jpeg(rgb: Rgb, quality: int = 80) -> array:  # type: ignore[type-arg]
    """Encodes an image for ``CompressedImage.data``.

    Args:
        rgb: uint8 [H, W, 3].
        quality: JPEG quality, 1 to 100.

    Returns:
        The JPEG file as ``array('B')``.
    """
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    done, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f"image of shape {rgb.shape} cannot be encoded as JPEG")
    return to_bytes(encoded)


def _damaged(what: str, size: int) -> ImageError:
    return ImageError(
        f"compressed image of {size} bytes is damaged or cut short ({what}); "
        "check the transport's fragment limits and the encoder"
    )


def _check_size(height: int, width: int) -> None:
    """Refuses a size before memory is asked for."""
    if not (0 < max(height, width) <= MAX_SIDE and 0 < height * width <= MAX_PIXELS):
        raise ImageError(
            f"compressed image claims {width}x{height} pixels, expected 1 to {MAX_PIXELS}; "
            "publish another size"
        )


def _decode_jpeg(raw: bytes) -> Rgb:
    """Decodes without filling in: each of libjpeg's warnings is an error (`strict`)."""
    height, width, *_ = simplejpeg.decode_jpeg_header(raw, strict=True)
    _check_size(height, width)
    return np.asarray(simplejpeg.decode_jpeg(raw, colorspace="RGB", strict=True))


def _jpeg_content(raw: bytes) -> Iterator[memoryview]:
    view, data = memoryview(raw), np.frombuffer(raw, np.uint8)
    escapes = np.flatnonzero(data[:-1] == 0xFF)
    markers = escapes[~_IN_CODED_PIXELS[data[escapes + 1]]]
    place = len(_JPEG) - 1
    while (found := int(np.searchsorted(markers, place))) < len(markers):
        start = int(markers[found]) + 1
        yield view[place : start - 1]  # coded pixels
        code, place = raw[start], start + 1
        if code == _JPEG_END:
            return
        if code in _JPEG_BARE:
            continue
        end = place + max(2, int.from_bytes(raw[place : place + 2], "big"))
        if code not in _JPEG_REMARKS:
            yield view[start:end]
        place = end
    yield view[place:]


def _png_content(raw: bytes) -> Iterator[memoryview]:
    view, place = memoryview(raw), len(_PNG)
    while place + 12 <= len(raw):
        end = place + 12 + int.from_bytes(raw[place : place + 4], "big")
        kind = raw[place + 4 : place + 8]
        if kind in _PNG_PICTURE:
            yield view[place : end - 4]  # its checksum would take half of the digest's away
        if kind == b"IEND":
            return
        place = end


def _decode_png(raw: bytes) -> Rgb:
    height, width = _check_png(raw)
    _check_size(height, width)
    data = np.frombuffer(raw, np.uint8)
    if raw[_PNG_DEPTH] == 16:
        stored = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
        if stored is not None and stored.dtype == np.uint16:
            check_16_bit(stored, "16-bit PNG")
    bgr = cv2.imdecode(data, _DECODE)
    if bgr is None or bgr.shape != (height, width, 3):
        raise ValueError("the decoder gave up")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _check_png(raw: bytes) -> tuple[int, int]:
    """Checks the checksum of every chunk up to the end chunk; returns height and width."""
    place, size = len(_PNG), None
    while place + 12 <= len(raw):
        length = int.from_bytes(raw[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(raw):
            break
        kind = raw[place + 4 : place + 8]
        if zlib.crc32(raw[place + 4 : end]) != int.from_bytes(raw[end : end + 4], "big"):
            raise _damaged(f"wrong checksum in chunk {kind!r}", len(raw))
        if kind == b"IHDR" and length >= 8:
            width, height = raw[place + 8 : place + 12], raw[place + 12 : place + 16]
            size = int.from_bytes(height, "big"), int.from_bytes(width, "big")
        if kind == b"IEND" and size is not None:
            return size
        place = end + 4
    raise _damaged("no end chunk", len(raw))
