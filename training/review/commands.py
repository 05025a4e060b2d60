"""The command `actiseg review`. Importable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from actiseg_ros.errors import ActisegError


@dataclass(frozen=True)
class Review:
    """Write one HTML page of decisions, worst first: of labelled clips, or of a recorded run.

    For labelled clips give --bundle, --data and --split; for a run of the node --bag, with its
    images (or overlays) and /segment/grasp, /segment/mask and /segment/objects.
    """

    out: Path
    """HTML file to write; it opens from disk and needs nothing else."""
    bundle: Path | None = None
    """Calibrated model bundle; the embedded one by default."""
    data: Path | None = None
    """Root of the prepared data (ActionVOS layout)."""
    split: Path | None = None
    """Split file of labelled clips."""
    candidates: Literal["narration", "annotated", "target"] = "annotated"
    """Which objects are named: all annotated ones (as by an action message), what the node takes
    from the narration alone, or the target alone."""
    bag: tuple[Path, ...] = ()
    """Instead: bags of a run; inputs and outputs may lie in different ones."""
    topic: str = ""
    """Camera of the run, if there are several."""
    most: int = 240
    """Most pictures on the page; the best ones are left out."""
    threads: int = 0
    """Threads of the network; 0 lets ONNX Runtime choose."""

    def run(self) -> int:
        """Writes the page and prints what is on it."""
        from training.files.disk import write_text
        from training.review.cards import worst_first
        from training.review.page import render

        labelled = self.data is not None and self.split is not None
        if labelled == bool(self.bag) or (self.bag and (self.data or self.split)):
            raise ActisegError("give --data and --split (with --bundle), or --bag")
        if self.most < 1:
            raise ActisegError(f"--most is {self.most}; expected at least 1")
        if self.bag:
            from training.review.recorded import recorded_cards

            facts = {"bags": ", ".join(bag.name for bag in self.bag)}
            found = recorded_cards(self.bag, self.topic)
        else:
            from actiseg_ros.bundle import default_bundle_path
            from training.review.labelled import labelled_cards

            assert self.data is not None and self.split is not None
            bundle = self.bundle or default_bundle_path()
            policy = "named" if self.candidates == "annotated" else self.candidates
            facts = {
                "bundle": bundle.name,
                "clips": f"{self.data.name}, {self.split.name}",
                "candidates": self.candidates,
            }
            found = labelled_cards(bundle, self.data, self.split, policy, threads=self.threads)
        cards, summary = worst_first(found, self.most)
        if not cards:
            raise ActisegError(
                "no picture was judged, so there is nothing to review; clips with nothing but what "
                "their narration names are judged with --candidates narration"
            )
        write_text(self.out, render("ActiSeg review", facts, cards, summary))
        told = ", ".join(f"{count} {name}" for name, count in summary.counts.items())
        print(f"{self.out}: {len(cards)} pictures; {told}")
        return 0
