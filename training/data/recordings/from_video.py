"""Pictures and narrations of a video file or a folder of frames."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import Account
from actiseg_ros.bags.footage import Frame, open_footage
from training.data.recordings.narrations import Narration, of_table
from training.data.recordings.source import Choice, Frames, Picture, Progress, shown


class VideoSource:
    """A video with a table of narrations; see `Source`.

    Args:
        video: Video file, or folder of numbered pictures.
        narrations: Table in the form of EPIC-KITCHENS.
        video_id: Rows with this ``video_id`` are taken.
        choice: Which frames are taken.
        fps: Frame rate of what has no time of its own.
        account: Told of choices and damage.

    Raises:
        BagError: The video cannot be used.
        NarrationError: The table is malformed, or has no narration of this video.
    """

    def __init__(
        self,
        video: Path,
        narrations: Path,
        video_id: str,
        choice: Choice,
        fps: float | None,
        account: Account,
    ) -> None:
        self.video_id, self.account, self.frames = video_id, account, Frames()
        self._choice = choice
        self._narrations = of_table(narrations, video_id)
        self._footage = open_footage(
            video, video_id, narrations, account, fps=fps, stop=choice.stop
        )
        files = sorted(video.iterdir()) if video.is_dir() else [video]
        self.identity: dict[str, Any] = {
            "kind": "video",
            "video": str(video.resolve()),
            "files": len(files),
            "bytes": sum(file.stat().st_size for file in files if file.is_file()),
            "narrations": str(narrations.resolve()),
            "frame_rate": self._footage.rate,
        }

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Decodes the video and takes the first frame of each interval."""
        end = min(self._footage.end, self._choice.stop or self._footage.end)
        taken = -1
        begin: float | None = None
        for frame in self._footage.frames(stop=self._choice.stop, counted=True):
            self.frames.numbers.append(frame.number)
            self.frames.times.append(frame.time)
            progress(frame.time, end)
            if frame.time < self._choice.start:
                continue
            begin = frame.time if begin is None else begin
            interval = int((frame.time - begin) / self._choice.every + 1e-6)
            if interval > taken:
                taken = interval
                yield self._picture(frame)

    def _picture(self, frame: Frame) -> Picture:
        def decode() -> npt.NDArray[np.uint8]:
            return np.asarray(cv2.cvtColor(frame.bgr, cv2.COLOR_BGR2RGB), np.uint8)

        origin: dict[str, Any] = {"file": frame.path.name} if frame.path else {}
        return Picture(frame.number, frame.time, origin, frame.jpeg, decode)

    def narrations(self) -> list[Narration]:
        """The table's narrations that the frames show."""
        chosen = [
            action
            for action in self._narrations
            if action.stop > self._choice.start
            and (self._choice.stop is None or action.start < self._choice.stop)
        ]
        return shown(chosen, self.frames, self.account)
