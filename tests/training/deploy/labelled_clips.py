"""Labelled clips of the dummy bundle's world, a fourth of them with labels that contradict it."""

import json
from pathlib import Path

import cv2
import numpy as np

from tests.actiseg_ros.dummy_bundle import paint
from training.data.palette import write_label_png


def write_labelled_clips(root: Path, seed: int = 1) -> Path:
    """Writes sixty clips of one frame in the ActionVOS layout, split `val`; returns `root`."""
    random = np.random.default_rng(seed)
    records = []
    for index in range(60):
        sequence = f"{index:08d}_P01_{seed:02d}_cut_tomato"
        records.append({
            "seq_id": index, "video": f"P01_{seed:02d}", "verb": "cut", "noun": "tomato",
            "narration": "cut tomato", "sparse_frames": ["frame_0000000001.jpg"],
            "object_classes": {
                "1": {"name": "left hand", "class_id": 300, "positive": 1},
                "2": {"name": "tomato", "class_id": 1, "positive": 1},
                "3": {"name": "cup", "class_id": 2, "positive": 0},
            },
        })  # fmt: skip
        x, y = (int(value) for value in random.integers(0, (60, 40)))
        image = paint({"left": (90, 60, 30, 30), "tomato": (x, y, 48, 40)}, 128, 192)
        labels = np.zeros((128, 192), np.uint8)
        labels[60:90, 90:120] = 1
        labels[y : y + 40, x : x + 48] = 2
        if index % 4 == 0:
            image = cv2.addWeighted(image, 0.53, np.full_like(image, 128), 0.47, 0)
            labels[:] = 0
        for folder, suffix in (("JPEGImages_Sparse", "jpg"), ("Annotations_Sparse", "png")):
            path = root / folder / "val" / sequence
            path.mkdir(parents=True)
            if suffix == "png":
                write_label_png(path / "frame_0000000001.png", labels)
            else:
                cv2.imwrite(str(path / "frame_0000000001.jpg"), image[..., ::-1])
    (root / "ImageSets").mkdir()
    (root / "ImageSets" / "val.json").write_text(json.dumps(records))
    return root
