"""JPEG and PNG bytes to arrays and back; damage is an error and never a grey area.

Decoders commonly fill the missing part of a picture and go on. Therefore the structure of the
file is checked here before a decoder sees it, and the JPEG decoder's warnings count as errors.
Damage that leaves a picture of other, valid codes cannot be seen.
"""

from __future__ import annotations

import zlib
from array import array

import cv2
import numpy as np
import simplejpeg

from .errors import ImageError
from .images import MAX_PIXELS, MAX_SIDE, Buffer, Rgb, to_bytes

_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Start-of-frame codes carry the size; C4, C8 and CC of that range mean something else.
_FRAME_CODES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_DECODE = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION


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
    if raw.startswith(_JPEG):
        (height, width), decode = _check_jpeg(raw), _decode_jpeg
    elif raw.startswith(_PNG):
        (height, width), decode = _check_png(raw), _decode_png
    else:
        raise ImageError(
            f"compressed image of {len(raw)} bytes starts with {raw[:8].hex() or 'nothing'}, "
            "which is neither JPEG nor PNG; set the publisher to one of them"
        )
    if not (0 < max(height, width) <= MAX_SIDE and 0 < height * width <= MAX_PIXELS):
        raise ImageError(
            f"compressed image claims {width}x{height} pixels, expected 1 to {MAX_PIXELS}; "
            "publish another size"
        )
    try:
        rgb = decode(raw)
    except (ValueError, cv2.error) as error:
        raise _damaged(str(error), len(raw)) from error
    if rgb.shape != (height, width, 3):
        raise _damaged("the decoder gave up", len(raw))
    return rgb


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


def _decode_jpeg(raw: bytes) -> Rgb:
    """Decodes without filling in: of libjpeg's warnings each one means lost data."""
    return np.asarray(simplejpeg.decode_jpeg(raw, colorspace="RGB", strict=True))


def _decode_png(raw: bytes) -> Rgb:
    bgr = cv2.imdecode(np.frombuffer(raw, np.uint8), _DECODE)
    if bgr is None:
        raise ValueError("the decoder gave up")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def _check_jpeg(raw: bytes) -> tuple[int, int]:
    """Walks the segments up to the end marker; returns height and width."""
    place, size, scanned = 2, None, False
    while True:
        if place + 2 > len(raw):
            raise _damaged("no end marker", len(raw))
        if raw[place] != 0xFF:
            raise _damaged(f"no marker at byte {place}", len(raw))
        code = raw[place + 1]
        if code == 0xFF:  # fill byte
            place += 1
            continue
        if code == 0xD9:
            break
        segment = raw[place + 2 : place + 9]
        if code in _FRAME_CODES and len(segment) == 7:
            size = int.from_bytes(segment[3:5], "big"), int.from_bytes(segment[5:7], "big")
        place += 2 + max(2, int.from_bytes(segment[:2], "big"))
        if code == 0xDA:
            scanned = True
            place = _end_of_scan(raw, place)
    if size is None or not scanned:
        raise _damaged("no picture data", len(raw))
    return size


def _end_of_scan(raw: bytes, start: int) -> int:
    """Position of the first marker after entropy-coded data that is no restart marker."""
    scan = np.frombuffer(raw, np.uint8, offset=min(start, len(raw)))
    places = np.flatnonzero(scan[:-1] == 0xFF)
    codes = scan[places + 1]
    marker = (codes != 0x00) & (codes != 0xFF)
    restart = marker & (codes >= 0xD0) & (codes <= 0xD7)
    ends = np.flatnonzero(marker & ~restart)
    if not len(ends):
        raise _damaged("no end marker", len(raw))
    # Restart markers count from 0 to 7 and around; a gap is a lost piece of the scan.
    counts = codes[: ends[0]][restart[: ends[0]]] - 0xD0
    if (counts != np.arange(len(counts)) % 8).any():
        raise _damaged("restart markers out of order", len(raw))
    return start + int(places[ends[0]])


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
