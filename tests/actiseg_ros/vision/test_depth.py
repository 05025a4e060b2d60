"""Points from depth pictures: rays against the camera that drew them, fields against each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actiseg_ros.vision.depth import (
    Camera,
    DepthError,
    DepthReason,
    camera,
    decode_depth,
    rays,
    target_points,
)

HEIGHT, WIDTH = 48, 64
K = (60.0, 0.0, 31.0, 0.0, 58.0, 24.5, 0.0, 0.0, 1.0)
P = (55.0, 0.0, 30.0, 0.0, 0.0, 55.0, 25.0, 0.0, 0.0, 0.0, 1.0, 0.0)
LENSES = {
    "none": ("", ()),
    "plumb_bob": ("plumb_bob", (-0.2, 0.05, 0.002, -0.001, 0.01)),
    "rational": ("rational_polynomial", (0.3, -0.1, 0.001, 0.001, 0.02, 0.5, -0.05, 0.01)),
    "fisheye": ("equidistant", (0.05, -0.01, 0.003, 0.001)),
    "ideal fisheye": ("equidistant", (0.0, 0.0, 0.0, 0.0)),
    "fisheye without coefficients": ("equidistant", ()),
}


def lens(name: str) -> Camera:
    model, d = LENSES[name]
    return camera("eye", (HEIGHT, WIDTH), K, P, model, d)


def draw(seen_by: Camera, points: np.ndarray) -> np.ndarray:
    """Pixels where a camera sees points, by OpenCV's own projection."""
    nothing = np.zeros(3)
    if seen_by.model == "equidistant":
        d = seen_by.d if seen_by.d.size else np.zeros(4)
        return cv2.fisheye.projectPoints(points[:, None], nothing, nothing, seen_by.k, d)[0][:, 0]
    d = seen_by.d if seen_by.d.size else None
    return cv2.projectPoints(points[:, None], nothing, nothing, seen_by.k, d)[0][:, 0]


@pytest.mark.parametrize("name", LENSES)
@given(
    x=st.floats(-0.4, 0.4), y=st.floats(-0.3, 0.3), z=st.floats(0.2, 8.0), seed=st.integers(0, 99)
)
def test_a_point_lies_on_the_ray_of_the_pixel_that_shows_it(
    name: str, x: float, y: float, z: float, seed: int
) -> None:
    others = np.random.default_rng(seed).uniform((-0.4, -0.3, 1), (0.4, 0.3, 2), (3, 3))
    points = np.array([[x * z, y * z, z], *(others * (others[:, 2:] ** [[1, 1, 0]]))])
    seen_by = lens(name)
    found = rays(draw(seen_by, points).astype(np.float64), seen_by, rectified=False)
    np.testing.assert_allclose(found, points[:, :2] / points[:, 2:], atol=1e-4)


@pytest.mark.parametrize(
    ("model", "d", "focal"),
    [
        ("plumb_bob", (-0.35, 0.0, 0.0, 0.0), 40.0),
        ("plumb_bob", (-0.35, 0.12, 0.0, 0.0, -0.012), 20.0),
        ("rational_polynomial", (-0.4, 0.1, 0.0, 0.0, -0.01, 0.1, 0.0, 0.0), 25.0),
        ("equidistant", (-0.02, 0.0, 0.0, 0.0), 18.0),
        ("equidistant", (-0.15, 0.0, 0.0, 0.0), 18.0),
    ],
)
def test_a_pixel_has_the_innermost_of_its_rays_or_none(
    model: str, d: tuple[float, ...], focal: float
) -> None:
    matrix = (focal, 0.0, 31.5, 0.0, focal, 23.5, 0.0, 0.0, 1.0)
    seen_by = camera("eye", (HEIGHT, WIDTH), matrix, P, model, d)
    pixels = np.argwhere(np.ones((WIDTH, HEIGHT))).astype(np.float64)
    found = rays(pixels, seen_by, rectified=False)

    # These lenses are round: one profile from the centre outwards, up to where it turns back.
    away = np.tan(np.radians(np.linspace(0.0, 89.0, 20000)))
    profile = draw(seen_by, np.stack([away, 0 * away, 1 + 0 * away], axis=1))[:, 0] - 31.5
    turn = int(np.argmax(np.diff(profile) <= 0)) if (np.diff(profile) <= 0).any() else len(away) - 1
    centred = pixels - (31.5, 23.5)
    radius = np.hypot(*centred.T)
    expected = np.interp(radius, profile[: turn + 1], away[: turn + 1])
    expected = centred * (expected / radius)[:, None]
    reached = radius <= profile[turn]
    known = np.isfinite(found).all(axis=1)
    assert not reached.all() and not known[~reached].any()
    np.testing.assert_allclose(found[known], expected[known], rtol=1e-2, atol=1e-4)
    assert known[radius <= 0.8 * profile[turn]].all()


def test_a_target_beyond_the_lens_model_has_no_points() -> None:
    matrix = (40.0, 0.0, 31.5, 0.0, 40.0, 23.5, 0.0, 0.0, 1.0)
    seen_by = camera("eye", (HEIGHT, WIDTH), matrix, P, "plumb_bob", (-0.35, 0.0, 0.0, 0.0))
    depth, mask = np.ones((HEIGHT, WIDTH), np.float32), np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[:8, :8] = True
    with pytest.raises(
        DepthError, match=r"a ray for 0 of the target's 64 pixels.*plumb_bob"
    ) as told:
        target_points(depth, mask, seen_by, rectified=False)
    assert told.value.reason is DepthReason.BAD_CAMERA_INFO
    mask[20:28, 20:40] = True
    points = target_points(depth, mask, seen_by, rectified=False)
    assert points.shape == (160, 3) and np.isfinite(points).all()


def test_rectified_pictures_follow_the_projection_matrix() -> None:
    seen_by = lens("plumb_bob")
    pixels = np.array([[30.0, 25.0], [85.0, 25.0], [30.0, 80.0]])
    found = rays(pixels, seen_by, rectified=True)
    np.testing.assert_allclose(found, [[0, 0], [1, 0], [0, 1]])


@given(
    binning=st.tuples(st.sampled_from((0, 1, 2)), st.sampled_from((0, 1, 2))),
    top=st.integers(0, 20),
    left=st.integers(0, 20),
)
def test_a_part_of_the_picture_has_the_same_rays(
    binning: tuple[int, int], top: int, left: int
) -> None:
    whole = camera("eye", (HEIGHT, WIDTH), K, P, "", ())
    region = (top, left, 24, 40)
    part = camera("eye", (HEIGHT, WIDTH), K, P, "", (), binning, region)
    down, right = max(1, binning[0]), max(1, binning[1])
    assert (part.height, part.width) == (24 // down, 40 // right)
    own = np.array([[0.0, 0.0], [3.0, 5.0]])
    for rectified in (False, True):
        full = rays(own * (right, down) + (left, top), whole, rectified=rectified)
        np.testing.assert_allclose(rays(own, part, rectified=rectified), full)


def test_a_camera_with_one_matrix_alone_is_calibrated() -> None:
    nothing = np.zeros(12)
    by_k = camera("eye", (HEIGHT, WIDTH), K, nothing, "", ())
    by_p = camera("eye", (HEIGHT, WIDTH), nothing[:9], P, "", ())
    np.testing.assert_array_equal(by_k.p[:, :3], by_k.k)
    np.testing.assert_array_equal(by_p.k, by_p.p[:, :3])


def encoded(
    metres: np.ndarray, encoding: str, padding: int = 0, big: bool = False
) -> dict[str, Any]:
    order = ">" if big else "<"
    if encoding == "32FC1":
        samples = metres.astype(f"{order}f4")
    else:
        samples = np.nan_to_num(np.rint(metres * 1000)).astype(f"{order}u2")
    rows = samples.view(np.uint8).reshape(len(samples), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    return {
        "encoding": encoding,
        "height": metres.shape[0],
        "width": metres.shape[1],
        "step": rows.shape[1],
        "is_bigendian": int(big),
        "data": rows.tobytes(),
    }


@pytest.mark.parametrize("encoding", ["16UC1", "mono16", "32FC1"])
@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("padding", [0, 6])
def test_depth_is_metres_and_nothing_where_nothing_was_measured(
    encoding: str, big: bool, padding: int
) -> None:
    metres = np.random.default_rng(0).integers(300, 9000, (5, 7)) / 1000
    metres[1, 2] = metres[4, 6] = np.nan
    found = decode_depth(**encoded(metres, encoding, padding, big))
    np.testing.assert_allclose(found, metres, rtol=1e-6)


def test_impossible_distances_are_none() -> None:
    samples = np.array([[np.inf, -np.inf, np.nan, 0.0, -1.0, 2.0]], np.float32)
    found = decode_depth("32FC1", 1, 6, 24, 0, samples.tobytes())
    assert np.isnan(found[0, :5]).all() and found[0, 5] == 2


GOOD = encoded(np.full((4, 6), 1.5), "16UC1")


@pytest.mark.parametrize(
    "change",
    [{"encoding": "rgb8"}, {"encoding": ""}, {"step": 11}, {"height": 5}, {"data": b""},
     {"width": 0}, {"height": 0}, {"width": 2**31}],
)  # fmt: skip
def test_fields_that_contradict_each_other_are_told(change: dict[str, Any]) -> None:
    with pytest.raises(DepthError, match="depth") as caught:
        decode_depth(**(GOOD | change))
    assert caught.value.reason is DepthReason.BAD_DEPTH


def plane(seen_by: Camera, normal: tuple[float, float, float], offset: float) -> np.ndarray:
    """Depth picture of the plane n x = offset, metres along the axis."""
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    pixels = np.stack([columns.ravel(), rows.ravel()], 1).astype(np.float64)
    across = np.column_stack([rays(pixels, seen_by, rectified=False), np.ones(len(pixels))])
    return (offset / (across @ np.array(normal))).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("name", LENSES)
def test_points_of_a_plane_lie_on_it(name: str) -> None:
    seen_by, normal = lens(name), (0.1, -0.3, 0.95)
    depth = plane(seen_by, normal, 1.2)
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[10:20, 30:45] = True
    hole = mask & (np.arange(WIDTH) % 3 == 0)
    picture = decode_depth(**encoded(np.where(hole, np.nan, depth), "32FC1"))
    points = target_points(picture, mask, seen_by, rectified=False)
    assert len(points) == np.count_nonzero(mask & ~hole) and points.dtype == np.float32
    np.testing.assert_allclose(points @ np.array(normal), 1.2, rtol=1e-5)
    # Drawn again they fall on their own pixels.
    rows, columns = np.nonzero(mask & ~hole)
    seen = draw(seen_by, points.astype(np.float64))
    np.testing.assert_allclose(seen, np.stack([columns, rows], 1), atol=0.02)


def test_right_down_and_forward_are_positive() -> None:
    seen_by = lens("none")
    for row, column in ((40, 60), (5, 3)):
        mask = np.zeros((HEIGHT, WIDTH), np.bool_)
        mask[row, column] = True
        x, y, z = target_points(
            np.full(mask.shape, 2.0, np.float32), mask, seen_by, rectified=False
        )[0]
        assert (x > 0) == (column > 31) and (y > 0) == (row > 24) and z == 2


def _other_size(depth: np.ndarray, seen_by: Camera) -> tuple[np.ndarray, Camera]:
    return depth[:, :-1], seen_by


def _other_camera(depth: np.ndarray, seen_by: Camera) -> tuple[np.ndarray, Camera]:
    return depth, replace(seen_by, height=HEIGHT // 2)


def _few(depth: np.ndarray, seen_by: Camera) -> tuple[np.ndarray, Camera]:
    few = np.full_like(depth, np.nan)
    few[10, 10] = 1
    return few, seen_by


def _unknown_lens(depth: np.ndarray, seen_by: Camera) -> tuple[np.ndarray, Camera]:
    return depth, replace(seen_by, model="magic", d=np.array([0.1, 0.2]))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_other_size, DepthReason.DEPTH_DISAGREES),
        (_other_camera, DepthReason.DEPTH_DISAGREES),
        (_few, DepthReason.NOT_MEASURED),
        (_unknown_lens, DepthReason.BAD_CAMERA_INFO),
    ],
)
def test_what_does_not_fit_gives_no_points(
    spoil: Callable[[np.ndarray, Camera], tuple[np.ndarray, Camera]], reason: DepthReason
) -> None:
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[5:20, 5:20] = True
    depth, seen_by = spoil(np.ones(mask.shape, np.float32), lens("none"))
    with pytest.raises(DepthError) as caught:
        target_points(depth, mask, seen_by, rectified=False)
    assert caught.value.reason is reason


@pytest.mark.parametrize("k", [np.zeros(9), np.full(9, np.nan), -np.array(K)])
def test_a_camera_that_is_not_calibrated_is_told(k: np.ndarray) -> None:
    with pytest.raises(DepthError) as caught:
        camera("eye", (HEIGHT, WIDTH), k, np.zeros(12), "", ())
    assert caught.value.reason is DepthReason.BAD_CAMERA_INFO
