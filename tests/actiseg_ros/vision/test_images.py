"""Every encoding gives the right colours, and every lie in the fields is found."""

import contextlib
import io
import struct
import zlib
from array import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from actiseg_ros.errors import ImageError
from actiseg_ros.vision.compressed import (
    claimed_size,
    compressed_content,
    decode_compressed,
    encode_jpeg,
)
from actiseg_ros.vision.images import (
    ENCODINGS,
    content_digest,
    decode_raw,
    raw_content,
    to_bytes,
)

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
FLAT = np.full((8, 8, 3), (200, 80, 40), np.uint8)


def raw(samples: np.ndarray, encoding: str, pad: int = 0, big: bool = False) -> tuple:
    """Message fields of samples [rows, W] or [rows, W, C], each row padded by `pad` bytes."""
    samples = samples.astype(samples.dtype.newbyteorder(">" if big else "<"))
    rows = samples.reshape(len(samples), -1)
    data = b"".join(row.tobytes() + b"\xab" * pad for row in rows)
    return encoding, len(samples), samples.shape[1], len(data) // len(rows), int(big), data


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


ALPHA = np.full((6, 8, 1), 9, np.uint8)
BGR = RGB[..., ::-1]
CASES = {
    "rgb8": (RGB, RGB),
    "bgr8": (BGR, RGB),
    "rgba8": (np.concatenate([RGB, ALPHA], 2), RGB),
    "bgra8": (np.concatenate([BGR, ALPHA], 2), RGB),
    "mono8": (RGB[..., 0], grey(RGB[..., 0])),
    "8UC1": (RGB[..., 0], grey(RGB[..., 0])),
    "8UC3": (BGR, RGB),
    "8UC4": (np.concatenate([BGR, ALPHA], 2), RGB),
    "mono16": (RGB[..., 0].astype(np.uint16) * 257, grey(RGB[..., 0])),
    "rgb16": (np.minimum(RGB.astype(np.uint32) * 257 + 128, 65535).astype(np.uint16), RGB),
    "bgr16": (np.maximum(BGR.astype(np.int32) * 257 - 128, 0).astype(np.uint16), RGB),
    "32FC3": (BGR.astype(np.float32) / 255, RGB),
}


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("pad", [0, 4, 5])
@pytest.mark.parametrize("encoding", CASES)
def test_colours_with_padding_and_byte_order(encoding: str, pad: int, big: bool) -> None:
    samples, expected = CASES[encoding]
    result = decode_raw(*raw(samples, encoding, pad, big))
    np.testing.assert_array_equal(result, expected)
    assert result.flags.c_contiguous and result.dtype == np.uint8


# Samples for each pixel, and the CRC-32 of the picture (rgb8) that cv_bridge 3.4.0 with OpenCV 4.6
# makes of `speckled` samples.
OF_CV_BRIDGE = {
    "rgb8": (3, 0x65FECD4E),
    "bgr8": (3, 0xB653225C),
    "rgba8": (4, 0x13B0A8C0),
    "bgra8": (4, 0x0D0DB617),
    "mono8": (1, 0x270FB884),
    "yuv422": (2, 0xB864D052),
    "yuv422_yuy2": (2, 0x0C95AF2B),
    "bayer_rggb8": (1, 0xE68F167A),
    "bayer_bggr8": (1, 0x1BF7162A),
    "bayer_gbrg8": (1, 0xDEC9E973),
    "bayer_grbg8": (1, 0x9AE89019),
    "rgb16": (3, 0xC123911B),
    "bgr16": (3, 0x961DAA48),
    "rgba16": (4, 0x0A3360EC),
    "bgra16": (4, 0x7073C1AB),
    "mono16": (1, 0x164EB0BA),
    "bayer_rggb16": (1, 0x5F96B633),
    "bayer_bggr16": (1, 0x5CEA4D81),
    "bayer_gbrg16": (1, 0x216C0BCD),
    "bayer_grbg16": (1, 0x13E88E6E),
}


def speckled(encoding: str) -> np.ndarray:
    """Samples of 24x32 pixels that look like noise, the same with every version of NumPy."""
    deep, samples = encoding.endswith("16"), OF_CV_BRIDGE[encoding][0]
    numbers = np.arange(24 * 32 * samples, dtype=np.uint64) * 40503 % 65521
    numbers = (numbers * numbers) >> np.uint64(5 if deep else 9)
    kind = np.uint16 if deep else np.uint8
    return numbers.astype(kind).reshape((24, 32, samples) if samples > 1 else (24, 32))


@pytest.mark.parametrize("encoding", OF_CV_BRIDGE)
def test_pictures_are_those_of_cv_bridge(encoding: str) -> None:
    for pad in (0, 12):
        picture = decode_raw(*raw(speckled(encoding), encoding, pad))
        assert zlib.crc32(picture) == OF_CV_BRIDGE[encoding][1]


def test_pictures_are_those_of_the_cv_bridge_at_hand() -> None:
    bridge = pytest.importorskip("cv_bridge", reason="cv_bridge is not installed here")
    names = ("encoding", "height", "width", "step", "is_bigendian", "data")
    for encoding in OF_CV_BRIDGE:
        fields = raw(speckled(encoding), encoding)
        message = SimpleNamespace(**dict(zip(names, fields, strict=True)))
        theirs = bridge.CvBridge().imgmsg_to_cv2(message, "rgb8")
        np.testing.assert_array_equal(decode_raw(*fields), theirs, encoding)


@pytest.mark.parametrize("bits", ["8", "16"])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_start_with_their_first_letters(pattern: str, bits: str) -> None:
    tile = [[("rgb".index(pattern[2 * y + x])) for x in range(2)] for y in range(2)]
    channel = np.tile(tile, (4, 4))
    mosaic = np.take_along_axis(FLAT, channel[..., None], 2)[..., 0]
    if bits == "16":
        mosaic = mosaic.astype(np.uint16) * 256
    result = decode_raw(*raw(mosaic, f"bayer_{pattern}{bits}"))
    np.testing.assert_allclose(result[2:-2, 2:-2], FLAT[2:-2, 2:-2], atol=1)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv", "nv12", "nv21"])
def test_yuv_formats(encoding: str) -> None:
    # BT.601 studio range, the definition that cameras use.
    y, u, v = 111, 94, 181
    if encoding in ("nv12", "nv21"):
        data = np.full((12, 8), y, np.uint8)
        data[8:, 0::2], data[8:, 1::2] = (u, v) if encoding == "nv12" else (v, u)
        fields = (encoding, 8, 8, 8, 0, data.tobytes())
    else:
        pair = [u, y, v, y] if encoding in ("yuv422", "uyvy") else [y, u, y, v]
        fields = (encoding, 8, 8, 16, 0, bytes(pair * 32))
    result = decode_raw(*fields)
    expected = (1.164 * (y - 16) + 1.596 * (v - 128), 1.164 * (y - 16) - 0.813 * (v - 128)
                - 0.391 * (u - 128), 1.164 * (y - 16) + 2.018 * (u - 128))  # fmt: skip
    np.testing.assert_allclose(result.reshape(-1, 3), [expected] * 64, atol=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "jpeg2000"}, "`encoding` is 'jpeg2000'"),
        ({"encoding": ""}, "`encoding` is ''"),
        ({"encoding": "x" * 10**6}, "unknown"),
        ({"height": 0}, "`height` is 0"),
        ({"width": 0}, "`width` is 0"),
        ({"height": 10**9}, "`height` is 1000000000"),
        ({"width": 2**32 - 1}, "`width`"),
        ({"height": 16000, "width": 16000}, "pixels"),
        ({"step": 23}, "`step` is 23"),
        ({"step": 0}, "`step` is 0"),
        ({"step": 25}, "`data` has 144 bytes"),
        ({"height": 7}, "`data` has 144 bytes"),
        ({"data": RGB.tobytes()[:-1]}, "`data` has 143 bytes"),
        ({"data": RGB.tobytes() + b"\0"}, "`data` has 145 bytes"),
        ({"data": b""}, "`data` has 0 bytes"),
        ({"encoding": "rgba8"}, "`step` is 24"),
        ({"encoding": "nv12"}, "`data`"),
        ({"encoding": "yuyv", "width": 7}, "even"),
        ({"encoding": "bayer_rggb8", "width": 2}, "4x4"),
    ],
)
def test_contradictory_fields(change: dict[str, object], message: str) -> None:
    fields = {"encoding": "rgb8", "height": 6, "width": 8, "step": 24, "is_bigendian": 0,
              "data": RGB.tobytes()}  # fmt: skip
    with pytest.raises(ImageError, match=message):
        decode_raw(**{**fields, **change})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, -0.5, 2.0, 3e38])
@pytest.mark.parametrize("encoding", ["32FC3"])
def test_floats_outside_their_range(encoding: str, value: float) -> None:
    samples = CASES[encoding][0].copy()
    samples.flat[7] = value
    with pytest.raises(ImageError, match=encoding):
        decode_raw(*raw(samples, encoding))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(ENCODINGS), st.integers(-1, 20), st.integers(-1, 20), st.integers(-1, 200),
    st.integers(0, 2), st.binary(max_size=600),
)  # fmt: skip
def test_any_fields_give_a_picture_or_an_image_error(
    encoding: str, height: int, width: int, step: int, big: int, data: bytes
) -> None:
    try:
        result = decode_raw(encoding, height, width, step, big, data)
    except ImageError:
        return
    assert result.shape == (height, width, 3) and result.dtype == np.uint8


def test_buffers_of_all_kinds_are_read() -> None:
    for data in (array("B", RGB.tobytes()), bytearray(RGB.tobytes()), memoryview(RGB.tobytes())):
        np.testing.assert_array_equal(decode_raw("rgb8", 6, 8, 24, 0, data), RGB)


@pytest.mark.parametrize("encoding", ["rgb8", "bgra8", "mono16", "nv12", "rgba16"])
def test_raw_images_of_one_picture_have_one_digest(encoding: str) -> None:
    """Whatever fills the rows, and whatever the opacity."""
    random = np.random.default_rng(3)
    height, width = 6, 8
    pixel = {"rgb8": 3, "bgra8": 4, "mono16": 2, "nv12": 1, "rgba16": 8}[encoding]
    rows = 9 if encoding == "nv12" else height
    stored = random.integers(0, 256, (rows, width, pixel), np.uint8)

    def digest(step: int, change: int = 0, opacity: int = 0) -> int:
        picture = stored.copy()
        picture[2, 3, 0] += change
        if encoding in ("bgra8", "rgba16"):
            picture[:, :, pixel // 4 * 3 :] = opacity
        message = random.integers(0, 256, (rows, step), np.uint8)  # any padding
        message[:, : width * pixel] = picture.reshape(rows, -1)
        return content_digest(raw_content(encoding, height, width, step, to_bytes(message)))

    own = digest(width * pixel)
    assert digest(width * pixel + 4) == digest(width * pixel + 4, opacity=9) == own
    assert digest(width * pixel, change=1) != own


def test_fields_that_disagree_leave_all_data_in_the_digest() -> None:
    data = RGB.tobytes()
    for fields in (("rgb8", 6, 8, 23), ("rgb8", 7, 8, 24), ("none", 6, 8, 24), ("rgb8", 0, 8, 24)):
        assert raw_content(*fields, data) is data


def _with_remark(file: bytes, text: bytes) -> bytes:
    """A JPEG with a comment and an APP1 segment, a PNG with a text and a time."""
    if file.startswith(b"\xff\xd8"):
        parts = [
            marker + struct.pack(">H", len(text) + 2) + text
            for marker in (b"\xff\xfe", b"\xff\xe1")
        ]
        return file[:2] + b"".join(parts) + file[2:] + text
    chunks = b""
    for kind in (b"tEXt", b"tIME"):
        check = struct.pack(">I", zlib.crc32(kind + text))
        chunks += struct.pack(">I", len(text)) + kind + text + check
    return file[:33] + chunks + file[33:]


@pytest.mark.parametrize(
    "suffix",
    [
        (".jpg",),
        (".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
        (".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
        (".png",),
    ],
    ids=["jpeg", "progressive", "restarts", "png"],
)
@given(text=st.binary(max_size=40), seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_files_of_one_picture_have_one_digest(suffix: tuple, text: bytes, seed: int) -> None:
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (33, 47, 3), np.uint8)
    other = pixels.copy()
    other[20:, 20:] = 255 - other[20:, 20:]

    def encoded(image: np.ndarray) -> bytes:
        return bytes(cv2.imencode(suffix[0], image, list(suffix[1:]))[1])

    def digest(file: bytes) -> int:
        return content_digest(*compressed_content(file))

    file = encoded(pixels)
    assert digest(_with_remark(file, text)) == digest(file)
    assert digest(encoded(other)) != digest(file)
    # Nothing of the picture is left out: what ends early is another one.
    for part in (0.5, 0.9):
        assert digest(file[: int(part * len(file))]) != digest(file)


def test_thousands_of_pictures_have_as_many_digests() -> None:
    """A checksum over data that ends in their own tells next to nothing of them."""
    random = np.random.default_rng(1)
    found = set()
    for _ in range(3000):
        pixels = random.integers(0, 256, (4, 4, 3), np.uint8)
        found.add(content_digest(*compressed_content(png(pixels))))
    assert len(found) == 3000


@given(
    data=st.binary(max_size=200),
    start=st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]),
)
def test_parts_of_any_bytes_are_parts_of_them(data: bytes, start: bytes) -> None:
    whole = start + data
    place = 0
    for part in compressed_content(whole):
        place = whole.index(bytes(part), place) + len(part)


def test_fast_fill_and_digest() -> None:
    filled = to_bytes(RGB[::2])
    assert filled == array("B", RGB[::2].tobytes())
    assert content_digest(filled) == content_digest(RGB[::2].tobytes())
    assert content_digest(filled) != content_digest(to_bytes(RGB[1::2]))


def picture() -> np.ndarray:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :, 0] = np.arange(64) * 4
    image[:, :, 1] = (np.arange(48) * 5)[:, None]
    return image


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def test_jpeg_round_trip_keeps_colour_order() -> None:
    result = decode_compressed(encode_jpeg(picture(), 95))
    assert np.abs(result.astype(int) - picture()).mean() < 3


@pytest.mark.parametrize("options", [[cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
                                     [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])  # fmt: skip
def test_progressive_and_restart_jpegs(options: list[int]) -> None:
    data = cv2.imencode(".jpg", picture()[..., ::-1], options)[1].tobytes()
    assert np.abs(decode_compressed(data).astype(int) - picture()).mean() < 3


def test_png_kinds() -> None:
    np.testing.assert_array_equal(decode_compressed(png(picture()[..., ::-1])), picture())
    one = picture()[..., 0]
    np.testing.assert_array_equal(decode_compressed(png(one)), grey(one))
    deep = one.astype(np.uint16) * 256
    np.testing.assert_allclose(decode_compressed(png(deep)), grey(one), atol=1)


@pytest.mark.parametrize("kind", [".jpg", ".png"])
def test_truncation_anywhere_is_found(kind: str) -> None:
    data = cv2.imencode(kind, picture())[1].tobytes()
    for end in range(0, len(data) - 1, 7):
        with pytest.raises(ImageError):
            decode_compressed(data[:end])


def test_trailing_padding_is_harmless() -> None:
    data = bytes(encode_jpeg(picture()))
    assert decode_compressed(data + b"\0" * 64).shape == (48, 64, 3)


def test_a_changed_byte_in_a_png_is_found() -> None:
    data = bytearray(png(picture()))
    for place in range(20, len(data), 11):
        changed = data.copy()
        changed[place] ^= 0x10
        with pytest.raises(ImageError):
            decode_compressed(changed)


def test_lost_restart_interval_is_found() -> None:
    data = cv2.imencode(".jpg", picture(), [cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1].tobytes()
    first, second = data.index(b"\xff\xd1"), data.index(b"\xff\xd2")
    with pytest.raises(ImageError, match="RST1"):
        decode_compressed(data[:first] + data[second:])


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8\xff", b"GIF89a", b"\0" * 100, b"\x89PNG\r\n\x1a\n"]
)
def test_other_content_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="compressed image"):
        decode_compressed(data)


def test_huge_claimed_sizes_are_refused_before_decoding() -> None:
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    )
    with pytest.raises(ImageError, match="60000x60000"):
        decode_compressed(b"\x89PNG\r\n\x1a\n" + chunks)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b""]))
def test_any_bytes_give_a_picture_or_an_image_error(body: bytes, start: bytes) -> None:
    try:
        decode_compressed(start + body)
    except ImageError as error:
        assert "compressed image" in str(error)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_in_a_jpeg_never_escapes_as_another_error(place: int, flip: int) -> None:
    data = bytearray(encode_jpeg(picture()))
    data[place % len(data)] ^= flip
    with contextlib.suppress(ImageError):
        decode_compressed(data)


def noisy_jpeg(*options: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)
    smooth = cv2.GaussianBlur(noise, (0, 0), 2)
    return cv2.imencode(".jpg", smooth, [cv2.IMWRITE_JPEG_QUALITY, 90, *options])[1].tobytes()


JPEG_KINDS = {
    "baseline": (),
    "progressive": (cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restart": (cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
}


@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("damage", ["half", "most", "missing", "zeroed", "filled"])
def test_damage_inside_a_jpeg_is_no_picture(damage: str, kind: str) -> None:
    good = noisy_jpeg(*JPEG_KINDS[kind])
    middle = len(good) // 2
    data = {
        "half": good[:middle] + b"\xff\xd9",
        "most": good[: 9 * len(good) // 10] + b"\xff\xd9",
        "missing": good[:middle] + good[middle + 1000 :],
        "zeroed": good[:middle] + b"\0" * 500 + good[middle + 500 :],
        "filled": good[:middle] + b"A" * 200 + good[middle + 200 :],
    }[damage]
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode_compressed(data)


@pytest.mark.parametrize("kind", JPEG_KINDS)
def test_a_jpeg_without_its_last_byte_is_no_picture(kind: str) -> None:
    with pytest.raises(ImageError, match="damaged or cut short"):
        decode_compressed(noisy_jpeg(*JPEG_KINDS[kind])[:-1])


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    return exif


@pytest.mark.parametrize(
    ("mode", "options"),
    [("RGB", {"subsampling": "4:2:0"}), ("RGB", {"subsampling": "4:4:4"}),
     ("RGB", {"exif": turned()}), ("L", {}), ("CMYK", {})],
    ids=["4:2:0", "4:4:4", "turned", "grey", "cmyk"],
)  # fmt: skip
def test_jpegs_have_the_pixels_that_opencv_gives(mode: str, options: dict[str, object]) -> None:
    file = io.BytesIO()
    Image.fromarray(picture()).convert(mode).save(file, "JPEG", **options)
    unturned = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    bgr = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), unturned)
    np.testing.assert_array_equal(decode_compressed(file.getvalue()), bgr[..., ::-1])


def test_a_jpeg_that_claims_a_huge_size_is_refused_before_decoding() -> None:
    data = bytearray(encode_jpeg(picture()))
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60000, 60000)
    with pytest.raises(ImageError, match="60000x60000"):
        decode_compressed(data)


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1", "16uc1"])
def test_depth_pictures_are_no_pictures(encoding: str) -> None:
    dtype = np.float32 if encoding.startswith("32") else np.uint16
    with pytest.raises(ImageError, match="depth picture; remap"):
        decode_raw(*raw(np.ones((6, 8), dtype), encoding))


def shades(low: int, high: int) -> np.ndarray:
    return np.linspace(low, high, 64 * 64).astype(np.uint16).reshape(64, 64)


def test_distances_published_as_grey_are_no_picture_either() -> None:
    room = shades(700, 9000)
    room[:8] = 0  # not measured
    near = np.where(room > 3000, 3000, room)
    for depth in (room, near):
        with pytest.raises(ImageError, match="depth picture"):
            decode_raw(*raw(depth, "mono16"))
        png = cv2.imencode(".png", depth)[1].tobytes()
        with pytest.raises(ImageError, match="depth picture"):
            decode_compressed(png)


def test_twelve_bits_in_sixteen_are_refused_and_not_turned_black() -> None:
    for bits, samples, encoding in [
        (12, shades(0, 4095), "mono16"),
        (10, np.repeat(shades(0, 1023)[..., None], 3, axis=2), "rgb16"),
        (12, shades(0, 4095), "bayer_rggb16"),
        (12, np.repeat(shades(0, 4095)[..., None], 4, axis=2), "rgba16"),
    ]:
        if encoding == "rgba16":
            samples[..., 3] = 65535  # opaque, however dark
        with pytest.raises(ImageError, match="12 bits or fewer in 16"):
            decode_raw(*raw(samples, encoding))
        widened = samples << (16 - bits)
        assert decode_raw(*raw(widened, encoding)).max() > 250


@pytest.mark.parametrize("factor", [256, 257])
def test_widened_eight_bits_and_black_pictures_are_pictures(factor: int) -> None:
    wide = (shades(0, 255) * factor).astype(np.uint16)
    wide[:8] = 0
    assert decode_raw(*raw(wide, "mono16")).max() >= 254  # 65280 of 65535 is 254 of 255
    assert not decode_raw(*raw(np.zeros((6, 8), np.uint16), "mono16")).any()
    png = cv2.imencode(".png", wide)[1].tobytes()
    assert decode_compressed(png).max() == 255


def test_the_claimed_size_of_a_compressed_image() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (37, 53, 3), np.uint8)
    for extension in (".jpg", ".png"):
        data = cv2.imencode(extension, picture)[1].tobytes()
        assert claimed_size(data) == (37, 53)
        assert claimed_size(data[:20]) == (0, 0)
    for data in (b"", b"no picture", b"\xff\xd8\xff"):
        assert claimed_size(data) == (0, 0)
