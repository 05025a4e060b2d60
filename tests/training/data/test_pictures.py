"""Pictures are read as they are, or refused, and every network gets its own mean and deviation."""

import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from actiseg_ros.bundle import InputSpec
from actiseg_ros.errors import ActisegError
from actiseg_ros.vision import letterbox
from training.data.pictures import decode_upright, normalise, read_clip, read_rgb

RGB = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=95)
    return tmp_path / "a.jpg"


def test_pictures_are_those_of_the_reference_decoder(picture: Path, shared: Path) -> None:
    real = sorted((shared / "epic" / "demo_frames").glob("*/*.jpg"))
    for path in [picture, *real]:
        with Image.open(path) as image:
            assert np.array_equal(read_rgb(path), np.asarray(image.convert("RGB")))


def test_damaged_absent_and_unequal_pictures_are_named(picture: Path) -> None:
    cut = picture.with_name("cut.jpg")
    cut.write_bytes(picture.read_bytes()[:-40])
    with pytest.raises(ActisegError, match=r"cut\.jpg: not a readable picture"):
        read_rgb(cut)
    with pytest.raises(ActisegError, match=r"b\.jpg: not found"):
        read_rgb(picture.with_name("b.jpg"))
    Image.fromarray(RGB[:16]).save(picture.with_name("low.jpg"))
    with pytest.raises(ActisegError, match=r"low\.jpg: has 32x16 pixels, .* 32x24"):
        read_clip([picture, picture.with_name("low.jpg")])


@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_are_turned_as_people_see_them(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[274] = turn
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path, exif=exif)
    found, upright = decode_upright(path.read_bytes())
    with Image.open(path) as image:
        np.testing.assert_array_equal(found, np.asarray(ImageOps.exif_transpose(image)))
    assert upright == (turn == 1)


def test_a_broken_orientation_is_none(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[274], exif[271] = 6, "camera"
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    whole = (tmp_path / "a.png").read_bytes()
    place = whole.index(b"eXIf")
    length = int.from_bytes(whole[place - 4 : place], "big")
    block = whole[place + 4 : place + 4 + length]
    for broken in (b"", block[:3], block[: length // 2], b"II*\0\xff\xff\xff\xff" + block[8:]):
        chunk = b"eXIf" + broken
        data = len(broken).to_bytes(4, "big") + chunk + zlib.crc32(chunk).to_bytes(4, "big")
        content = whole[: place - 4] + data + whole[place + 8 + length :]
        found, _ = decode_upright(content)
        np.testing.assert_array_equal(found, RGB)


def test_training_and_robot_read_the_same_numbers() -> None:
    ours = normalise(torch.from_numpy(RGB).permute(2, 0, 1), MEAN, STD)
    spec = InputSpec(RGB.shape[0], RGB.shape[1], MEAN, STD)
    theirs = letterbox.pad(RGB, spec)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-6)
