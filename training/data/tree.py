"""A VISOR tree: where the parts of a preparation's input lie, as people have them on their disks.

The official download leaves `annotations/SPLIT/VIDEO.json` and one zip of frames a video,
`rgb_frames/SPLIT/PARTICIPANT/VIDEO.zip`; VISOR-HOS's scripts write `annotations_corrected` and
unpack the zips beside them; ActionVOS reads `rgb_frames/SPLIT/VIDEO/`. All of these are found, also
annotations in participants' folders, or of some videos in one folder and of others in the other.
"""

from __future__ import annotations

import os
import weakref
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actiseg_ros.errors import ActisegError
from training.files.disk import read_json

ACTION_TABLES = ("EPIC_100_train.csv", "EPIC_100_validation.csv")
"""Rows of both tables serve both splits."""
SPARSE = "GroundTruth-SparseAnnotations"
POLYGONS = ("annotations_corrected", "annotations")
"""Folders of polygons, the preferred one first: VISOR-HOS corrects contacts of a few frames."""
PAINTED, KITCHEN = "painted.json", "kitchen.json"
"""What drawn pictures were drawn with: in a painted tree, and beside the `VISOR/` of a kitchen."""
_OF_ANNOTATIONS = ("clips", "val_share", "complete")
"""What a kitchen's record says of its annotations and not of its pictures."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)
"""What reading a member of a damaged, encrypted or oddly packed zip raises."""


def distinct_splits(splits: Sequence[str], doing: str) -> list[str]:
    """Each split once, in the order given.

    Args:
        splits: As people name them.
        doing: What is to be done with them, for the message: `prepare`, `paint`.

    Raises:
        ActisegError: If there is none.
    """
    if not splits:
        raise ActisegError(f"no split to {doing}; --splits names train, val or both")
    return list(dict.fromkeys(splits))


@dataclass(frozen=True)
class Problem:
    """Something in the input that cannot be used."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class FileStore:
    """Files found by their base names in folders (with what is below them) and zip files.

    Args:
        places: Where to look, the preferred place first; a folder may be a zip of the same name
            plus `.zip` instead. Places that do not exist count as empty.
    """

    def __init__(self, places: Sequence[Path]) -> None:
        self.places = tuple(places)
        self.problems: list[Problem] = []
        """Zips that cannot be read."""
        self._folders: dict[str, Path] = {}
        self._zips: dict[str, tuple[zipfile.ZipFile, str]] = {}
        for place in self.places:
            for folder, _, names in os.walk(place):
                for name in names:
                    self._folders.setdefault(name, Path(folder, name))
            self._index_zip(place.with_name(f"{place.name}.zip"))

    def _index_zip(self, path: Path) -> None:
        if not path.is_file():
            return
        try:
            archive = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            what = f"is no readable zip ({error}); it may be cut short: download it again"
            self.problems.append(Problem(str(path), what))
            return
        weakref.finalize(self, archive.close)
        for member in archive.namelist():
            if name := member.rpartition("/")[2]:
                self._zips.setdefault(name, (archive, member))

    def __contains__(self, name: str) -> bool:
        return name in self._folders or name in self._zips

    def where(self, name: str) -> str:
        """Where a file lies, to be told to people."""
        if name in self._folders:
            return str(self._folders[name])
        if name in self._zips:
            archive, member = self._zips[name]
            return f"{archive.filename}/{member}"
        return str(self.places[0] / name)

    def size(self, name: str) -> int | None:
        """Bytes of a file, unpacked; None if there is none."""
        if name in self._folders:
            return self._folders[name].stat().st_size
        if name not in self._zips:
            return None
        archive, member = self._zips[name]
        return archive.getinfo(member).file_size

    def read(self, name: str) -> bytes:
        """Content of a file.

        Raises:
            FileNotFoundError: There is none.
            OSError: It cannot be read, or its zip is damaged there.
        """
        if name in self._folders:
            return self._folders[name].read_bytes()
        if name not in self._zips:
            raise FileNotFoundError(self.where(name))
        archive, member = self._zips[name]
        try:
            return archive.read(member)
        except (
            zipfile.BadZipFile,
            zlib.error,
            EOFError,
            NotImplementedError,
            RuntimeError,
        ) as error:
            raise OSError(f"damaged in its zip ({error})") from error


@dataclass(frozen=True)
class VisorTree:
    """Where the parts of the input lie."""

    visor: Path
    annotations: Path

    @property
    def mapping_file(self) -> Path:
        """`frame_mapping.json`: video to VISOR frame name to EPIC frame name."""
        return self.visor / "frame_mapping.json"

    @property
    def _sparse(self) -> Path:
        return self.visor / SPARSE

    def polygons(self, split: str) -> dict[str, Path]:
        """Polygon files of a split by video, of each video the preferred one.

        Raises:
            ActisegError: If there is none.
        """
        found: dict[str, Path] = {}
        for name in POLYGONS:
            for path in sorted((self._sparse / name / split).rglob("*.json")):
                if not path.name.startswith("."):  # what other systems leave beside their files
                    found.setdefault(path.stem, path)
        if not found:
            tried = " or ".join(f"{name}/{split}" for name in POLYGONS)
            raise ActisegError(
                f"{self._sparse}: no annotations of the split {split!r} (VIDEO.json in {tried}); is"
                " --visor the folder that holds frame_mapping.json?"
            )
        return found

    def polygons_folder(self, path: Path) -> str:
        """Which of `POLYGONS` a file lies in, at any depth."""
        return path.relative_to(self._sparse).parts[0]

    def drawn_with(self) -> dict[str, Any] | None:
        """What the tree's pictures were drawn with; None if no record says that they are drawn.

        Raises:
            ActisegError: If the record is damaged.
        """
        for file in (self.visor / PAINTED, self.visor.parent / KITCHEN):
            if file.is_file():
                record = read_json(file)
                if not isinstance(record, dict):
                    raise ActisegError(f"{file}: damaged; remove it, or draw the pictures again")
                # Splits may be painted later: what a record says of annotations is no matter here.
                return {
                    name: value
                    for name, value in record.items()
                    if name not in _OF_ANNOTATIONS and not name.startswith("annotations of ")
                }
        return None

    def frames(self, split: str, video: str) -> FileStore:
        """Pictures of a video's sparse frames by VISOR name, in folders or zips."""
        participant = video.partition("_")[0]
        roots = (self._sparse / "rgb_frames" / split, self._sparse / "rgb_frames")
        return FileStore(
            [place for root in roots for place in (root / video, root / participant / video)]
        )

    def contacts_file(self, split: str) -> Path:
        """Hand-object data of a split, COCO layout."""
        return self.annotations / f"visor_hos_{split}.json"

    def tables(self) -> tuple[Path, ...]:
        """The EPIC-KITCHENS action tables."""
        return tuple(self.annotations / name for name in ACTION_TABLES)

    def further_splits(self, split: str) -> list[Path]:
        """Splits of some of a split's clips that others have checked, as `val_human.json`."""
        return sorted(self.annotations.glob(f"{split}_*.json"))
