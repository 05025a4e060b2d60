"""The command `actiseg import`. Importable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from training.data.commands import tell

if TYPE_CHECKING:
    from training.data.own.annotated import Annotations


@dataclass(frozen=True, kw_only=True)
class _ImportOptions:
    narrations: tuple[Path, ...]
    """Tables in EPIC-KITCHENS-100's columns, as `actiseg frames` writes one for each recording;
    frame numbers are those in the pictures' names (VIDEO_frame_0000000012.jpg), or times where
    there is a manifest."""
    out: Path
    """Data set to write, in the ActionVOS layout; may hold other splits."""
    split: str = "train"
    """Split that the recordings belong to."""
    val_videos: str = ""
    """Recordings for the split `val` instead, separated by commas: whole recordings, because frames
    of one recording are too alike."""
    size: str = "854x480"
    """Largest width and height of the pictures; larger ones are made smaller."""
    bundle: Path | None = None
    """Model bundle whose names have EPIC's class ids; the embedded one by default."""
    nouns: Path | None = None
    """EPIC-KITCHENS's own list, EPIC_100_noun_classes_v2.csv: all its names keep their ids."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Refuse all if something cannot be used, or leave that out and tell."""

    def write(self, annotations: Annotations, images: Path) -> int:
        """Writes the data set and prints what is in it."""
        from actiseg_ros.bundle import load_bundle
        from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
        from training.data.kitchen import parse_size
        from training.data.own.importing import ImportOptions, import_annotations

        bundle = load_bundle(self.bundle)
        epic = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
        if self.nouns is not None:
            epic = epic.extended(read_noun_classes(self.nouns))
        videos = tuple(name.strip() for name in self.val_videos.split(",") if name.strip())
        size = parse_size(self.size)
        options = ImportOptions(self.split, videos, size, self.on_error)
        done = import_annotations(annotations, images, self.narrations, self.out, epic, options)
        for split, clips in done.clips.items():
            print(f"{split}: {clips} clips, {done.frames[split]} pictures, in {self.out}")
        for name, (class_id, count) in done.objects.items():
            print(f"{class_id:5} {name}: in {count} clips")
        return tell(done.notes, done.losses)


@dataclass(frozen=True, kw_only=True)
class ImportCoco(_ImportOptions):
    """Read a COCO export (CVAT, Label Studio, …): polygons, run lengths, crowds.

    An attribute `in use` or `active` says which objects take part in the action; without it those
    are the hands and what is narrated.
    """

    annotations: Path
    """The file, often instances_default.json."""
    images: Path
    """Folder of the pictures that were annotated."""

    def run(self) -> int:
        """Writes the data set."""
        from training.data.own.coco import read_coco

        return self.write(read_coco(self.annotations), self.images)


@dataclass(frozen=True, kw_only=True)
class ImportLabelme(_ImportOptions):
    """Read LabelMe's files: polygons, rectangles, circles and masks; flags say what is in use."""

    annotations: Path
    """Folder of the JSON files."""
    images: Path | None = None
    """Folder of the pictures, in folders as the JSON files are; by default they lie beside them."""

    def run(self) -> int:
        """Writes the data set."""
        from training.data.own.labelme import read_labelme

        images = self.images or self.annotations
        return self.write(read_labelme(self.annotations, images), images)


@dataclass(frozen=True)
class Import:
    """Make a data set of pictures that you have annotated, for training and calibration.

    Objects get EPIC-KITCHENS's class ids where their names fit and new ones after them
    (OUT/classes.csv, also for the node's `nouns_csv`). What could not be matched is listed, and in
    full in OUT/import_SPLIT.json; exit status 3 says that there is something.
    """

    form: (
        Annotated[ImportCoco, tyro.conf.subcommand("coco")]
        | Annotated[ImportLabelme, tyro.conf.subcommand("labelme")]
    )

    def run(self) -> int:
        """Writes the data set."""
        return self.form.run()
