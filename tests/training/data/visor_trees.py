"""Random VISOR trees with action tables and hand-object files, in the published layout."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

OBJECTS = (
    ("cup", 13), ("mug", 13), ("knife", 4), ("plate:deep", 2), ("left hand", 300),
    ("right hand", 301), ("tap", 0), ("Sink", 42), ("sponge holder", 77),
)  # fmt: skip
COLUMNS = (
    "narration_id", "participant_id", "video_id", "narration_timestamp", "start_timestamp",
    "stop_timestamp", "start_frame", "stop_frame", "narration", "verb", "verb_class", "noun",
    "noun_class", "all_nouns", "all_noun_classes",
)  # fmt: skip
SPARSE = "GroundTruth-SparseAnnotations"


def write_tree(
    root: Path,
    seed: int,
    *,
    videos: tuple[tuple[str, str], ...] = (("P01_02", "train"), ("P02_101", "val")),
    frames: int = 4,
    actions: int = 8,
    image_size: tuple[int, int] = (192, 108),
) -> None:
    """Writes `root/VISOR` and `root/annotations` with every edge that real trees have.

    Overlapping, empty, one-point and off-frame polygons, objects listed twice, frames without
    hand-object data, boxes of no size or beyond the frame, actions with too few frames.
    """
    rng = np.random.default_rng(seed)
    mapping: dict[str, dict[str, str]] = {}
    contacts: dict[str, dict[str, list[Any]]] = {
        split: {"images": [], "annotations": [], "categories": []} for split in ("train", "val")
    }
    rows: list[list[Any]] = []
    for video, split in videos:
        numbers = np.sort(rng.choice(np.arange(1, 40 * frames), frames, replace=False))
        names = [(f"{video}_frame_{7 * i:010d}.jpg", f"frame_{n:010d}.jpg")
                 for i, n in enumerate(numbers)]  # fmt: skip
        mapping[video] = dict(names)
        annotations = []
        for visor_name, _ in names:
            annotations.append(
                {"image": {"name": visor_name, "video": video}, "annotations": _objects(rng)}
            )
            _add_contacts(rng, contacts[split], visor_name)
            path = root / "VISOR" / SPARSE / "rgb_frames" / split / video / visor_name
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), _picture(rng, image_size))
        write_json(polygons_file(root, split, video), {"video_annotations": annotations})
        rows += [_action(rng, video, i, numbers) for i in rng.permutation(actions)]
    for split, content in contacts.items():
        write_json(root / "annotations" / f"visor_hos_{split}.json", content)
        (root / "VISOR" / SPARSE / "annotations_corrected" / split).mkdir(
            parents=True, exist_ok=True
        )
    write_json(root / "VISOR" / "frame_mapping.json", mapping)
    half = len(rows) // 2
    write_table(root / "annotations" / "EPIC_100_train.csv", rows[:half])
    write_table(root / "annotations" / "EPIC_100_validation.csv", rows[half:])


def polygons_file(root: Path, split: str, video: str) -> Path:
    return root / "VISOR" / SPARSE / "annotations_corrected" / split / f"{video}.json"


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_table(path: Path, rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _picture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    coarse = rng.integers(0, 256, (27, 48, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC))


def _polygon(rng: np.random.Generator) -> list[list[float]]:
    kind = rng.random()
    if kind < 0.08:
        return []
    corners = int(rng.integers(1, 3)) if kind < 0.15 else int(rng.integers(3, 9))
    centre = rng.uniform((-100, -100), (2000, 1180))
    spread = float(rng.choice([5, 60, 300, 800]))
    return [[round(float(v), 3) for v in centre + rng.uniform(-spread, spread, 2)]
            for _ in range(corners)]  # fmt: skip


def _objects(rng: np.random.Generator) -> list[dict[str, Any]]:
    chosen = rng.permutation(len(OBJECTS))[: rng.integers(0, 7)].tolist()
    if chosen and rng.random() < 0.2:
        chosen.append(chosen[0])
    objects = [
        {
            "id": f"{rng.integers(2**60):015x}",
            "name": OBJECTS[index][0],
            "class_id": OBJECTS[index][1],
            "segments": [_polygon(rng) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))],
        }
        for index in chosen
    ]
    for hand in (entry for entry in objects if str(entry["name"]).endswith(" hand")):
        held = [entry["id"] for entry in objects if entry is not hand]
        hand["in_contact_object"] = str(rng.choice([*held, "hand-not-in-contact"]))
    return objects


def _add_contacts(rng: np.random.Generator, content: dict[str, list[Any]], name: str) -> None:
    if rng.random() < 0.25:
        return
    image_id = 5 * len(content["images"]) + 3
    content["images"].append({"id": image_id, "file_name": name, "height": 1080, "width": 1920})
    for _ in range(rng.integers(0, 4)):
        corner, size = rng.integers((-40, -40), (1900, 1060)), rng.integers(0, 600, 2)
        if rng.random() < 0.2:
            corner = np.zeros(2, int)  # an empty polygon is the pixel (0, 0)
        outlines = [[v for point in _polygon(rng) for v in point] for _ in range(rng.integers(3))]
        content["annotations"].append(
            {
                "id": len(content["annotations"]),
                "image_id": image_id,
                "category_id": int(rng.choice([1, 2, 2])),
                "bbox": [*corner.tolist(), *size.tolist()],
                "segmentation": [outline for outline in outlines if outline],
            }
        )


def _action(rng: np.random.Generator, video: str, number: int, frames: np.ndarray) -> list[Any]:
    start, stop = np.sort(rng.choice(frames, 2)) + rng.integers(-1, 2, 2)
    nouns = [OBJECTS[i] for i in rng.choice(len(OBJECTS), rng.integers(0, 3))]
    verb, noun = str(rng.choice(["take", "put-into"])), str(rng.choice(["cup", "bag:cereal"]))
    participant = video.partition("_")[0]
    return [
        f"{video}_{number}", participant, video, "0", "0", "0", max(int(start), 0), int(stop),
        'Pick  up the "cup", left', verb, int(rng.integers(90)), noun, int(rng.integers(300)),
        [name for name, _ in nouns], [class_id for _, class_id in nouns],
    ]  # fmt: skip
