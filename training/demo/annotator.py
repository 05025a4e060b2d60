"""Stands for the people of a lab who annotate its pictures: knows the truth, as it drew it.

The COCO file is written by a library of others (pycocowriter), with the attributes that CVAT adds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from pycocowriter.coco import (
    COCOAnnotation,
    COCOCategories,
    COCOData,
    COCOImage,
    COCOInfo,
)

from actiseg_ros.errors import ActisegError
from training.data.kitchen.clips import KitchenClip
from training.data.kitchen.scene import label_map
from training.data.kitchen.shapes import Sprite
from training.data.kitchen.vocabulary import LEFT_HAND, RIGHT_HAND
from training.data.kitchen.worktop import WIDTH
from training.files.disk import read_json, write_text

_LEAST_PIXELS = 60
"""What is seen of an object with fewer pixels is not outlined."""
_TIMES = 9
"""Moments of an action that are looked at to see what is touched."""


@dataclass
class Annotator:
    """Collects the annotations of several recordings."""

    images: list[COCOImage] = field(default_factory=list)
    shapes: list[COCOAnnotation] = field(default_factory=list)
    in_use: list[bool] = field(default_factory=list)
    categories: COCOCategories = field(default_factory=COCOCategories)

    def annotate(self, frames: Path, clips: Sequence[KitchenClip], rate: float) -> int:
        """Outlines the objects of a recording's pictures that show an action.

        Args:
            frames: Folder that `actiseg frames` wrote.
            clips: The recording's actions.
            rate: Its frames a second.

        Returns:
            How many pictures.
        """
        count = 0
        for entry in read_json(frames / "manifest.json")["pictures"]:
            time = (entry["frame"] - 1) / rate
            clip = next((c for c in clips if c.span.start <= time <= c.span.stop), None)
            if clip is None:
                continue
            count += 1
            name = Path(entry["file"]).name
            size = entry["width"], entry["height"]
            image = COCOImage(len(self.images) + 1, name, *size, discover_image_properties=False)
            self.images.append(image)
            active = taking_part(clip)
            for what, pixels in _seen(clip, time, size[0]):
                self._add(image.id, what, pixels, what in active)
        return count

    def _add(self, image: int, name: str, pixels: NDArray[np.bool_], used: bool) -> None:
        rle: Any = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
        shape = COCOAnnotation(
            image,
            len(self.shapes) + 1,
            self.categories.add(name),
            bbox=coco_mask.toBbox(rle).tolist(),
            area=int(coco_mask.area(rle)),
            segmentation=_outline(pixels) or {**rle, "counts": rle["counts"].decode()},
        )
        self.shapes.append(shape)
        self.in_use.append(used)

    def write(self, path: Path) -> None:
        """Writes the COCO file.

        Raises:
            ActisegError: There is no annotation.
        """
        if not self.shapes:
            raise ActisegError(f"{path}: no picture shows an action")
        info = COCOInfo(description="a drawn lab")
        data = COCOData(info, self.images, self.shapes, [], self.categories.categories)
        document: dict[str, Any] = json.loads(data.to_json())
        for annotation, used in zip(document["annotations"], self.in_use, strict=True):
            annotation["attributes"] = {"in use": used}
        write_text(path, json.dumps(document))


def taking_part(clip: KitchenClip) -> frozenset[str]:
    """Names of what an action names or touches, and of both hands."""
    scene, span = clip.scene, clip.span
    touched = {
        scene.things[index].name
        for time in np.linspace(span.start, span.stop, _TIMES)
        for index in scene.at(float(time)).touched
    }
    return frozenset({*touched, *clip.cast.narrated, LEFT_HAND[0], RIGHT_HAND[0]})


def _seen(clip: KitchenClip, time: float, width: int) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Names of what a picture shows, with their visible pixels, bool [H, W]."""
    moment = clip.scene.at(time)
    labels = label_map(moment, width / WIDTH)
    for index, item in moment.objects():
        pixels = labels == index + 1
        if np.count_nonzero(pixels) >= _LEAST_PIXELS:
            yield item.name, pixels


def _outline(pixels: NDArray[np.bool_]) -> list[list[float]] | None:
    """A polygon, as people draw one; None where one would not do: a hole, or several parts."""
    found, _ = cv2.findContours(pixels.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(found) != 1 or len(found[0]) < 3:
        return None
    return [[float(value) for value in found[0].ravel()]]


def unpainted(clips: Sequence[KitchenClip]) -> tuple[KitchenClip, ...]:
    """The clips of a video, which share a scene, without pixels: outlines and movements remain."""

    def bare(sprite: Sprite) -> Sprite:
        nothing = np.zeros((0, 0, 3), np.float32)
        return replace(sprite, rgb=nothing, alpha=nothing[..., 0])

    scene = clips[0].scene
    scene = replace(
        scene,
        things=[replace(thing, sprite=bare(thing.sprite)) for thing in scene.things],
        hand_sprites={key: bare(sprite) for key, sprite in scene.hand_sprites.items()},
    )
    return tuple(replace(clip, scene=scene) for clip in clips)
