"""Small videos in the forms that people have them, whole and damaged."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

WIDTH, HEIGHT, RATE = 96, 64, 30


def picture(index: int) -> np.ndarray:
    """BGR [HEIGHT, WIDTH, 3]: red above, green at the left below, a white bar that grows."""
    bgr = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    bgr[: HEIGHT // 4] = (0, 0, 255)
    bgr[HEIGHT // 2 :, : WIDTH // 4] = (0, 255, 0)
    bgr[-8:, : index % WIDTH + 1] = 255
    return bgr


def write(
    path: Path,
    count: int = 45,
    codec: str = "mpeg4",
    form: str | None = None,
    begin: float = 0.0,
    rate: int = RATE,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    container: dict[str, str] | None = None,
    **options: object,
) -> Path:
    """Encodes `count` pictures; the first one has the time `begin`."""
    with av.open(str(path), "w", format=form, options=container or {}) as out:
        given = {name: str(value) for name, value in options.items()}
        stream = out.add_stream(codec, rate=rate, options=given)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(count):
            bgr = picture(index)
            if size != (WIDTH, HEIGHT):
                bgr = cv2.resize(bgr, size)
            frame = av.VideoFrame.from_ndarray(bgr, format="bgr24")
            frame.pts, frame.time_base = index + round(begin * rate), Fraction(1, rate)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def index_in_front(path: Path, count: int = 45, **options: object) -> Path:
    """An mp4 as it is offered for download."""
    return write(path, count, container={"movflags": "faststart"}, **options)


def cut(path: Path, share: float = 0.6) -> Path:
    """The beginning of a file, as of a download that broke off."""
    out = path.with_stem(f"{path.stem}_cut")
    data = path.read_bytes()
    out.write_bytes(data[: int(len(data) * share)])
    return out


def hollow(path: Path, share: float = 0.6) -> Path:
    """The file with zeros in the place of its end, as of a download with space set aside."""
    out = path.with_stem(f"{path.stem}_hollow")
    data = path.read_bytes()
    kept = int(len(data) * share)
    out.write_bytes(data[:kept] + bytes(len(data) - kept))
    return out


def turned(path: Path, right: tuple[int, int], down: tuple[int, int], scale: float = 1.0) -> Path:
    """The mp4 with a display matrix that sends columns to `right` and rows to `down`."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd")
    at += 8 + (32 if data[at + 4] else 20) + 16
    a, b, c, d = (round(value * scale * 65536) for value in (*right, *down))
    data[at : at + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    out = path.with_stem(f"{path.stem}_{a}_{b}_{c}_{d}")
    out.write_bytes(data)
    return out


def joined(path: Path, *parts: Path) -> Path:
    """Files one behind the other, as `cat` joins them."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def hurt(path: Path, places: list[float]) -> Path:
    """The file with bytes changed at shares of its length."""
    data = bytearray(path.read_bytes())
    for share in places:
        data[int(len(data) * share)] ^= 0xFF
    out = path.with_stem(f"{path.stem}_hurt")
    out.write_bytes(data)
    return out
