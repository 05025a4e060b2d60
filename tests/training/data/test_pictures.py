"""Pictures are read as they are, or refused, and every network gets its own mean and deviation."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from actiseg_ros.bundle import InputSpec
from actiseg_ros.errors import ActisegError
from actiseg_ros.vision import letterbox
from training.data.pictures import normalise, read_clip, read_rgb

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


def test_training_and_robot_read_the_same_numbers() -> None:
    ours = normalise(torch.from_numpy(RGB).permute(2, 0, 1), MEAN, STD)
    spec = InputSpec(RGB.shape[0], RGB.shape[1], MEAN, STD)
    theirs = letterbox.pad(RGB, spec)
    assert ours.dtype == torch.float32
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-6)
