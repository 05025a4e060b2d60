"""Images that are none, of every kind: an error that says so, and nothing else."""

from __future__ import annotations

import pytest

from actiseg_ros.errors import ImageError
from actiseg_ros.vision.compressed import claimed_size, decode_compressed
from actiseg_ros.vision.images import decode_raw
from tests.actiseg_ros.vision.malformed import KINDS, Raw, malformed

SHORT, LONG = 15, 300
"""Images of each kind."""


def refused(seed: int, count: int) -> None:
    for name, image in malformed(seed, count):
        try:
            if isinstance(image, Raw):
                decode_raw(
                    image.encoding,
                    image.height,
                    image.width,
                    image.step,
                    image.is_bigendian,
                    image.data,
                )
            else:
                claimed_size(image.data)
                decode_compressed(image.data)
        except ImageError as error:
            assert 0 < len(str(error)) < 1000, name  # a line of a log
        else:
            raise AssertionError(f"{name} was taken for a picture: {image}")


def test_none_is_taken_for_a_picture() -> None:
    assert len(KINDS) >= 30
    refused(seed=1, count=SHORT * len(KINDS))


@pytest.mark.faults
def test_none_of_ten_thousand_is_taken_for_a_picture() -> None:
    refused(seed=2, count=max(10_000, LONG * len(KINDS)))
