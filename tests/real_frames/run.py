"""What networks draw on a few real frames with true masks: indicative, and nothing to choose by.

``run.py DIR --bundle BUNDLE --checkpoint WEIGHTS --work FOLDER`` brings the frames through
``actiseg import coco``, segments each by itself with every network that is given, and prints a
table. Neither the frames nor anything made of them may be committed.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from training import cli
from training.data.layout import LABELS
from training.data.splits import read_split
from training.evaluation.metrics import Tally, evaluate_sequences, merged
from training.evaluation.predict import predict
from training.files.disk import write_json

Record = Mapping[str, Any]
Entry = Mapping[str, Any]

SPLITS = ("train", "val")
LAST_FRAME = 700
"""Narrations of P03_101 behind its last picture are left out."""
HELD = {"P01_107": ("cereal box", "cereal bag")}
"""What the hands hold, for the recordings of which it is known."""
_HANDS = frozenset({300, 301})


def _is_hand(record: Record, entry: Entry) -> bool:
    return entry["class_id"] in _HANDS


def _is_narrated(record: Record, entry: Entry) -> bool:
    return entry["positive"] and not _is_hand(record, entry)


def _is_held(record: Record, entry: Entry) -> bool:
    return entry["name"] in HELD.get(record["video"], ())


def _is_other(record: Record, entry: Entry) -> bool:
    return not (entry["positive"] or _is_held(record, entry))


GROUPS: dict[str, Callable[[Record, Entry], bool]] = {
    "hands": _is_hand,
    "narrated": _is_narrated,
    "held": _is_held,
    "others": _is_other,
}


def make_data(folder: Path, nouns: Path, root: Path) -> Path:
    """Imports the frames: P01_107 becomes the validation split, P03_101 the training split.

    Args:
        folder: Frames, label images, ``labels.json`` and narrations.
        nouns: EPIC-KITCHENS' table of nouns.
        root: Folder to fill.

    Returns:
        Folder in the ActionVOS layout.
    """
    write_coco(folder, root / "images", root / "instances.json")
    write_narrations(folder, root / "narrations.csv")
    arguments = {
        "--annotations": root / "instances.json",
        "--images": root / "images",
        "--narrations": root / "narrations.csv",
        "--nouns": nouns,
        "--out": root / "data",
        "--val-videos": "P01_107",
    }
    flat = [str(part) for pair in arguments.items() for part in pair]
    if status := cli.main(["import", "coco", *flat]):
        raise SystemExit(f"{folder} could not be imported (status {status})")
    return root / "data"


def write_narrations(folder: Path, path: Path) -> None:
    """A table of the narrations near the frames; those of P03_101 last until the next one."""
    said = json.loads((folder / "P03_101" / "narrations_by_frame.json").read_text())
    said = [entry for entry in said if entry["frame"] < LAST_FRAME]
    rows = [("P01_107", 2400, 2600, "put cereal into bag")]
    for entry, after in itertools.pairwise(said):
        rows.append(("P03_101", entry["frame"], after["frame"], entry["narration"]))
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(
            ["narration_id", "video_id", "start_timestamp", "stop_timestamp", "start_frame",
             "stop_frame", "narration"]
        )  # fmt: skip
        for place, (video, first, last, narration) in enumerate(rows):
            times = [f"00:00:{frame / 60:05.2f}" for frame in (first, last)]
            writer.writerow([f"{video}_{place}", video, *times, first, last, narration])


def write_coco(folder: Path, images: Path, path: Path) -> None:
    """Copies the pictures and writes their masks as COCO's run lengths."""
    labels = json.loads((folder / "labels.json").read_text())
    names = sorted({name for entry in labels.values() for name in entry["labels"].values()})
    categories = {name: key for key, name in enumerate(names, start=1)}
    pictures, objects = [], []
    images.mkdir(parents=True)
    for key, (stem, entry) in enumerate(sorted(labels.items()), start=1):
        source = folder / stem.partition("_frame_")[0] / f"{stem}.png"
        shutil.copy(source.with_suffix(".jpg"), images)
        drawn = np.asarray(Image.open(source))
        pictures.append(
            {"id": key, "file_name": f"{stem}.jpg", "width": drawn.shape[1],
             "height": drawn.shape[0]}
        )  # fmt: skip
        for label, name in entry["labels"].items():
            rle = coco_mask.encode(np.asfortranarray(drawn == int(label), np.uint8))
            objects.append(
                {"id": len(objects) + 1, "image_id": key, "category_id": categories[name],
                 "segmentation": {"size": rle["size"], "counts": rle["counts"].decode()},
                 "area": int(coco_mask.area(rle)), "iscrowd": 1}
            )  # fmt: skip
    listed = [{"id": key, "name": name} for name, key in categories.items()]
    path.write_text(json.dumps({"images": pictures, "annotations": objects, "categories": listed}))


def measure(data: Path, network: Mapping[str, Path], out: Path) -> dict[str, dict[str, float]]:
    """What a network draws, for ``as the robot draws`` and ``masks alone``; see ``score``.

    Args:
        data: As ``make_data`` returns it.
        network: ``bundle`` or ``checkpoint``.
        out: Folder for the predictions. With masks alone the positive head removes no object.
    """
    results = {}
    for way, head in (("as the robot draws", True), ("masks alone", False)):
        drawn = out / way.replace(" ", "_")
        for split in SPLITS:
            file = data / "ImageSets" / f"{split}.json"
            predict(data, file, drawn / split, positive_head=head, clip_length=1, **network)
        results[way] = score(data, drawn, out)
    return results


def score(data: Path, drawn: Path, work: Path) -> dict[str, float]:
    """Mean IoU of each group's objects, and p-mIoU, n-mIoU and Acc of all, in percent.

    Args:
        data: As ``make_data`` returns it.
        drawn: Label images, SPLIT/SEQUENCE/FRAME.png.
        work: Folder for the groups' split files.
    """
    groups: dict[str, list[Tally]] = {name: [] for name in GROUPS}
    everything: list[Tally] = []
    for split in SPLITS:
        file = data / "ImageSets" / f"{split}.json"
        truth = data / LABELS / split
        everything += evaluate_sequences(drawn / split, truth, file).values()
        for name, belongs in GROUPS.items():
            part = work / f"{split}_{name}.json"
            write_json(part, _only(read_split(file), belongs))
            groups[name] += evaluate_sequences(drawn / split, truth, part).values()
    values = {name: _percent(tallies)["p_miou"] for name, tallies in groups.items()}
    whole = _percent(everything)
    return {**values, **{name: whole[name] for name in ("p_miou", "n_miou", "acc")}}


def _only(records: Sequence[Record], belongs: Callable[[Record, Entry], bool]) -> list[Record]:
    """The records with one group of their objects, all of which count as active."""
    return [
        {
            **record,
            "object_classes": {
                label: {**entry, "positive": True}
                for label, entry in record["object_classes"].items()
                if belongs(record, entry)
            },
        }
        for record in records
    ]


def _percent(tallies: Sequence[Tally]) -> dict[str, float | int]:
    return merged(tallies).metrics(strict=False).as_percent()


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints a table for each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="frames, label images and labels.json")
    parser.add_argument("--nouns", type=Path, required=True, help="EPIC_100_noun_classes_v2.csv")
    parser.add_argument("--bundle", type=Path, action="append", default=[])
    parser.add_argument("--checkpoint", type=Path, action="append", default=[])
    parser.add_argument("--work", type=Path, required=True, help="new folder, to be removed later")
    options = parser.parse_args(arguments)
    networks = [{"bundle": path} for path in options.bundle]
    networks += [{"checkpoint": path} for path in options.checkpoint]
    if not networks:
        parser.error("no network; give --bundle or --checkpoint")
    if not (options.folder / "labels.json").is_file():
        parser.error(f"{options.folder} has no labels.json; it is no folder of real frames")
    if options.work.exists():
        parser.error(f"--work {options.work} is there already; name a new folder")
    data = make_data(options.folder, options.nouns, options.work)
    for place, network in enumerate(networks):
        print(*(str(path) for path in network.values()))
        for way, values in measure(data, network, options.work / f"network{place}").items():
            print(f"  {way:20}", *(f"{name} {value:.1f}" for name, value in values.items()))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
