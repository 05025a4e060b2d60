"""Pictures, label maps and weights of the layout from annotated pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from actiseg_ros.errors import ImageError
from training.data.labels import WEIGHT_CUE, WEIGHT_NEGATIVE, WEIGHT_OTHER
from training.data.own.annotated import AnnotatedPicture, Instance, mask_tools
from training.data.pictures import decode_upright

UInt8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

_INSIDE = 0.9
"""An object of which so much lies inside another one is on top of it: it was seen and outlined."""
_BORDER = 0.02
"""Overlaps of at most this share of the smaller object are drawn borders."""
_QUALITY = 95


@dataclass(frozen=True)
class Overlap:
    """Two objects that claim the same pixels, and the share of the smaller one."""

    below: str
    above: str
    share: float


@dataclass(frozen=True)
class DrawnPicture:
    """A picture as the layout has it.

    Attributes:
        jpeg: Its file.
        names: Object name of each instance.
        visible: 1 + index of the instance that is seen, 0 where there is none; uint8 [H, W].
        active: What is known of each instance.
    """

    jpeg: bytes
    names: tuple[str, ...]
    visible: UInt8
    active: tuple[bool | None, ...]


def load_picture(content: bytes, picture: AnnotatedPicture) -> tuple[UInt8, bytes | None]:
    """Decodes a picture, upright.

    Returns:
        RGB, uint8 [H, W, 3], and its file if that is an upright JPEG.

    Raises:
        ImageError: It is damaged, or has another size than the annotations say.
    """
    rgb, upright = decode_upright(content)
    jpeg = content if upright and content.startswith(b"\xff\xd8") else None
    height, width = rgb.shape[:2]
    if (width, height) != (picture.width, picture.height):
        raise ImageError(
            f"is {width}x{height}, annotated as {picture.width}x{picture.height}; give the picture "
            "that was annotated"
        )
    return rgb, jpeg


def drawing_order(instances: Sequence[Instance]) -> tuple[list[int], list[tuple[int, int, float]]]:
    """In which order instances are drawn, the lowest first.

    That of the file; but what lies inside a larger object is drawn after it.

    Returns:
        Indices of the instances; and the pairs (below, above) that overlap although neither lies
        inside the other, with the share of the smaller one.
    """
    count = len(instances)
    if count < 2:
        return list(range(count)), []
    tools = mask_tools()
    rles = [instance.rle for instance in instances]
    areas = np.asarray(tools.area(rles), np.float64)
    # With "crowds", the shared pixels over the area of the row's object.
    shared = np.asarray(tools.iou(rles, rles, [1] * count)) * areas[:, None]
    inside = (shared >= _INSIDE * areas[:, None]) & (areas[:, None] < areas[None, :])
    order: list[int] = []
    waiting = list(range(count))
    while waiting:
        # The first of the file whose surroundings are all drawn; the largest has none.
        lowest = next(i for i in waiting if not any(inside[i, around] for around in waiting))
        waiting.remove(lowest)
        order.append(lowest)
    overlaps = []
    for place, below in enumerate(order):
        for above in order[place + 1 :]:
            smaller = min(areas[below], areas[above])
            if (
                smaller
                and shared[below, above] > _BORDER * smaller
                and not (inside[below, above] or inside[above, below])
            ):
                overlaps.append((below, above, float(shared[below, above] / smaller)))
    return order, overlaps


def shrunk(picture: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which a picture is written: at most these, its sides in proportion."""
    scale = min(1.0, most[0] / picture[0], most[1] / picture[1])
    return max(1, round(picture[0] * scale)), max(1, round(picture[1] * scale))


def draw(
    rgb: UInt8,
    jpeg: bytes | None,
    picture: AnnotatedPicture,
    size: tuple[int, int],
    name_of: Callable[[Instance], str],
) -> tuple[DrawnPicture, list[Overlap]]:
    """Brings a picture and its instances to the layout's size.

    Args:
        rgb: The picture, uint8 [H, W, 3].
        jpeg: Its file, kept as it is unless it has to shrink.
        picture: Its annotations.
        size: Largest width and height; a larger picture is made smaller, its sides in proportion.
        name_of: Object name of an instance.

    Returns:
        The picture, and overlaps of objects with different names.
    """
    height, width = rgb.shape[:2]
    small = shrunk((width, height), size)
    if small != (width, height) or jpeg is None:
        shown = rgb
        if small != (width, height):
            shown = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
        flags = [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), flags)
        jpeg = encoded.tobytes()
    instances = picture.instances
    names = tuple(map(name_of, instances))
    order, pairs = drawing_order(instances)
    visible = np.zeros((small[1], small[0]), np.uint8)
    for index in order:
        visible[_sampled(instances[index].pixels(), small)] = index + 1
    overlaps = [
        Overlap(names[below], names[above], share)
        for below, above, share in pairs
        if names[below] != names[above]
    ]
    active = tuple(instance.active for instance in instances)
    return DrawnPicture(jpeg, names, visible, active), overlaps


def _sampled(pixels: Bool, size: tuple[int, int]) -> Bool:
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    image = Image.fromarray(pixels.astype(np.uint8))
    return np.asarray(image.resize(size, Image.Resampling.NEAREST)) > 0


def idle_twins(names: Sequence[str], active: Sequence[bool | None]) -> list[bool]:
    """Which instances are not said to be in use although another one of the same name is."""
    used = {name for name, said in zip(names, active, strict=True) if said}
    return [not said and name in used for name, said in zip(names, active, strict=True)]


def label_map(drawn: DrawnPicture, ids: Mapping[str, int]) -> UInt8:
    """Label image, uint8 [H, W]; of several instances of a name, those in use if one is.

    Args:
        drawn: The picture.
        ids: Object id of each name in the sequence.
    """
    table = np.zeros(256, np.uint8)
    idle = idle_twins(drawn.names, drawn.active)
    for index, name in enumerate(drawn.names):
        table[index + 1] = 0 if idle[index] else ids.get(name, 0)
    return table[drawn.visible]


def weight_map(
    drawn: DrawnPicture, narrated: AbstractSet[str], negative: AbstractSet[str]
) -> UInt8:
    """Action-guided weights, uint8 [H, W], with "in use" as VISOR's contact (ActionVOS, Sec. 3).

    Narrated objects are 2, and 4 where they are in use; other objects in use are 2, objects that
    are not active in the sequence 3, and the rest is 1.

    Args:
        drawn: The picture.
        narrated: Names whose class is narrated.
        negative: Names of the sequence's objects that are not active.
    """
    weights = np.full(drawn.visible.shape, WEIGHT_OTHER, np.uint8)
    idle = idle_twins(drawn.names, drawn.active)
    for index, name in enumerate(drawn.names):
        pixels = drawn.visible == index + 1
        if idle[index]:
            continue
        if name in narrated:
            weights[pixels] = WEIGHT_CUE * (2 if drawn.active[index] else 1)
        elif drawn.active[index]:
            weights[pixels] = WEIGHT_CUE
        elif name in negative:
            weights[pixels] = WEIGHT_NEGATIVE
    return weights
