"""One way to read a video file or a folder of frames: upright frames in the video's time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.frame_folder import FrameFolder, folder_rate, list_frames
from actiseg_ros.bags.orientation import UPRIGHT, of_picture
from actiseg_ros.bags.video import ROUNDING, Survey, check_complete, read_video, survey
from actiseg_ros.errors import ImageError
from actiseg_ros.tables import TableError
from actiseg_ros.vision.compressed import decode_compressed

_SLACK = 5e-4
"""Seconds; containers round presentation times."""


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        number: Number of its file, or its place among the video's frames from 1.
        time: Seconds from the video's beginning.
        bgr: Pixels [H, W, 3], upright.
        jpeg: Its file's bytes, if they are an upright JPEG with these pixels.
        path: Its file; None for a frame of a video file.
    """

    number: int
    time: float
    bgr: npt.NDArray[np.uint8]
    jpeg: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Footage:
    """A video file or a folder of frames that is there and whole.

    Attributes:
        path: The file or folder.
        rate: Frames a second, as far as they are known.
        end: Second at which it ends.
        timed: Whether its frames have times of their own.
    """

    path: Path
    rate: float | None
    end: float
    timed: bool
    _account: Account
    _folder: FrameFolder | None = None
    _survey: Survey | None = None

    def frames(
        self, start: float = 0.0, stop: float | None = None, *, counted: bool = False
    ) -> Iterator[Frame]:
        """Reads the frames from `start` to before `stop`.

        Args:
            start: First second wanted.
            stop: Seconds to stop before.
            counted: Whether `number` must be right, which forbids jumps over what is not wanted.

        Raises:
            BagError: A frame cannot be decoded and damage is refused.
        """
        if self._folder is not None and self.rate is not None:
            yield from _folder_frames(self._folder, self.rate, start, stop, self._account)
            return
        assert self._survey is not None
        found = read_video(
            self.path,
            self._survey,
            self._account,
            start=start,
            stop=stop,
            rate=self.rate,
            seek=not counted,
        )
        for frame in found:
            yield Frame(frame.number, frame.time, frame.bgr)


def open_footage(
    video: Path,
    video_id: str,
    narrations: Path,
    account: Account,
    *,
    fps: float | None = None,
    stop: float | None = None,
) -> Footage:
    """Looks a video file or a folder of frames over before anything is written.

    Args:
        video: Video file, or folder of numbered pictures.
        video_id: Its name in the tables.
        narrations: Table of narrations; its frame numbers and ``EPIC_100_video_info.csv`` beside
            it tell the rate of a folder.
        account: Told of choices and damage.
        fps: Frame rate of what has no time of its own: a folder, or a raw stream.
        stop: Second that is read up to; what is missing behind does not matter.

    Raises:
        BagError: Nothing readable is there, its frame rate is not known, or it is cut short and
            damage is refused.
    """
    if video.is_dir():
        folder = list_frames(video, account)
        try:
            rate = fps or folder_rate(folder, video_id, narrations, account)
        except TableError as error:
            raise BagError(str(error)) from error
        last = folder.time(folder.frames[-1], rate)
        return Footage(video, rate, last + 1 / rate, False, account, folder)
    if not video.is_file():
        raise BagError(f"{video}: there is no such video file or folder of frames")
    found = survey(video)
    check_complete(video, found, stop, account)
    if found.raw:
        return Footage(video, fps, found.packets / (fps or 1.0), False, account, _survey=found)
    return Footage(video, found.rate, found.end, True, account, _survey=found)


def thinned(frames: Iterator[Frame], rate: float | None) -> Iterator[Frame]:
    """Keeps at most `rate` frames a second, all without one."""
    due = -1.0
    for frame in frames:
        if rate is not None:
            if frame.time < due - _SLACK:
                continue
            due = frame.time + 1 / rate
        yield frame


def _folder_frames(
    folder: FrameFolder, rate: float, start: float, stop: float | None, account: Account
) -> Iterator[Frame]:
    unreadable: list[str] = []
    for numbered in folder.frames:
        time = folder.time(numbered, rate)
        if time < start - ROUNDING or (stop is not None and time >= stop - ROUNDING):
            continue
        try:
            data = numbered.path.read_bytes()
            rgb = decode_compressed(data)
        except (ImageError, OSError) as error:
            account.refuse(f"{numbered.path}: no readable image ({error})")
            unreadable.append(numbered.path.name)
            continue
        orientation = of_picture(data)
        if orientation != UPRIGHT:
            account.note(f"pictures are {orientation}, as their EXIF data say")
        bgr = np.asarray(cv2.cvtColor(orientation.upright(rgb), cv2.COLOR_RGB2BGR), np.uint8)
        # A JPEG goes on as it is: coding it again would only hurt it.
        as_it_is = data.startswith(b"\xff\xd8\xff") and orientation == UPRIGHT
        yield Frame(numbered.number, time, bgr, data if as_it_is else None, numbered.path)
    if unreadable:
        named = ", ".join(unreadable[:3]) + (", …" if len(unreadable) > 3 else "")
        account.lose(f"{folder.path}: {len(unreadable)} pictures cannot be read: {named}")
