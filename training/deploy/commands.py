"""Commands from weights to a calibrated bundle: `actiseg export` and `calibrate`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from actiseg_ros.errors import ActisegError
from actiseg_ros.prompts import CANDIDATES, Candidates


@dataclass(frozen=True)
class Export:
    """Write a model bundle for the robot, checked against PyTorch before it is kept."""

    checkpoint: Path
    """Weights of a training run (safetensors), or a published PyTorch checkpoint."""
    out: Path
    """Folder of the bundle; an existing bundle there is replaced."""
    vocabulary: Path | None = None
    """Split file whose object names the bundle should know; else those of the training split."""
    tokenizer: Path | None = None
    """Tokenizer file or folder, where the checkpoint holds none (published checkpoints)."""
    height: int | None = None
    """Rows of the network input, pixels; else the preset's. Give both or neither."""
    width: int | None = None
    """Columns of the network input, pixels."""
    sampler: Literal["grid_sample", "gather"] = "grid_sample"
    """How deformable attention reads its points; gather for TensorRT."""
    precision: Literal["float32", "int8"] = "float32"
    """Numbers of the prompt decoder's matrix products. int8 makes r50 and r101 faster on a CPU and
    all others not; what it costs must be measured (docs/performance.md)."""
    positive_threshold: float | None = None
    """Objects that are active with less probability are not drawn; by default that of the run."""
    weights: bool = False
    """Put the weights into the bundle too (float16), so that `actiseg train --pretrained BUNDLE`
    can start from it; the embedded bundle has them."""

    def run(self) -> int:
        """Exports and prints the largest differences from PyTorch."""
        from actiseg_ros.bundle import read_record
        from training.deploy.export import export

        if (self.height is None) != (self.width is None):
            raise ActisegError("give both --height and --width, or neither")
        size = None if self.height is None or self.width is None else (self.height, self.width)
        differences = export(
            self.checkpoint,
            self.out,
            vocabulary=self.vocabulary,
            tokenizer=self.tokenizer,
            size=size,
            sampler=self.sampler,
            positive_threshold=self.positive_threshold,
            weights=self.weights,
            precision=self.precision,
        )
        shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
        print(f"{self.out}: largest differences from PyTorch: {shown}")
        if not read_record(self.out)["vocabulary"]:
            print(
                f"note: {self.checkpoint} names no objects, so no narration gives the bundle "
                "candidates; --vocabulary SPLIT.json names some"
            )
        return 0


_NOT_SHOWN = {
    "named": "no clip has an object beside target and hands that its narration does not name; "
    "annotate what else is in view",
    "narration": "no narration names its object in words that the bundle knows",
    "target": "no narration names an annotated object",
}


@dataclass(frozen=True)
class Calibrate:
    """Set the gate's limits from held-out clips and write them into a model bundle.

    With `--plan` nothing is written: it tells how many clips which promise takes, and, with
    `--data`, what the clips at hand lack for it.
    """

    bundle: Path | None = None
    """Folder of the bundle; its bundle.json is replaced. With `--plan`, whose names are known; the
    embedded one by default."""
    data: Path | None = None
    """Root of the prepared data (ActionVOS layout)."""
    split: Path | None = None
    """Split file of clips that were not used for training; with `--plan` by default the data's
    ImageSets/val.json."""
    risk: float = 0.05
    """Largest allowed share of clips that go wrong among those with a go."""
    confidence: float = 0.9
    """Confidence that the risk holds."""
    familiar: Path | None = None
    """Another split of the data, e.g. the training split, whose images are familiar too."""
    threads: int = 0
    """Threads of the network; 0 lets ONNX Runtime choose."""
    plan: bool = False
    """Tell what it takes, and calibrate nothing."""

    def run(self) -> int:
        """Calibrates and prints the limits with the evidence for them."""
        from actiseg_ros.bundle import load_bundle
        from training.deploy.calibration_plan import lesser_promise, plan
        from training.deploy.risk_control import Criteria

        criteria = Criteria(risk=self.risk, confidence=self.confidence)
        if self.plan:
            from actiseg_ros.narration.vocabulary import Vocabulary

            known = load_bundle(self.bundle).vocabulary
            vocabulary = Vocabulary({entry.class_id: entry.names for entry in known})
            print("\n".join(plan(criteria, vocabulary, self.data, self.split)))
            return 0
        if self.bundle is None or self.data is None or self.split is None:
            raise ActisegError("calibrate needs --bundle, --data and --split (or --plan)")
        from training.deploy.calibrate import calibrate
        from training.deploy.held_out import doubts

        for doubt in doubts(load_bundle(self.bundle), self.data, self.split):
            print(f"note: {doubt}")
        outcomes = calibrate(
            self.bundle, self.data, self.split, criteria, familiar=self.familiar,
            threads=self.threads,
        )  # fmt: skip
        for policy in CANDIDATES:
            outcome = outcomes.get(policy)
            if outcome is None:
                print(f"candidates: {policy}\n  not calibrated: {_NOT_SHOWN[policy]}")
                continue
            print(f"candidates: {policy}")
            print("\n".join(f"  {line}" for line in outcome.lines()))
            if lesser := lesser_promise(outcome, criteria):
                print(f"  these clips would certify {lesser:.0%} (--risk; the node's max_risk)")
        return 0


@dataclass(frozen=True)
class GateStudy:
    """Judge labelled clips by a bundle's calibrated gate: does it keep what it promises?"""

    bundle: Path
    """Calibrated model bundle."""
    data: Path
    """Root of the prepared data (ActionVOS layout)."""
    split: Path
    """Split file of clips that neither training nor calibration has seen."""
    out: Path
    """Folder for study.json and risk_coverage.png; with `all`, for a folder of each study, and
    studies.md."""
    candidates: Literal["narration", "annotated", "target", "all"] = "narration"
    """Which objects are named: what the node takes from the narration alone, all annotated ones (as
    by an action message), or the target alone; or each of these in a study of its own."""
    corruption: str = ""
    """What the camera does wrong: occlusion, darkness, blur, noise, jpeg, channels, mirrored or
    turned; empty for nothing, all for nothing and each of them."""
    seed: int = 0
    """Of the corruption."""
    threads: int = 0
    """Threads of the network; 0 lets ONNX Runtime choose."""

    def run(self) -> int:
        """Writes the study and prints its numbers."""
        from training.deploy.corruptions import CORRUPTIONS
        from training.deploy.gate_study import study_gate

        policies: dict[str, tuple[Candidates, ...]] = {"annotated": ("named",), "all": CANDIDATES}
        studies = study_gate(
            self.bundle,
            self.data,
            self.split,
            self.out,
            candidates=policies.get(self.candidates) or (cast(Candidates, self.candidates),),
            corruptions=("", *CORRUPTIONS) if self.corruption == "all" else (self.corruption,),
            seed=self.seed,
            threads=self.threads,
        )
        if any(not study["held_out"] for study in studies):
            print(
                f"note: {self.split} is what the bundle was trained or calibrated on, so this "
                "says nothing about other clips"
            )
        for study in studies:
            print(f"candidates: {study['candidates']}; camera: {study['corruption'] or 'as it is'}")
            print(
                f"  {study['accepted']} of {study['clips']} clips accepted "
                f"({study['accepted_frames']} of {study['frames']} frames), {study['failing']} "
                f"fail ({study['share']:.1%}, upper bound {study['upper_bound']:.1%})"
            )
            if "uncertified" in study:
                print(f"  without a certificate: {study['uncertified']}")
            print(f"  reasons against going: {study['reasons']}")
        print(f"written to {self.out}")
        return 0
