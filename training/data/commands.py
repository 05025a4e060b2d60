"""Commands that make data: `actiseg prepare`, `kitchen`, `paint`, `bag`; and `narration`.

Importable without PyTorch: each `run` imports what it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

INCOMPLETE = 3
"""Exit status of a command that wrote its result, but not all of the source is in it."""


@dataclass(frozen=True)
class Prepare:
    """Prepare the ActionVOS layout from a VISOR tree; run again, it continues where it stopped."""

    visor: Path
    """Folder with frame_mapping.json and GroundTruth-SparseAnnotations."""
    annotations: Path
    """Folder with EPIC_100_train.csv and EPIC_100_validation.csv; also visor_hos_SPLIT.json, if you
    have it, and val_human.json, which is then written beside the splits."""
    out: Path
    """Folder to write."""
    splits: str = "train,val"
    """Splits to prepare, separated by commas."""
    contacts: Literal["official", "annotations"] | None = None
    """Objects in contact with hands: from visor_hos_SPLIT.json (`official`), or from the
    annotations themselves. By default the file where there is one."""
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
            contacts=self.contacts,
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
    style: Literal["plain", "randomised", "ink", "infrared"] = "plain"
    """How pictures are drawn: as ever; with other surfaces, colours, clutter, hands, light and lens
    in every video, so that a network learns to do without them; with flat colours and ink outlines,
    or as an infrared camera sees: kitchens that a network trained on `plain` ones does not know."""
    workers: int | None = None
    """Processes; one per core if not given."""

    def run(self) -> int:
        """Writes the tree."""
        from training.data.kitchen import KitchenConfig, make_kitchen, parse_size

        size = parse_size(self.frame_size)
        config = KitchenConfig(
            self.clips,
            self.seed,
            self.val_share,
            size,
            self.quality,
            not self.without_hands,
            self.style,
        )
        make_kitchen(self.out, config, workers=self.workers)
        print(f"{self.clips} clips in {self.out}")
        return 0


@dataclass(frozen=True)
class Paint:
    """Paint the pictures of a VISOR tree that has annotations only; run again, it continues."""

    visor: Path
    """Folder with frame_mapping.json and GroundTruth-SparseAnnotations; pictures are not read."""
    annotations: Path
    """Folder with EPIC_100_train.csv and EPIC_100_validation.csv."""
    out: Path
    """Folder to write: a VISOR tree for `actiseg prepare --visor`."""
    seed: int = 0
    """Other seeds give other worktops, clutter, light, hands and object instances."""
    look: int = 0
    """Family of looks, 0 or more: others give every class another look, in all videos alike."""
    splits: str = "train,val"
    """Splits to paint, separated by commas; others can follow later."""
    frame_size: str = "854x480"
    """Size of the JPEGs, WIDTHxHEIGHT; annotations are in 1920x1080 pixels regardless."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    workers: int | None = None
    """Processes; all cores by default."""

    def run(self) -> int:
        """Paints the splits and prints a summary."""
        from training.data.kitchen import parse_size
        from training.data.painted import PaintConfig, paint

        splits = [name.strip() for name in self.splits.split(",") if name.strip()]
        config = PaintConfig(self.seed, self.look, parse_size(self.frame_size), self.quality)
        summary = paint(
            self.visor, self.annotations, self.out, config, splits, workers=self.workers
        )
        print("\n".join(summary.lines()))
        return 0


@dataclass(frozen=True)
class Bag:
    """Convert an EPIC-KITCHENS video and its narrations into a rosbag2.

    Exit status 3 means that the bag is written, but something of the video or of the narrations is
    not in it; standard error says what.
    """

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
    """Frame rate of a folder of frames (by default what the frame numbers in the narrations say)
    or of a raw stream; for other videos, how many frames a second to keep."""
    size: tuple[int, int] | None = None
    """Width and height of the images; the video's own by default."""
    quality: int = 90
    """JPEG quality, 1 to 100."""
    raw: bool = False
    """Write sensor_msgs/Image on /image instead of JPEG on /image/compressed."""
    storage: Literal["mcap", "sqlite3"] = "mcap"
    """Format of the bag's file."""
    camera_info: Path | None = None
    """Calibration for /camera_info: YAML as ROS's camera_calibration writes it."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Refuse a source that is damaged or shorter than it says, or write what is left of it."""

    def run(self) -> int:
        """Writes the bag and prints what is in it."""
        from actiseg_ros.bags.epic_bag import BagOptions, write_bag

        options = BagOptions(
            self.start,
            self.stop,
            self.fps,
            self.size,
            self.quality,
            self.raw,
            self.storage,
            self.camera_info,
            self.on_error,
        )
        with seconds_bar("writing") as progress:
            bag = write_bag(self.video, self.narrations, self.video_id, self.out, options, progress)
        print(f"{bag.path}: {bag.frames} images in {bag.duration:.1f} s, {bag.actions} actions")
        return tell(bag.notes, bag.losses)


@contextmanager
def seconds_bar(what: str) -> Iterator[Callable[[float, float], None]]:
    """Shows how many seconds of a recording are done, on standard error.

    Yields:
        To be called with the second that was done last, and the last one.
    """
    from training.files.progress import Progress

    with ExitStack() as stack:
        bars: list[Progress] = []

        def progress(done: float, end: float) -> None:
            # Drawn when there is something to tell, not above the line that refuses the input.
            if not bars:
                bars.append(stack.enter_context(Progress(what, "seconds", end)))
            bars[0].reach(min(done, end))

        yield progress


def tell(notes: Sequence[str], losses: Sequence[str]) -> int:
    """Prints what is to be said about a conversion.

    Returns:
        The exit status: `INCOMPLETE` if something was lost, else 0.
    """
    for note in notes:
        print(f"note: {note}")
    for loss in losses:
        print(f"warning: {loss}", file=sys.stderr)
    return INCOMPLETE if losses else 0


@dataclass(frozen=True)
class Narration:
    """Show what the node takes from narrations: candidate objects, the target, and why.

    The reason is `object` where there is a target; else `question`, `negated`, `conditional`,
    `ended`, `planned`, `statement`, `ambiguous`, `no_object`, `place_only`, `pronoun`, `hand`,
    `unknown_object`, `cut` (too long) or `empty`.
    """

    text: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Narrations."""
    csv: Path | None = None
    """Instead: a table with the column narration; narration_id and noun are used if there."""
    out: Path | None = None
    """JSON file to write, a list of rows; without it they are printed."""
    bundle: Path | None = None
    """Model bundle whose names are known; the embedded one by default."""
    nouns: Path | None = None
    """More names, in the columns of EPIC_100_noun_classes_v2.csv, as the node's `nouns_csv`."""

    def run(self) -> int:
        """Reads the narrations and writes or prints what they name."""
        from actiseg_ros.bundle import load_bundle
        from actiseg_ros.errors import ActisegError
        from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
        from training.data.narrations import of_table, of_texts, summary
        from training.files.disk import write_json

        if bool(self.text) == (self.csv is not None):
            raise ActisegError("give narrations, or a table of them with --csv")
        bundle = load_bundle(self.bundle)
        vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
        if self.nouns is not None:
            vocabulary = vocabulary.extended(read_noun_classes(self.nouns))
        read = of_table(self.csv, vocabulary) if self.csv else of_texts(self.text, vocabulary)
        if self.out is not None:
            write_json(self.out, [narration.row() for narration in read])
        else:
            print("\n".join(map(str, read)))
        if self.csv is not None:
            print("\n".join(summary(read)), file=sys.stderr)
        return 0
