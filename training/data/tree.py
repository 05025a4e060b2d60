"""Where the parts of a preparation's input lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ACTION_TABLES = ("EPIC_100_train.csv", "EPIC_100_validation.csv")
"""Rows of both tables serve both splits."""
SPARSE = "GroundTruth-SparseAnnotations"


@dataclass(frozen=True)
class Problem:
    """Something in the input that cannot be used."""

    file: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


@dataclass(frozen=True)
class VisorTree:
    """Where the parts of the input lie."""

    visor: Path
    annotations: Path

    @property
    def mapping_file(self) -> Path:
        """`frame_mapping.json`: video to VISOR frame name to EPIC frame name."""
        return self.visor / "frame_mapping.json"

    def polygons_file(self, split: str, video: str) -> Path:
        """Polygons of a video's sparse frames."""
        return self.visor / SPARSE / "annotations_corrected" / split / f"{video}.json"

    def image_file(self, split: str, video: str, visor_name: str) -> Path:
        """JPEG of a sparse frame."""
        return self.visor / SPARSE / "rgb_frames" / split / video / visor_name

    def contacts_file(self, split: str) -> Path:
        """Hand-object data of a split, COCO layout."""
        return self.annotations / f"visor_hos_{split}.json"

    def tables(self) -> tuple[Path, ...]:
        """The EPIC-KITCHENS action tables."""
        return tuple(self.annotations / name for name in ACTION_TABLES)
