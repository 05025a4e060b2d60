"""Malformed images of many kinds from a seed, as the fields of messages; nothing here needs ROS."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

Rng = np.random.Generator


@dataclass(frozen=True)
class Raw:
    """Fields of a ``sensor_msgs/Image``."""

    encoding: str
    height: int
    width: int
    step: int
    data: bytes
    is_bigendian: int = 0


@dataclass(frozen=True)
class Compressed:
    """Fields of a ``sensor_msgs/CompressedImage``."""

    data: bytes
    format: str = "jpeg"


Malformed = Raw | Compressed


def picture(rng: Rng) -> np.ndarray:
    """A smooth random picture, uint8 [H, W, 3], even sides."""
    height, width = (2 * int(side) for side in rng.integers(12, 60, 2))
    small = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def raw(rng: Rng, encoding: str = "rgb8") -> Raw:
    pixels = picture(rng)
    height, width = pixels.shape[:2]
    return Raw(encoding, height, width, 3 * width, pixels.tobytes())


def samples(values: np.ndarray, encoding: str) -> Raw:
    rows = values.reshape(len(values), -1)
    return Raw(encoding, values.shape[0], values.shape[1], rows.strides[0], values.tobytes())


def floats(rng: Rng, wrong: float) -> Raw:
    values = picture(rng).astype(np.float32) / 255
    values[tuple(int(rng.integers(side)) for side in values.shape)] = wrong
    return samples(values, "32FC3")


def text(rng: Rng, length: int) -> str:
    return "".join(
        chr(int(c)) for c in rng.choice([*range(33, 126), 0xE9, 0x4E2D, 0x1F345], length)
    )


def distances(rng: Rng) -> np.ndarray:
    """Depth in millimetres with holes and a nearest distance, as sensors give them."""
    values = rng.integers(400, 6000, (48, 64)).astype(np.uint16)
    values[rng.random(values.shape) < 0.2] = 0
    return values


def jpeg(rng: Rng) -> bytes:
    return cv2.imencode(".jpg", picture(rng))[1].tobytes()


def png(rng: Rng, values: np.ndarray | None = None) -> bytes:
    return cv2.imencode(".png", picture(rng) if values is None else values)[1].tobytes()


def chunk(kind: bytes, content: bytes) -> bytes:
    return (
        struct.pack(">I", len(content))
        + kind
        + content
        + struct.pack(">I", zlib.crc32(kind + content))
    )


def _raw_with(**changed: object) -> Callable[[Rng], Raw]:
    return lambda rng: replace(raw(rng), **changed)  # type: ignore[arg-type]


def _resized(change: Callable[[Rng, bytes], bytes]) -> Callable[[Rng], Raw]:
    def make(rng: Rng) -> Raw:
        good = raw(rng)
        return replace(good, data=change(rng, good.data))

    return make


def _odd(encoding: str, bytes_per_pixel: int) -> Callable[[Rng], Raw]:
    def make(rng: Rng) -> Raw:
        height, width = 2 * int(rng.integers(4, 20)), 2 * int(rng.integers(4, 20)) + 1
        step = width * bytes_per_pixel
        rows = height * 3 // 2 if encoding.startswith("nv") else height
        return Raw(encoding, height, width, step, rng.bytes(step * rows))

    return make


def _tiny_bayer(rng: Rng) -> Raw:
    return Raw("bayer_rggb8", 2, 2, 2, rng.bytes(4))


def _twelve_bits(rng: Rng) -> Raw:
    return samples(picture(rng)[..., 0].astype(np.uint16) << 4, "mono16")


def _jpeg_with(change: Callable[[Rng, bytes], bytes]) -> Callable[[Rng], Compressed]:
    return lambda rng: Compressed(change(rng, jpeg(rng)))


def _cut(rng: Rng, data: bytes) -> bytes:
    return data[: int(rng.integers(4, len(data) * 9 // 10))]


def _ended(rng: Rng, data: bytes) -> bytes:
    return data[: len(data) // 2] + b"\xff\xd9"


def _claim(rng: Rng, data: bytes) -> bytes:
    """The size in the frame header becomes 65535 by 65535."""
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + b"\xff\xff\xff\xff" + data[place + 4 :]


def _png_checksum(rng: Rng) -> Compressed:
    data = bytearray(png(rng))
    data[int(rng.integers(45, len(data) - 20))] ^= 1 << int(rng.integers(8))
    return Compressed(bytes(data), "png")


def _png_cut(rng: Rng) -> Compressed:
    return Compressed(_cut(rng, png(rng)), "png")


def _png_claim(rng: Rng) -> Compressed:
    head = struct.pack(">IIBBBBB", 1 << 30, 1 << 30, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return Compressed(b"\x89PNG\r\n\x1a\n" + body, "png")


KINDS: dict[str, Callable[[Rng], Malformed]] = {
    "no size": _raw_with(height=0, width=0, step=0, data=b""),
    "no rows": _raw_with(height=0),
    "no columns": _raw_with(width=0),
    "larger than memory": _raw_with(height=2**31, width=2**31, step=2**32 - 1),
    "a side too long": _raw_with(height=1 << 20),
    "no data": _raw_with(data=b""),
    "data cut": _resized(lambda rng, data: data[: int(rng.integers(1, len(data)))]),
    "data too long": _resized(lambda rng, data: data + rng.bytes(int(rng.integers(1, 999)))),
    "step zero": _raw_with(step=0),
    "step short": lambda rng: replace(g := raw(rng), step=g.step - int(rng.integers(1, g.step))),
    "step huge": _raw_with(step=2**32 - 1),
    "no encoding": _raw_with(encoding=""),
    "unknown encoding": lambda rng: raw(rng, text(rng, int(rng.integers(1, 12)))),
    "long encoding": lambda rng: raw(rng, text(rng, 3000)),
    "wider samples": lambda rng: raw(rng, str(rng.choice(["rgba8", "rgb16", "bgra16", "32FC4"]))),
    "odd yuv": _odd("uyvy", 2),
    "odd nv12": _odd("nv12", 1),
    "tiny bayer": _tiny_bayer,
    "not a number": lambda rng: floats(rng, float("nan")),
    "infinite": lambda rng: floats(rng, float("inf")),
    "out of range": lambda rng: floats(rng, float(rng.choice([-0.5, 1.5, 255.0]))),
    "depth in millimetres": lambda rng: samples(distances(rng), "16UC1"),
    "depth in metres": lambda rng: samples(distances(rng).astype(np.float32) / 1000, "32FC1"),
    "depth as grey": lambda rng: samples(distances(rng) * np.uint16(3), "mono16"),
    "twelve bits": _twelve_bits,
    "empty file": lambda rng: Compressed(b""),
    "noise": lambda rng: Compressed(rng.bytes(int(rng.integers(1, 5000)))),
    "text": lambda rng: Compressed(text(rng, 500).encode()),
    "another format": lambda rng: Compressed(b"GIF89a" + rng.bytes(400), "gif"),
    "jpeg cut": _jpeg_with(_cut),
    "jpeg ended": _jpeg_with(_ended),
    "jpeg of its header": lambda rng: Compressed(b"\xff\xd8\xff\xe0" + rng.bytes(30)),
    "jpeg that claims": _jpeg_with(_claim),
    "png with a wrong bit": _png_checksum,
    "png cut": _png_cut,
    "png that claims": _png_claim,
    "png of distances": lambda rng: Compressed(png(rng, distances(rng) * np.uint16(3)), "png"),
}
"""Ways to be malformed; none of them may be taken for a picture."""


def malformed(seed: int, count: int, kind: type[Malformed] | None = None) -> Iterator[
    tuple[str, Malformed]
]:  # fmt: skip
    """Malformed images, all kinds in turn; those of one kind differ.

    Args:
        seed: Seed of everything.
        count: Number of images.
        kind: Only raw or only compressed ones.
    """
    made = 0
    while made < count:
        for index, (name, make) in enumerate(KINDS.items()):
            image = make(np.random.default_rng((seed, made, index)))
            if (kind is None or isinstance(image, kind)) and made < count:
                made += 1
                yield name, image
