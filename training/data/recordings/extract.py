"""Writes the chosen pictures of a recording, its narrations and a manifest; whole or resumable."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.errors import ActisegError, ImageError
from actiseg_ros.narration.vocabulary import Vocabulary
from actiseg_ros.vision.compressed import decode_compressed
from training.data.recordings.narrations import table
from training.data.recordings.source import Choice, Picture, Progress, Source
from training.files.claims import claim, require_free
from training.files.disk import read_json, write_json, write_whole
from training.files.lock import sole_writer

PICTURES, NARRATIONS, MANIFEST = "images", "narrations.csv", "manifest.json"
_PLAN = ".plan.json"
_FORMAT = 1

Format = Literal["auto", "png", "jpeg"]


@dataclass(frozen=True)
class PictureForm:
    """How pictures are written.

    Attributes:
        format: ``auto`` keeps upright JPEGs as they were recorded, byte by byte, and writes all
            others as PNG; ``png`` is lossless; ``jpeg`` codes what is no JPEG yet.
        quality: JPEG quality, 1 to 100.
    """

    format: Format = "auto"
    quality: int = 95

    def suffix(self, picture: Picture) -> str:
        """Suffix of the picture's file."""
        as_jpeg = self.format == "jpeg" or (self.format == "auto" and picture.jpeg is not None)
        return ".jpg" if as_jpeg else ".png"

    def encode(self, picture: Picture, rgb: npt.NDArray[np.uint8]) -> bytes:
        """Content of the picture's file."""
        suffix = self.suffix(picture)
        if suffix == ".jpg" and picture.jpeg is not None:
            return picture.jpeg
        flags = [cv2.IMWRITE_JPEG_QUALITY, self.quality] if suffix == ".jpg" else []
        done, data = cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
        if not done:
            raise ImageError(f"a picture of {rgb.shape[1]}x{rgb.shape[0]} cannot be written")
        return data.tobytes()


@dataclass(frozen=True)
class Extracted:
    """What was written: counts, and what is to be told.

    Attributes:
        pictures: Number of pictures.
        narrations: Number of narrated actions.
        notes: Choices that were made.
        losses: What could not be taken.
    """

    pictures: int
    narrations: int
    notes: tuple[str, ...]
    losses: tuple[str, ...]


def extract(
    source: Source,
    out: Path,
    choice: Choice,
    form: PictureForm,
    vocabulary: Vocabulary,
    progress: Progress,
) -> Extracted:
    """Writes ``images/``, ``narrations.csv`` and ``manifest.json``.

    The manifest is written last: a folder with one is complete. Without one, the same command goes
    on where it stopped.

    Args:
        source: The recording.
        out: Folder to write.
        choice: Which frames the source takes.
        form: How pictures are written.
        vocabulary: Nouns that a narration may be about.
        progress: Told how far the reading has come.

    Raises:
        ActisegError: `out` holds something else, or the disk is full.
        BagError: The recording is damaged and that is refused, or no picture can be taken.
    """
    plan = {
        "format": _FORMAT,
        "source": source.identity,
        "video_id": source.video_id,
        "choice": asdict(choice),
        "form": asdict(form),
    }
    with sole_writer(out):
        _refuse_edited(out)
        entries, skipped = _write_pictures(source, out, form, plan, progress)
        narrations = source.narrations()
        content = table(
            narrations, source.video_id, source.frames.numbers, source.frames.times, vocabulary
        )
        write_whole(out / NARRATIONS, content)
        manifest = {
            **plan,
            "narrations": {
                "file": NARRATIONS,
                "sha256": hashlib.sha256(content).hexdigest(),
                "rows": len(narrations),
            },
            "frames": len(source.frames.numbers),
            "notes": source.account.notes,
            "losses": source.account.losses,
            "skipped": skipped,
            "pictures": entries,
        }
        write_json(out / MANIFEST, manifest)
    return Extracted(
        len(entries), len(narrations), tuple(source.account.notes), tuple(source.account.losses)
    )


def _refuse_edited(out: Path) -> None:
    """Refuses to write narrations anew that somebody has corrected since.

    Raises:
        ActisegError: The table is not the one that the manifest speaks of, or that is damaged.
    """
    manifest, table_file = out / MANIFEST, out / NARRATIONS
    if not (manifest.is_file() and table_file.is_file()):
        return
    try:
        written = read_json(manifest)["narrations"]["sha256"]
    except (KeyError, TypeError, IndexError) as error:
        raise ActisegError(
            f"{manifest}: does not say which narrations were written; choose another --out, or "
            f"move {NARRATIONS} away to have it written anew"
        ) from error
    if hashlib.sha256(table_file.read_bytes()).hexdigest() != written:
        raise ActisegError(
            f"{table_file}: was changed since it was written, and this would replace "
            f"it. Move the table away to have it written anew"
        )


def _write_pictures(
    source: Source, out: Path, form: PictureForm, plan: dict[str, Any], progress: Progress
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """What the manifest says of the pictures that are written, and of those that cannot be read."""
    mark = out / _PLAN
    if mark.exists():
        claim(mark, plan, "pictures")
    else:
        require_free(out, "pictures of a recording")
    entries: list[dict[str, Any]] = []
    skipped: list[dict[str, Any]] = []
    for picture in source.pictures(progress):
        name = f"{source.video_id}_frame_{picture.number:010d}{form.suffix(picture)}"
        entry = {"frame": picture.number, "time": round(picture.time, 6), **picture.origin}
        try:
            size, content, written = _content(out / PICTURES / name, picture, form)
        except ImageError as error:
            source.account.damage(f"frame {picture.number} at {picture.time:.2f} s: {error}")
            skipped.append({**entry, "error": str(error)})
            continue
        # Not before there is a picture, so that a recording that is refused leaves nothing.
        if not entries:
            claim(mark, plan, "pictures")
        if not written:
            write_whole(out / PICTURES / name, content)
        digest = hashlib.sha256(content).hexdigest()
        entries.append(
            {"file": f"{PICTURES}/{name}", "sha256": digest, "width": size[0], "height": size[1],
             **entry}
        )  # fmt: skip
    if not entries:
        raise ActisegError(f"{out}: no picture of {source.video_id} could be taken")
    return entries, skipped


def _content(
    file: Path, picture: Picture, form: PictureForm
) -> tuple[tuple[int, int], bytes, bool]:
    """Width and height, the content of a picture's file, and whether that is written already.

    Raises:
        ImageError: The picture cannot be decoded.
    """
    if file.is_file():
        content = file.read_bytes()
        with suppress(ImageError):  # cut short or spoilt since, so it is written anew
            rgb = decode_compressed(content)
            return (rgb.shape[1], rgb.shape[0]), content, True
    rgb = picture.decode()
    return (rgb.shape[1], rgb.shape[0]), form.encode(picture, rgb), False
