"""What the demonstration shows: a video with narrations and, for the kitchen, the truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.kitchen.style import Style
from training.data.kitchen.video import VideoOptions, make_video
from training.data.layout import split_file
from training.data.palette import read_label_png
from training.data.splits import load_clips

FRAME_RATE = 10
SIZE = (854, 480)
_TRUTH_EVERY = 2


@dataclass(frozen=True)
class DemoFootage:
    """A video and what belongs to it.

    Attributes:
        video: Video file, or folder of frames.
        narrations: EPIC-KITCHENS csv with the additional column ``object_names``.
        video_id: Rows of the csv that belong to the video.
        truth: Ground truth of some frames by their number, empty if it is not known.
    """

    video: Path
    narrations: Path
    video_id: str
    truth: dict[int, Truth]


@dataclass(frozen=True)
class Truth:
    """Ground truth of one frame.

    Attributes:
        file: Label image; the labels are the keys of `names`.
        names: Name of each object.
        positive: Whether each object takes part in the action.
    """

    file: Path
    names: dict[int, str]
    positive: dict[int, bool]

    def labels(self) -> NDArray[np.uint8]:
        """Reads the label image, uint8 [480, 854]."""
        return read_label_png(self.file)


def kitchen_footage(
    folder: Path,
    seconds: float,
    seed: int,
    *,
    kitchen: int | None = None,
    style: Style = "plain",
) -> DemoFootage:
    """Draws a kitchen video of actions, none of which the embedded model was trained on.

    Args:
        folder: Folder for video, narrations and truth.
        seconds: Length.
        seed: Actions and layout to draw.
        kitchen: Kitchen to draw; by default one of the video's own.
        style: How it is drawn.
    """
    options = VideoOptions(
        seed=seed,
        seconds=seconds,
        fps=FRAME_RATE,
        size=SIZE,
        truth_every=_TRUTH_EVERY,
        kitchen=kitchen,
        style=style,
    )
    drawn = make_video(folder, options)
    truth = {}
    for clip in load_clips(split_file(drawn.truth, "val")):
        names = {entry.object_id: entry.name for entry in clip.objects}
        for frame in clip.frames:
            stem = Path(frame).stem
            file = drawn.truth / "Annotations_Sparse" / "val" / clip.sequence / f"{stem}.png"
            truth[int(stem.rpartition("_")[2])] = Truth(file, names, clip.positive)
    return DemoFootage(drawn.video, drawn.narrations, drawn.video_id, truth)
