"""Labels of a folder of pictures: which names are asked for, who draws, and what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from actiseg_ros.bundle import Bundle, load_bundle
from actiseg_ros.errors import ActisegError, ImageError
from actiseg_ros.narration.text import clean_narration
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.prompts import clean_names, objects_of_narration
from training.data.own.matching import (
    NarratedAction,
    only_recording,
    place_of,
    read_manifests,
    read_narrations,
)
from training.data.pictures import decode_upright, pictures_below
from training.data.prelabel.drawn import (
    DrawnObject,
    DrawnPicture,
    Form,
    outlined,
    refuse_taken,
    write_coco,
    write_labelme,
)
from training.files.progress import tracked
from training.files.writable import require_writable


@dataclass(frozen=True)
class Drawers:
    """Who draws: a bundle, or a foundation model.

    Attributes:
        bundle: Folder of the bundle; None is the embedded one.
        text_model: Folder of a foundation model, which then draws instead.
        box_model: Folder of the model that outlines its boxes.
        threshold: Least score of a foundation model.
        device: Of a foundation model.
        threads: Of a bundle's network.
    """

    bundle: Path | None = None
    text_model: Path | None = None
    box_model: Path | None = None
    threshold: float = 0.3
    device: str = "cpu"
    threads: int = 0


@dataclass
class Prelabelled:
    """What was written: counts, and what is to be told."""

    pictures: int = 0
    objects: int = 0
    notes: list[str] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)


def prelabel(
    images: Path,
    tables: Sequence[Path],
    out: Path,
    form: Form,
    names: Sequence[str],
    drawers: Drawers,
    *,
    progress: bool = True,
) -> Prelabelled:
    """Draws and writes the labels of all pictures that show a narrated action.

    Args:
        images: Folder of the pictures, perhaps in folders below it.
        tables: Narrations, as `actiseg frames` writes them.
        out: COCO file, or folder for LabelMe's files.
        form: Which of both.
        names: Objects that may be there; without any, those of the narrated action.
        drawers: Who draws.
        progress: Show how far it is.

    Raises:
        ActisegError: Nothing can be drawn, a picture is damaged, or the models cannot be opened.
        TableError: A table cannot be read.
    """
    files = pictures_below(images)
    narrated = read_narrations(tables)
    if narrated.problems:
        raise ActisegError(f"{narrated.problems[0]}; repair the table")
    done = Prelabelled(notes=narrated.notes)
    shown = _shown(files, images, tables, narrated.actions, done)
    if not shown:
        raise ActisegError(
            f"{images}: no picture belongs to a narration of {', '.join(map(str, tables))}; the "
            "names must say recording and frame (VIDEO_frame_0000000012.jpg)"
        )
    # Before hours of drawing.
    require_writable(out.parent if form == "coco" else out)
    refuse_taken(out, [file.relative_to(images).as_posix() for file in sorted(shown)], form)
    bundle = load_bundle(drawers.bundle)
    vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
    asked = {file: _names(action, names, vocabulary) for file, action in shown.items()}
    nameless = sorted({shown[file].narration for file, found in asked.items() if not found})
    if nameless:
        raise ActisegError(
            f"nothing says which objects may be there while {nameless[0]!r}; give --names"
        )
    draw = _drawer(drawers, bundle)
    pictures = []
    for file in tracked(sorted(shown), "prelabel", "pictures", shown=progress):
        try:
            rgb, _ = decode_upright(file.read_bytes())  # as people will see and outline it
        except (ImageError, OSError) as error:
            raise ActisegError(f"{file}: {error}") from error
        objects = outlined(draw(rgb, shown[file].narration, asked[file]))
        name = file.relative_to(images).as_posix()
        pictures.append(DrawnPicture(name, rgb.shape[1], rgb.shape[0], objects))
    if form == "coco":
        write_coco(out, pictures, [name for found in asked.values() for name in found])
    else:
        write_labelme(out, pictures)
    done.pictures, done.objects = len(pictures), sum(len(p.objects) for p in pictures)
    empty = [picture.file for picture in pictures if not picture.objects]
    if empty:
        done.losses.append(f"{len(empty)} pictures on which nothing was found, such as {empty[0]}")
    return done


def _shown(
    files: Sequence[Path],
    images: Path,
    tables: Sequence[Path],
    actions: Sequence[NarratedAction],
    done: Prelabelled,
) -> dict[Path, NarratedAction]:
    """The action that each picture shows; of several, the one that began last."""
    recordings = read_manifests(images, tables)
    videos = {action.video for action in actions}
    names = [file.relative_to(images).as_posix() for file in files]
    only = only_recording(names, videos)
    shown: dict[Path, NarratedAction] = {}
    for file, name in zip(files, names, strict=True):
        place = place_of(name, recordings, videos, only)
        if place is None:
            continue
        for action in actions:
            if action.video == place.video and action.shows(place):
                shown[file] = action
    if len(shown) < len(files):
        done.notes.append(f"{len(files) - len(shown)} pictures lie outside of every narration")
    return shown


def _names(action: NarratedAction, given: Sequence[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    if given:
        return clean_names(given)
    if action.object_names:
        return clean_names(action.object_names)
    return objects_of_narration(clean_narration(action.narration), vocabulary)


def _drawer(
    drawers: Drawers, bundle: Bundle
) -> Callable[[npt.NDArray[np.uint8], str, Sequence[str]], list[DrawnObject]]:
    """What draws the objects of a picture, given its narration and their names."""
    if drawers.text_model is None:
        from training.data.prelabel.from_bundle import BundleDrawer

        if drawers.box_model is not None:
            raise ActisegError("--box-model outlines what --text-model finds; give both")
        return BundleDrawer(bundle, drawers.threads).draw
    from training.data.prelabel.foundation import foundation_drawer

    foundation = foundation_drawer(
        drawers.text_model, drawers.box_model, drawers.threshold, drawers.device
    )
    return lambda rgb, _, names: foundation.draw(rgb, names)
