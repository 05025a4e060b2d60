"""Command line of the offline package: ``actiseg COMMAND …``.

One frozen dataclass per command holds its options; ``run`` imports what the command needs and
calls one function, so that ``actiseg --help`` stays fast and a command fails only on what it uses.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from training.benchmark.options import BenchmarkOptions
from training.config import TrainConfig
from training.errors import ActisegError
from training.report.options import ReportOptions

_BAD_INPUT = 2
_INTERRUPTED = 130


@dataclass(frozen=True)
class Prepare:
    """Prepare the ActionVOS layout from a VISOR tree; run again, it continues where it stopped."""

    visor: Path
    """Folder with frame_mapping.json and GroundTruth-SparseAnnotations."""
    annotations: Path
    """Folder with EPIC_100_train.csv, EPIC_100_validation.csv and visor_hos_SPLIT.json."""
    out: Path
    """Folder to write."""
    splits: str = "train,val"
    """Splits to prepare, separated by commas."""
    on_error: Literal["skip", "refuse"] = "skip"
    """Report and leave out missing frames, broken polygons and unknown videos, or refuse them."""
    workers: int | None = None
    """Processes; all cores by default."""

    def run(self) -> int:
        """Writes the splits and prints a summary."""
        from training.data.prepare import prepare

        splits = [name.strip() for name in self.splits.split(",") if name.strip()]
        summary = prepare(
            self.visor,
            self.annotations,
            self.out,
            splits,
            workers=self.workers,
            on_error=self.on_error,
        )
        print("\n".join(summary.lines()))
        return 0


@dataclass(frozen=True)
class Kitchen:
    """Draw a synthetic kitchen as a VISOR tree; run again, it continues where it stopped."""

    out: Annotated[Path, tyro.conf.Positional]
    """New folder for VISOR/ and annotations/."""
    clips: int
    """Number of narrated actions."""
    seed: int = 0
    """Other seeds give other kitchens, object instances and actions."""
    val_share: float = 0.2
    """Share of the videos in the split `val`, 0 to 1."""
    frame_size: str = "1920x1080"
    """Size of the JPEGs, WIDTHxHEIGHT; annotations are in 1920x1080 pixels regardless."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    without_hands: bool = False
    """Paint the hands out of the pictures and leave the annotations as they are (ablation)."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the tree."""
        from training.data.kitchen import KitchenConfig, make_kitchen, parse_size

        size = parse_size(self.frame_size)
        config = KitchenConfig(
            self.clips, self.seed, self.val_share, size, self.quality, not self.without_hands
        )
        make_kitchen(self.out, config, workers=self.workers)
        print(f"{self.clips} clips in {self.out}")
        return 0


@dataclass(frozen=True)
class Train(TrainConfig):
    """Train a model; `--resume` continues an interrupted run, `torchrun` uses several devices."""

    def run(self) -> int:
        """Trains; 0 when all epochs are done, 130 when a signal stopped it after a checkpoint."""
        from training.engine import train

        return train(self)


@dataclass(frozen=True)
class NoiseText:
    """Exchange object names in a split (paper Alg. 1) and tell how the nouns shifted (Fig. 2)."""

    split: Path
    """Clean split, in the form of ImageSets/train.json."""
    rate: float
    """Probability of another class's noun, in [0, 1]; 0 is clean."""
    out: Path
    """Noisy split; beside it go NAME_distribution.json and .png with the shares of the nouns, and
    NAME_manifest.json."""
    classes: Path | None = None
    """EPIC noun list (csv), or a split (json) whose names are exchanged; without it, the names that
    the split itself uses for each class. For a part of a split, give the whole one here: the part
    knows fewer names."""
    seed: int = 0
    """Seed of the draws."""
    within_class_only: bool = False
    """Exchange nouns within their class only, also at rate 0."""

    def run(self) -> int:
        """Writes the split, the table and the chart."""
        from training.noise import statistics, text

        shares_file, chart, manifest_file = (
            self.out.with_name(f"{self.out.stem}_{name}")
            for name in ("distribution.json", "distribution.png", "manifest.json")
        )
        text.refuse_overwriting(
            [self.out, shares_file, chart, manifest_file], [self.split, self.classes]
        )
        clean = text.read_split(self.split)
        names = text.read_names(self.classes) if self.classes else text.names_in_split(clean)
        noise = text.TextNoise(names, self.rate, self.seed, self.within_class_only)
        noisy = text.noisy_split(clean, noise)
        shares = statistics.noun_shares(clean, noisy)
        text.write_json(self.out, noisy)
        text.write_json(shares_file, shares)
        statistics.draw_shares(shares, chart)
        manifest = {
            "algorithm": 1,
            "rate": self.rate,
            "seed": self.seed,
            "within_class_only": self.within_class_only,
            "classes": len(names),
            "classes_sha256": text.classes_digest(names),
            "clean_names_sha256": text.names_digest(clean),
            "names_sha256": text.names_digest(noisy),
        }
        text.write_json(manifest_file, manifest)
        print(statistics.shares_table(shares))
        return 0


@dataclass(frozen=True)
class NoiseMasks:
    """Dilate the masks of a split's positive objects (paper Alg. 2)."""

    annotations: Path
    """Folder with SEQUENCE/FRAME.png, the clean labels."""
    split: Path
    """Split that tells which objects are positive."""
    kernel: int
    """Side of the square in pixels, odd (paper: 9, 15, 21)."""
    out: Path
    """Folder for the noisy labels and manifest.json."""
    negatives: Literal["vanish", "keep", "dilate"] = "vanish"
    """Objects that are not active: not in the noisy maps (Alg. 2), in their clean pixels where
    nothing covers them, or dilated too."""
    order: Literal["ascending", "descending"] = "ascending"
    """Object ids in the order of the first hit."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the noisy label images and tells how far they are from the clean ones."""
        from training.noise.mask import MaskNoise, write_noisy_masks
        from training.noise.statistics import severity_table

        noise = MaskNoise(self.kernel, self.negatives, self.order)
        written = write_noisy_masks(self.annotations, self.split, noise, self.out, self.workers)
        print(f"{written.frames} label images in {self.out}")
        print(severity_table({self.kernel: written.severity}))
        return 0


@dataclass(frozen=True)
class NoiseSeverity:
    """Tell how far dilated masks are from the clean ones (paper Fig. 3), without writing them."""

    annotations: Path
    """Folder with SEQUENCE/FRAME.png, the clean labels."""
    split: Path
    """Split that tells which objects are positive."""
    out: Path
    """JSON file for mIoU and cIoU of each kernel, fractions; a chart of the same name goes beside
    it."""
    kernels: tuple[int, ...] = (9, 15, 21)
    """Sides of the squares in pixels, odd."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the table and the chart."""
        from training.noise import statistics
        from training.noise.mask import MaskNoise, measure_severity
        from training.noise.text import refuse_overwriting, write_json

        chart = self.out.with_name(f"{self.out.stem}.png")
        refuse_overwriting([chart], [self.out])
        refuse_overwriting([self.out, chart], [self.split])
        noises = [MaskNoise(kernel) for kernel in self.kernels]
        measured = measure_severity(self.annotations, self.split, noises, self.workers)
        found = dict(zip(self.kernels, measured, strict=True))
        write_json(self.out, {kernel: severity.as_json() for kernel, severity in found.items()})
        statistics.draw_severity(found, chart)
        print(statistics.severity_table(found))
        return 0


@dataclass(frozen=True)
class Noise:
    """Make label noise beside the clean data."""

    kind: (
        Annotated[NoiseText, tyro.conf.subcommand("text")]
        | Annotated[NoiseMasks, tyro.conf.subcommand("masks")]
        | Annotated[NoiseSeverity, tyro.conf.subcommand("severity")]
    )

    def run(self) -> int:
        """Runs the chosen kind of noise."""
        return self.kind.run()


@dataclass(frozen=True)
class Bag:
    """Convert an EPIC-KITCHENS video and its narrations into a rosbag2 (mcap)."""

    video: Path
    """Video file, or a folder of frames frame_0000000001.jpg …"""
    narrations: Path
    """Narrations in the columns of EPIC_100_train.csv; `object_names` (a list) may be added."""
    video_id: str
    """Video whose narrations are taken, for example P01_107."""
    out: Path
    """Folder of the new bag."""
    start: float = 0.0
    """First second of the video."""
    stop: float | None = None
    """Second of the video to stop before; its end by default."""
    fps: float | None = None
    """Frame rate of a folder of frames; for a video, how many frames a second to keep."""
    size: tuple[int, int] | None = None
    """Width and height of the images; the video's own by default."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    raw: bool = False
    """Write sensor_msgs/Image on /image instead of JPEG on /image/compressed."""

    def run(self) -> int:
        """Writes the bag and prints what is in it."""
        from actiseg_ros.epic_bag import BagOptions, write_bag

        options = BagOptions(self.start, self.stop, self.fps, self.size, self.quality, self.raw)
        bag = write_bag(self.video, self.narrations, self.video_id, self.out, options)
        print(f"{bag.path}: {bag.frames} images in {bag.duration:.1f} s, {bag.actions} actions")
        return 0


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
        from training.predict import predict

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
        from training.metrics import evaluate, report

        metrics = evaluate(
            self.predictions,
            self.annotations,
            self.split,
            flagged=self.flagged,
            workers=self.workers,
        )
        print(report(metrics, self.json))
        return 0


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
    positive_threshold: float | None = None
    """Objects that are active with less probability are not drawn; by default that of the run."""

    def run(self) -> int:
        """Exports and prints the largest differences from PyTorch."""
        from training.export import export

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
        )
        shown = ", ".join(f"{name} {value:.1e}" for name, value in differences.items())
        print(f"{self.out}: largest differences from PyTorch: {shown}")
        return 0


@dataclass(frozen=True)
class Calibrate:
    """Set the gate's limits from held-out clips and write them into a model bundle."""

    bundle: Path
    """Folder of the bundle; its bundle.json is replaced."""
    data: Path
    """Root of the prepared data (ActionVOS layout)."""
    split: Path
    """Split file of clips that were not used for training."""
    risk: float = 0.05
    """Largest allowed share of clips that go wrong among those with a go."""
    confidence: float = 0.9
    """Confidence that the risk holds."""
    familiar: Path | None = None
    """Another split of the data, e.g. the training split, whose images are familiar too."""
    threads: int = 0
    """Threads of the network; 0 lets ONNX Runtime choose."""

    def run(self) -> int:
        """Calibrates and prints the limits with the evidence for them."""
        from training.calibrate import calibrate
        from training.risk_control import Criteria

        outcome = calibrate(
            self.bundle,
            self.data,
            self.split,
            Criteria(risk=self.risk, confidence=self.confidence),
            familiar=self.familiar,
            threads=self.threads,
        )
        print("\n".join(outcome.lines()))
        return 0


@dataclass(frozen=True)
class Benchmark(BenchmarkOptions):
    """Train and evaluate the cells of the paper's tables; run again, it does what is missing."""

    def run(self) -> int:
        """Runs the cells; 1 if one of them failed, 130 when a signal stopped them."""
        from training.benchmark.runner import benchmark

        return benchmark(self)


@dataclass(frozen=True)
class Report(ReportOptions):
    """Write a benchmark's tables beside the paper's, figures and findings as one HTML page."""

    def run(self) -> int:
        """Writes the report and tells where the page is."""
        from training.report.build import write_report

        print(write_report(self))
        return 0


COMMANDS: dict[str, type[Any]] = {
    "bag": Bag,
    "benchmark": Benchmark,
    "calibrate": Calibrate,
    "kitchen": Kitchen,
    "prepare": Prepare,
    "noise": Noise,
    "train": Train,
    "predict": Predict,
    "evaluate": Evaluate,
    "export": Export,
    "report": Report,
}


def _command_type() -> Any:
    """The union of all commands, each under its name."""
    named: list[Any] = [
        Annotated[command, tyro.conf.subcommand(name)] for name, command in COMMANDS.items()
    ]
    union: Any = named[0]
    for command in named[1:]:
        union = union | command
    without_prefixes: Any = tyro.conf.OmitSubcommandPrefixes
    return without_prefixes[union]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parses the arguments, runs the command and returns its exit status.

    What a user can repair (missing or malformed files, impossible values) is told in one line on
    standard error with status 2. ``ACTISEG_TRACEBACK=1`` shows where such an error arose.
    """
    try:
        command = tyro.cli(
            _command_type(),
            prog="actiseg",
            description="Active object segmentation under noisy labels.",
            args=arguments,
        )
        return command.run() or 0
    except (ActisegError, ValueError, OSError) as error:
        if os.environ.get("ACTISEG_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return _BAD_INPUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
