"""The command `actiseg frames`. Importable without PyTorch."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from actiseg_ros.errors import ActisegError
from training.data.commands import seconds_bar, tell

if TYPE_CHECKING:
    from actiseg_ros.bags.account import Account
    from training.data.recordings.source import Choice, Source


@dataclass(frozen=True)
class Frames:
    """Take pictures and narrations out of a bag or a video, ready for an annotation tool.

    Writes OUT/images/, OUT/narrations.csv (the columns of EPIC-KITCHENS-100; frame numbers are
    those in the pictures' names) and OUT/manifest.json, which leads from each picture back to the
    recording and is written last. Run again, it continues where it stopped. Exit status 3 means
    that all is written, but something of the recording could not be taken; standard error says
    what.
    """

    out: Path
    """Folder to write."""
    every: float
    """Seconds; one picture of each interval of this length."""
    bag: Path | None = None
    """Bag of `ros2 bag record` (folder, .mcap or .db3) or of `actiseg bag`."""
    video: Path | None = None
    """Instead of a bag: a video file, or a folder of frames frame_0000000001.jpg …"""
    narrations: Path | None = None
    """For a video: narrations in the columns of EPIC_100_train.csv."""
    video_id: str = ""
    """For a video: whose narrations are taken. For a bag: name in the pictures' names and in the
    table; the bag's own by default."""
    topic: str = ""
    """Images of a bag, raw or compressed; needed when it has several cameras."""
    narration_topic: str = ""
    """Narrations of a bag (std_msgs/String); by default the one whose name ends in `narration`."""
    action_topic: str = ""
    """Actions of a bag (actiseg_msgs/ActionNarration); by default the only one."""
    decisions: str = ""
    """Decisions of a bag (actiseg_msgs/GraspDecision); by default the only one."""
    favour: Literal["none", "uncertain"] = "none"
    """Of each interval, the first picture, or the one that the node was most unsure of: with a p-
    or n-uncertainty nearest to its limit or beyond it."""
    start: float = 0.0
    """First second of the recording."""
    stop: float | None = None
    """Second of the recording to stop before; its end by default."""
    format: Literal["auto", "png", "jpeg"] = "auto"
    """auto keeps recorded JPEGs as they are and writes all else as PNG; png is lossless; jpeg."""
    quality: int = 95
    """JPEG quality of what is not recorded as JPEG, 1 to 100."""
    fps: float | None = None
    """Frame rate of a folder of frames or of a raw stream."""
    narration_hold: float = 10.0
    """Seconds that a narration without a duration holds, as the node's `narration_timeout`."""
    bundle: Path | None = None
    """Model bundle whose vocabulary finds the noun of a narration; the embedded one by default."""
    nouns: Path | None = None
    """More nouns, in the columns of EPIC_100_noun_classes_v2.csv."""
    on_error: Literal["refuse", "skip"] = "refuse"
    """Refuse a recording that is damaged, or take what is left of it."""

    def run(self) -> int:
        """Writes the pictures and prints how many."""
        from actiseg_ros.bags.account import Account
        from actiseg_ros.bundle import load_bundle
        from actiseg_ros.narration.vocabulary import Vocabulary, read_noun_classes
        from training.data.recordings.extract import PictureForm, extract
        from training.data.recordings.source import Choice

        self._check()
        bundle = load_bundle(self.bundle)
        vocabulary = Vocabulary({entry.class_id: entry.names for entry in bundle.vocabulary})
        if self.nouns is not None:
            vocabulary = vocabulary.extended(read_noun_classes(self.nouns))
        choice = Choice(self.every, self.favour, self.start, self.stop)
        with ExitStack() as stack:
            source = self._source(choice, Account(refuse=self.on_error == "refuse"), stack)
            progress = stack.enter_context(seconds_bar("reading"))
            form = PictureForm(self.format, self.quality)
            done = extract(source, self.out, choice, form, vocabulary, progress)
        print(f"{self.out}: {done.pictures} pictures, {done.narrations} narrated actions")
        return tell(done.notes, done.losses)

    def _check(self) -> None:
        if (self.bag is None) == (self.video is None):
            raise ActisegError("give either --bag or --video")
        if self.video is not None and (self.narrations is None or not self.video_id):
            raise ActisegError("--video needs --narrations and --video-id")
        if self.bag is not None and (self.narrations is not None or self.fps is not None):
            raise ActisegError("--narrations and --fps belong to --video; a bag has its own")
        if self.video is not None and self.favour == "uncertain":
            raise ActisegError("--favour uncertain needs the decisions of a bag; a video has none")
        if not 0 < self.every < float("inf"):
            raise ActisegError(f"--every is {self.every}, it must be more than 0 seconds")
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise ActisegError(f"--start {self.start} and --stop {self.stop} enclose nothing")
        if not 1 <= self.quality <= 100:
            raise ActisegError(f"--quality is {self.quality}, it must be from 1 to 100")
        if not 0 < self.narration_hold <= 3600:
            raise ActisegError(f"--narration-hold is {self.narration_hold}, not above 0 to 3600 s")
        if "/" in self.video_id:
            raise ActisegError(f"--video-id is {self.video_id!r}; a slash cannot be in file names")

    def _source(self, choice: Choice, account: Account, stack: ExitStack) -> Source:
        from training.data.recordings.from_bag import BagSource, BagTopics
        from training.data.recordings.from_video import VideoSource

        if self.bag is not None:
            topics = BagTopics(self.topic, self.narration_topic, self.action_topic, self.decisions)
            return stack.enter_context(
                BagSource(self.bag, topics, self.video_id, choice, self.narration_hold, account)
            )
        assert self.video is not None and self.narrations is not None
        return VideoSource(self.video, self.narrations, self.video_id, choice, self.fps, account)
