"""Commands from weights to numbers: `actiseg predict` and `evaluate`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Predict:
    """Write label PNGs for a split; run again, it continues where it stopped."""

    data: Path
    """Folder in the ActionVOS layout, or one with a folder of JPEGs for each sequence."""
    split: Path
    """Split list (ImageSets/SPLIT.json) or expression file."""
    out: Path
    """Folder to write; gets SEQUENCE/FRAME.png."""
    checkpoint: Path | None = None
    """Weights: our own, or a published ActionVOS checkpoint."""
    peer: Path | None = None
    """Second network of a co-teaching run (last.peer.safetensors); both are averaged."""
    bundle: Path | None = None
    """Model bundle; segments with the code that the robot runs."""
    tokenizer: Path | None = None
    """RoBERTa's tokenizer files, for checkpoints that hold none."""
    positive_threshold: float | None = None
    """Objects less probable than this are removed; by default what the training run or the bundle
    says, 0.75 for published checkpoints."""
    positive_head: bool = True
    """Let the positive head remove objects."""
    clip_length: int = 36
    """Most frames that the network sees together; 1 is what the robot does."""
    device: str = "auto"
    """auto, cpu or cuda; for checkpoints."""

    def run(self) -> int:
        """Writes the label images and tells how many sequences were new."""
        from training.evaluation.predict import predict

        written = predict(
            self.data,
            self.split,
            self.out,
            checkpoint=self.checkpoint,
            peer=self.peer,
            bundle=self.bundle,
            tokenizer=self.tokenizer,
            positive_threshold=self.positive_threshold,
            positive_head=self.positive_head,
            clip_length=self.clip_length,
            device=self.device,
        )
        print(f"{written} sequences written to {self.out}")
        return 0


@dataclass(frozen=True)
class Evaluate:
    """Compare label PNGs with annotations: the official ActionVOS numbers, in percent."""

    predictions: Path
    """Folder with SEQUENCE/FRAME.png."""
    annotations: Path
    """The same for the true labels (Annotations_Sparse/SPLIT)."""
    split: Path
    """Split list, such as ImageSets/val.json or val_human.json."""
    json: Path | None = None
    """Also write the numbers to this file."""
    flagged: Literal["auto", "leave-out", "include"] = "auto"
    """Sequences that the human check rejected: `leave-out` as the official evaluation does (an
    error if the file has no such flags), `include`, or `auto`: leave out if there are flags."""
    workers: int | None = None
    """Processes; all cores by default."""

    def run(self) -> int:
        """Prints the numbers."""
        from training.evaluation.metrics import evaluate, report

        metrics = evaluate(
            self.predictions,
            self.annotations,
            self.split,
            flagged=self.flagged,
            workers=self.workers,
        )
        print(report(metrics, self.json))
        return 0
