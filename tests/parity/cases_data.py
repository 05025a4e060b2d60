"""Data cases: preparation of a VISOR tree, the loader, and the parts of its augmentation."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from tests.parity.result import Result, check, compare, guarded
from training.data.clips import ClipDataset
from training.data.prepare import prepare
from training.data.targets import object_masks
from training.data.transforms import (
    ClipImages,
    PublishedEvaluation,
    crop,
    flip,
    resize,
    shorter_side,
)

BOX_FRACTION, BOX_PIXEL = 1e-6, 1e-3
_MAPS = ("Annotations_Sparse", "Weights_Sparse")


def run(folder: Path) -> Iterator[Result]:
    """Runs whichever parts of ``data_preparation/`` are there."""
    data = folder / "data_preparation"
    if (data / "input").is_dir() and (data / "expected").is_dir():
        yield from guarded("data_preparation", _preparation(data))
    if (data / "loader.json").is_file():
        yield from guarded("loader", _loader(data))
    if (data / "augmentation_parts.json").is_file():
        yield from guarded("augmentation", _augmentation(data))
    if (data / "training_resize_sizes.json").is_file():
        sizes = _resize_sizes(data / "training_resize_sizes.json")
        yield from guarded("training_resize_sizes", sizes)


def _preparation(data: Path) -> Iterator[Result]:
    """Every PNG to the last pixel with its palette, every JSON as a value, every JPEG by name."""
    expected = data / "expected"
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch)
        splits = [
            path.name.removeprefix("visor_hos_").removesuffix(".json")
            for path in sorted((data / "input" / "annotations").glob("visor_hos_*.json"))
        ]
        prepare(
            data / "input" / "VISOR", data / "input" / "annotations", out, splits, progress=False
        )
        for path in sorted((expected / "ImageSets").glob("*.json")):
            own = out / "ImageSets" / path.name
            equal = own.is_file() and json.loads(own.read_text()) == json.loads(path.read_text())
            yield check("data/prepare", path.name, equal)
        for kind in _MAPS:
            wanted, made = _names(expected / kind, ".png"), _names(out / kind, ".png")
            yield check("data/prepare", f"{kind} file names", wanted == made)
            for name in sorted(wanted & made):
                got, want = (_png(root / kind / name) for root in (out, expected))
                yield compare(f"data/prepare/{kind}", name, got[0], want[0])
                if got[1] != want[1]:
                    yield check(f"data/prepare/{kind}", f"{name} mode, palette", False)
        names = data / "expected_jpeg_names.json"
        if names.is_file():
            made = {f"JPEGImages_Sparse/{n}" for n in _names(out / "JPEGImages_Sparse", ".jpg")}
            yield check("data/prepare", "JPEG names", made == set(json.loads(names.read_text())))
            sizes = {Image.open(out / name).size for name in made}
            yield check("data/prepare", "JPEG sizes", sizes <= {(854, 480)}, str(sizes))


def _names(folder: Path, suffix: str) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob(f"*{suffix}")}


def _png(path: Path) -> tuple[npt.NDArray[np.uint8], Any]:
    with Image.open(path) as image:
        return np.asarray(image), (image.mode, image.getpalette())


def _loader(data: Path) -> Iterator[Result]:
    """Items with one frame per clip under the evaluation transform."""
    items = json.loads((data / "loader.json").read_text())
    arrays = np.load(data / "loader.npz")
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for name in (*_MAPS, "ImageSets"):
            (root / name).symlink_to((data / "expected" / name).resolve())
        for label_file in (data / "expected" / _MAPS[0]).rglob("*.png"):
            _grey_jpeg(label_file, data / "expected" / _MAPS[0], root / "JPEGImages_Sparse")
        sets: dict[tuple[str, bool], ClipDataset] = {}
        for item in items:
            key = item["split"], item["use_weights"]
            if key not in sets:
                sets[key] = ClipDataset(
                    root,
                    item["split"],
                    frames_per_clip=1,
                    transform=PublishedEvaluation(),
                    use_weights=item["use_weights"],
                )
            yield from _loader_item(sets[key], item, arrays)


def _grey_jpeg(label_file: Path, labels: Path, images: Path) -> None:
    """A stand-in for a frame: the loader's outputs compared here do not depend on its colours."""
    path = (images / label_file.relative_to(labels)).with_suffix(".jpg")
    path.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(label_file) as image:
        Image.new("RGB", image.size, (90, 90, 90)).save(path)


def _loader_item(
    dataset: ClipDataset, item: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]
) -> Iterator[Result]:
    case = f"data/loader/{item['item']}"
    sample = dataset[item["index"]]
    clip = next(clip for clip in dataset.clips if clip.sequence == sample.sequence)
    classes = {prompt.object_id: prompt.class_id for prompt in clip.objects}
    facts = {
        "video": sample.sequence,
        "obj_id": sample.object_ids[0],
        "frame": sample.frame_names[0],
        "caption": sample.captions[0],
        "positive": int(sample.positive[0, 0]),
        "label": classes[sample.object_ids[0]],
        "valid": int(sample.valid[0, 0]),
        "size": list(sample.size),
        "mask_pixels": int(sample.masks.sum()),
    }
    wrong = [f"{k} is {v!r}, not {item[k]!r}" for k, v in facts.items() if v != item[k]]
    yield check(case, "facts", not wrong, "; ".join(wrong))
    box = sample.boxes[0, 0].numpy()
    yield compare(case, "box", box, item["box_cxcywh"], absolute=BOX_FRACTION)
    mask = sample.masks[0, 0].numpy()
    yield compare(case, "mask", mask, _unpacked(arrays[f"{item['item']}_mask"], mask.shape))
    if item["use_weights"]:
        wanted = arrays[f"{item['item']}_weights"]
        yield compare(case, "weights", sample.weights[0, 0].numpy(), wanted)


def _unpacked(bits: npt.NDArray[np.uint8], shape: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    return np.unpackbits(bits)[: int(np.prod(shape))].reshape(shape)


def _augmentation(data: Path) -> Iterator[Result]:
    """Flip, crop and two resizes of boxes, masks and weights."""
    options = json.loads((data / "augmentation_parts.json").read_text())
    arrays = np.load(data / "augmentation_parts.npz")
    for number, item in enumerate(options["items"]):
        weights = arrays[f"{number}_in_weights"]
        mask = _unpacked(arrays[f"{number}_in_mask"], weights.shape)
        clip = ClipImages(
            frames=(np.zeros((*weights.shape, 3), np.uint8),),
            labels=mask[None],
            weights=weights[None].astype(np.uint8),
            boxes=arrays[f"{number}_in_boxes"][None],
            captions=("left hand",),
        )
        results = {
            "flip": flip(clip),
            "crop": crop(clip, *options["crop_top_left_height_width"]),
        }
        for part in ("resize", "resize_back"):
            rule = options[part]["shorter side"], options[part]["max_size"]
            results[part] = resize(clip, shorter_side(*clip.size, *rule))
        for part, result in results.items():
            case = f"data/augmentation/{number}_{part}"
            prefix = f"{number}_{part}"
            yield compare(case, "size", result.size, arrays[f"{prefix}_shape"])
            boxes = arrays[f"{prefix}_boxes"]
            yield compare(case, "boxes", result.boxes[0], boxes, absolute=BOX_PIXEL)
            masks = object_masks(result, [1], [True], cleared=False)[0, 0]
            yield compare(case, "mask", masks, _unpacked(arrays[f"{prefix}_mask"], masks.shape))
            yield compare(case, "weights", result.weights[0], arrays[f"{prefix}_weights"])
            if result.frames[0].shape[:2] != result.size:
                yield check(case, f"frame size of {item['frame']}", False)


def _resize_sizes(path: Path) -> Iterator[Result]:
    """Result sizes of the training resize rule."""
    rows = json.loads(path.read_text())["rows"]
    got = [shorter_side(height, width, size, limit) for width, height, size, limit, _, _ in rows]
    yield compare("data/resize_sizes", f"{len(rows)} sizes", got, [row[4:] for row in rows])
