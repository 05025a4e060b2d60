"""The preparation written down step by step, without any sharing of work between actions.

It states the published behaviour as plainly as possible: every map is drawn in full size for every
action and sampled down at the end by Pillow. The tests compare `prepare` with it, and the benchmark
takes it as the time of a straightforward program in one process.
"""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

SHAPE = (1080, 1920)
SPARSE = "GroundTruth-SparseAnnotations"


def prepare_directly(root: Path, out: Path, split: str) -> list[dict[str, Any]]:
    """Prepares `root/VISOR` and `root/annotations`; returns the content of the split file."""
    rows = [row for name in ("train", "validation") for row in _table(root, name)]
    mapping = json.loads((root / "VISOR" / "frame_mapping.json").read_text())
    contacts = _contacts(json.loads((root / f"annotations/visor_hos_{split}.json").read_text()))
    sequences: list[dict[str, Any]] = []
    for video, names in mapping.items():
        file = root / "VISOR" / SPARSE / "annotations_corrected" / split / f"{video}.json"
        if not file.exists():
            continue
        listed = json.loads(file.read_text())["video_annotations"]
        objects = {entry["image"]["name"]: entry["annotations"] for entry in reversed(listed)}
        own = [row for row in rows if row["video_id"] == video]
        for row in sorted(own, key=lambda row: int(row["narration_id"].split("_")[-1])):
            frames = sorted(
                (name, visor_name)
                for visor_name, name in names.items()
                if int(row["start_frame"]) <= int(name[6:16]) <= int(row["stop_frame"])
            )
            if len(frames) < 2:
                continue
            images = root / "VISOR" / SPARSE / "rgb_frames" / split / video
            record = _sequence(
                row, len(sequences) + 1, frames, objects, contacts, images, out, split
            )
            if record is not None:
                sequences.append(record)
    return sequences


def _table(root: Path, name: str) -> list[dict[str, str]]:
    with (root / "annotations" / f"EPIC_100_{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _contacts(content: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in content["annotations"]:
        if entry["category_id"] == 2:
            found.setdefault(names[entry["image_id"]], []).append(entry)
    return found


def _sequence(
    row: dict[str, str],
    seq_id: int,
    frames: list[tuple[str, str]],
    objects: dict[str, list[dict[str, Any]]],
    contacts: dict[str, list[dict[str, Any]]],
    images: Path,
    out: Path,
    split: str,
) -> dict[str, Any] | None:
    nouns = ast.literal_eval(row["all_noun_classes"])
    classes: dict[str, int] = {}
    in_hand = {"left hand", "right hand"}
    for _, visor_name in frames:
        visible = np.zeros(SHAPE, np.uint8)
        for index, entry in enumerate(objects[visor_name], start=1):
            if entry["segments"]:
                classes[entry["name"]] = entry["class_id"]
                _fill(visible, entry, index)
        for contact in contacts.get(visor_name, ()):
            seen = np.unique(visible[_box(contact)])
            in_hand |= {objects[visor_name][index - 1]["name"] for index in seen if index}
    if not classes:
        return None
    labelled = {}
    for object_id, name in enumerate(sorted(classes), start=1):
        handbox, narration = int(name in in_hand), int(classes[name] in nouns)
        labelled[str(object_id)] = {
            "name": name, "class_id": classes[name], "handbox": handbox, "narration": narration,
            "positive": int(handbox or narration),
        }  # fmt: skip
    folder = f"{seq_id:08d}_{row['video_id']}_{row['verb']}_{row['noun']}"
    for name, visor_name in frames:
        labels, weights = _maps(objects[visor_name], contacts.get(visor_name, []), labelled)
        picture = cv2.imread(str(images / visor_name))
        small = cv2.resize(picture, (854, 480), interpolation=cv2.INTER_LINEAR)
        paths = [
            out / f"{kind}_Sparse" / split / folder / name
            for kind in ("JPEGImages", "Annotations", "Weights")
        ]
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(paths[0]), small)
        for path, values in zip(paths[1:], (labels, weights), strict=True):
            image = Image.fromarray(values).resize((854, 480), Image.Resampling.NEAREST)
            image.save(path.with_suffix(".png"))
    return {
        "seq_id": seq_id, "video": row["video_id"], "start": int(row["start_frame"]),
        "narration": row["narration"], "verb": row["verb"], "verb_class": int(row["verb_class"]),
        "noun": row["noun"], "noun_class": int(row["noun_class"]), "end": int(row["stop_frame"]),
        "sparse_frames": [name for name, _ in frames], "object_classes": labelled,
    }  # fmt: skip


def _maps(
    entries: list[dict[str, Any]],
    contacts: list[dict[str, Any]],
    labelled: dict[str, dict[str, Any]],
) -> tuple[np.ndarray, np.ndarray]:
    """Label and weight map of one frame in full size."""
    ids = {entry["name"]: int(object_id) for object_id, entry in labelled.items()}
    labels, weights = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    boxes, held = np.zeros(SHAPE, bool), np.zeros(SHAPE, np.uint8)
    for contact in contacts:
        boxes[_box(contact)] = True
        outlines = [np.array(flat).reshape(-1, 2).astype(int) for flat in contact["segmentation"]]
        cv2.fillPoly(held, [outline.astype(np.int32) for outline in outlines], 2)
    for entry in entries:
        if not entry["segments"]:
            continue
        own = labelled[str(ids[entry["name"]])]
        _fill(labels, entry, ids[entry["name"]])
        shape = np.zeros(SHAPE, np.uint8)
        _fill(shape, entry, 1)
        if own["narration"]:
            _fill(weights, entry, 2)
        elif not (shape * boxes).any() if contacts else not own["positive"]:
            _fill(weights, entry, 3)
    weights = np.where(boxes, weights * 2, weights)
    weights = np.where(weights == 0, held, weights)
    return labels, np.where(weights == 0, 1, weights).astype(np.uint8)


def _fill(target: np.ndarray, entry: dict[str, Any], value: int) -> None:
    polygons = [
        np.array([[int(x), int(y)] for x, y in segment or [(0, 0)]], np.int32)
        for segment in entry["segments"]
    ]
    cv2.fillPoly(target, polygons, value)


def _box(contact: dict[str, Any]) -> tuple[slice, slice]:
    x, y, width, height = contact["bbox"]
    return slice(y, y + height), slice(x, x + width)
