"""The overlay shows the masks, the doubt and the decision."""

import numpy as np
import pytest

from actiseg_ros.gate.rule import Reason
from actiseg_ros.gate.state import Decision
from actiseg_ros.overlay import color_of, draw_overlay
from actiseg_ros.prompts import Prompt
from actiseg_ros.vision.image_descriptor import ImageDescriptor
from actiseg_ros.vision.segmenter import Segmentation

NO_GO = Decision(go=False, reasons=(Reason.HOLDING,), target="cup")
GO = Decision(go=True, reasons=(), target="cup")


def segmentation(height: int = 240, width: int = 320) -> Segmentation:
    labels = np.zeros((height, width), np.uint8)
    labels[height // 2 : height // 2 + 40, 40:120] = 1
    return Segmentation(
        prompt=Prompt("take cup", ("cup", "knife")),
        labels=labels,
        probabilities=np.zeros((2, height // 4, width // 4), np.float32),
        active=np.float32([0.9, 0.1]),
        objectness=np.float32([0.8, 0.8]),
        descriptor=ImageDescriptor(np.zeros((1, 2, 3), np.float32), np.zeros(4, np.float32)),
        timings={},
    )


def test_masks_are_tinted_and_the_rest_stays() -> None:
    rgb = np.full((240, 320, 3), 100, np.uint8)
    before = rgb.copy()
    result = draw_overlay(rgb, segmentation(), NO_GO)
    np.testing.assert_array_equal(rgb, before)
    assert result.shape == rgb.shape and result.dtype == np.uint8
    expected = (100 + np.array(color_of(1))) / 2
    np.testing.assert_allclose(result[150, 80], expected, atol=1)
    np.testing.assert_array_equal(result[200, 200], [100, 100, 100])


def test_uncertain_pixels_are_hatched() -> None:
    uncertain = np.zeros((60, 80), np.bool_)
    uncertain[-5:, -5:] = True
    result = draw_overlay(np.zeros((240, 320, 3), np.uint8), segmentation(), NO_GO, uncertain)
    corner = result[-20:, -20:].max(axis=2)
    assert 0.1 < (corner == 255).mean() < 0.9


def test_the_banner_is_green_for_go_and_red_for_no_go() -> None:
    rgb = np.full((240, 320, 3), 100, np.uint8)
    for decision, channel in ((GO, 1), (NO_GO, 0)):
        colour = draw_overlay(rgb, None, decision)[2, -3]
        assert colour.argmax() == channel


@pytest.mark.parametrize("size", [(1, 1), (9, 7), (1080, 1920)])
def test_any_size(size: tuple[int, int]) -> None:
    rgb = np.zeros((*size, 3), np.uint8)
    odd = Decision(go=False, reasons=tuple(Reason), target="чашка" * 50)
    assert draw_overlay(rgb, None, odd).shape == rgb.shape


def test_read_only_images_are_drawn_on_a_copy() -> None:
    rgb = np.frombuffer(bytes(240 * 320 * 3), np.uint8).reshape(240, 320, 3)
    assert draw_overlay(rgb, segmentation(), GO).any()
