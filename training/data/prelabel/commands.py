"""The command `actiseg prelabel`. Importable without PyTorch."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actiseg_ros.errors import ActisegError
from training.data.commands import tell


@dataclass(frozen=True, kw_only=True)
class Prelabel:
    """Draw the labels of pictures with a model, for people to correct instead of drawing.

    By a model bundle, which also says what is in use; or, with --text-model, by a text-prompted
    foundation model whose weights lie on this machine (SAM 3; or Grounding DINO, with SAM 2 by
    --box-model), prompted with the objects' names. Such labels are noisy: correct them, or train
    with a robust strategy. Exit status 3 says that some pictures have none.
    """

    images: Path
    """Folder of the pictures, as `actiseg frames` writes it."""
    narrations: tuple[Path, ...]
    """Tables as `actiseg frames` writes them; they tell what is done, and, in the column
    object_names, what may be there."""
    out: Path
    """COCO file to write; for LabelMe the folder of its files, which must lie beside the pictures
    to be found."""
    form: Literal["coco", "labelme"] = "coco"
    """What the annotation tool imports: CVAT, Roboflow, … take COCO."""
    names: str = ""
    """Objects of the lab, separated by commas ("pepper, red" in quotes is one); by default those of
    the table's object_names, else what the narration names and both hands."""
    bundle: Path | None = None
    """Model bundle; the embedded one by default."""
    text_model: Path | None = None
    """Instead of a bundle: folder of SAM 3 or Grounding DINO in transformers' form."""
    box_model: Path | None = None
    """Folder of SAM 2, for Grounding DINO."""
    threshold: float = 0.3
    """Of a foundation model: what scores less is not there."""
    device: str = "cpu"
    """Of a foundation model: cpu or cuda."""
    threads: int = 0
    """Threads of a bundle's network; 0 lets ONNX Runtime choose."""

    def run(self) -> int:
        """Writes the labels and prints how many."""
        from training.data.prelabel.pictures import Drawers, prelabel

        drawers = Drawers(
            self.bundle, self.text_model, self.box_model, self.threshold, self.device, self.threads
        )
        rows = csv.reader(self.names.splitlines(), skipinitialspace=True)
        names = [name.strip() for row in rows for name in row if name.strip()]
        if self.names and not names:
            raise ActisegError(f"--names is {self.names!r}; give names, or leave it out")
        done = prelabel(self.images, self.narrations, self.out, self.form, names, drawers)
        print(f"{self.out}: {done.objects} objects in {done.pictures} pictures")
        return tell(done.notes, done.losses)
