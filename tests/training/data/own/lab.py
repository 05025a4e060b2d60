"""A small lab: pictures, their annotations in COCO's form, and narrations."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

WIDTH, HEIGHT = 96, 64
HEADER = "narration_id,video_id,start_timestamp,stop_timestamp,start_frame,stop_frame,narration"


def box(left: int, top: int, right: int, bottom: int) -> list[float]:
    """A rectangle as a polygon."""
    return [left, top, right, top, right, bottom, left, bottom]


def run_lengths(pixels: np.ndarray, compressed: bool = True) -> dict[str, Any]:
    """Pixels as COCO's run lengths."""
    if compressed:
        found = coco_mask.encode(np.asfortranarray(pixels, np.uint8))
        return {"size": list(pixels.shape), "counts": found["counts"].decode()}
    flat = np.concatenate([[0], pixels.ravel(order="F").astype(int), [0]])
    edges = np.flatnonzero(np.diff(flat))
    return {"size": list(pixels.shape), "counts": _runs(edges.tolist(), pixels.size)}


def _runs(edges: Sequence[int], size: int) -> list[int]:
    places = [0, *edges, size] if edges and edges[-1] != size else [0, *edges]
    return [after - before for before, after in itertools.pairwise(places)]


class Lab:
    """Builds the input of an import; every part can be spoilt before it is written."""

    def __init__(self, folder: Path, frames: Sequence[int] = (10, 20, 40)) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir(parents=True)
        self.narrations = folder / "narrations.csv"
        self.file = folder / "instances.json"
        self.categories: list[dict[str, Any]] = []
        self.pictures: list[dict[str, Any]] = []
        self.objects: list[dict[str, Any]] = []
        for number in frames:
            self.picture(f"lab_01_frame_{number:010d}.jpg")
        self.narrate("lab_01_0,lab_01,00:00:00.10,00:00:01.00,1,30,cut pepper")

    def picture(
        self, name: str, size: tuple[int, int] = (WIDTH, HEIGHT), listed: bool = True
    ) -> int:
        """Writes a picture; returns its id."""
        path = self.images / name
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(len(self.pictures)).integers(0, 255, (size[1], size[0], 3))
        cv2.imwrite(str(path), noise.astype(np.uint8))
        key = len(self.pictures) + 1
        if listed:
            entry = {"id": key, "file_name": name, "width": size[0], "height": size[1]}
            self.pictures.append(entry)
        return key

    def narrate(self, *rows: str) -> None:
        """Writes the table of narrations."""
        self.narrations.write_text("\n".join([HEADER, *rows]) + "\n")

    def category(self, name: str) -> int:
        """Id of a category, which is made if there is none."""
        for entry in self.categories:
            if entry["name"] == name:
                return int(entry["id"])
        self.categories.append({"id": len(self.categories) + 1, "name": name})
        return len(self.categories)

    def object(self, image: int, name: str, shape: Any, **more: Any) -> dict[str, Any]:
        """Adds an annotation: polygons, or run lengths."""
        entry = {
            "id": len(self.objects) + 1,
            "image_id": image,
            "category_id": self.category(name),
            "segmentation": shape,
            "iscrowd": 0,
            **more,
        }
        self.objects.append(entry)
        return entry

    def everywhere(self, shapes: Mapping[str, list[list[float]]], **more: Any) -> None:
        """Adds the same objects to all pictures."""
        for entry in self.pictures:
            for name, shape in shapes.items():
                self.object(entry["id"], name, shape, **more)

    def write(self) -> list[str]:
        """Writes the COCO file; returns the options that name it all."""
        content = {
            "images": self.pictures,
            "annotations": self.objects,
            "categories": self.categories,
        }
        self.file.write_text(json.dumps(content, ensure_ascii=False))
        return [
            "--annotations", str(self.file), "--images", str(self.images),
            "--narrations", str(self.narrations), "--out", str(self.folder / "data"),
        ]  # fmt: skip
