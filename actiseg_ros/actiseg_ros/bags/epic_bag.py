"""EPIC-KITCHENS video and narrations → rosbag2.

Bag time is video time: a frame's stamp is its presentation time, an action's stamp its
``start_timestamp`` from the csv. (A frame at exactly 0 gets 1 ns, because ROS reads a zero stamp
as "not set".) Narrations are repeated once a second while they last, since a message that was
sent once is lost to whoever starts listening, or seeks, later.
"""

from __future__ import annotations

import errno
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from rosbags.rosbag2 import StoragePlugin, Writer

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.camera_info import Calibration, camera_info, read_calibration
from actiseg_ros.bags.epic_actions import TimedAction, narration_events, read_actions
from actiseg_ros.bags.footage import Frame, open_footage, thinned
from actiseg_ros.bags.type_store import typestore

IMAGE_TOPIC = "/image"
COMPRESSED_TOPIC = "/image/compressed"
CAMERA_INFO_TOPIC = "/camera_info"
NARRATION_TOPIC = "/narration"
ACTION_TOPIC = "/action"
FRAME_ID = "camera_optical_frame"

Storage = Literal["mcap", "sqlite3"]
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no more of the user's share, or a file as large as files may be."""
_TAIL = 1.0
"""Seconds behind the last frame in which the end of an action is still written."""


@dataclass(frozen=True)
class BagOptions:
    """What goes into the bag, and how.

    Attributes:
        start: First second of the video.
        stop: Seconds of the video to stop before; None is its end.
        fps: Frame rate of what has no time of its own: a folder of frames, or a raw stream. For
            other videos: frames per second to keep.
        size: Width and height of the images; None keeps the video's.
        quality: JPEG quality, 1 to 100.
        raw: Whether to write `sensor_msgs/Image` (bgr8) instead of JPEG.
        storage: Format of the bag's file.
        camera_info: Calibration file (YAML of ROS's camera_calibration); None writes that the
            camera is not calibrated.
        on_error: Whether a source that is damaged or shorter than it says is refused, or what is
            left of it is written.
    """

    start: float = 0.0
    stop: float | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    quality: int = 90
    raw: bool = False
    storage: Storage = "mcap"
    camera_info: Path | None = None
    on_error: Literal["refuse", "skip"] = "refuse"

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            BagError: A value is outside its range.
        """
        # Said so that what is no number does not pass.
        if not 0 <= self.start < float("inf") or not (self.stop is None or self.stop > self.start):
            raise BagError(f"start {self.start} and stop {self.stop} do not enclose any video")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise BagError(f"fps is {self.fps}, it must be above 0 and at most 1000")
        if self.size is not None and not all(0 < side <= 16384 for side in self.size):
            raise BagError(f"size is {self.size}, both sides must be from 1 to 16384")
        if not 1 <= self.quality <= 100:
            raise BagError(f"quality is {self.quality}, it must be from 1 to 100")
        if self.storage not in _PLUGINS:
            raise BagError(f"storage is {self.storage!r}, it must be one of {', '.join(_PLUGINS)}")


@dataclass(frozen=True)
class BagSummary:
    """What `write_bag` wrote.

    Attributes:
        path: Folder of the bag.
        frames: Number of images.
        actions: Number of distinct actions.
        duration: Seconds from the first to the last image.
        notes: Choices that were made, one line each.
        losses: What of the video or of the table is not in the bag, one line each.
    """

    path: Path
    frames: int
    actions: int
    duration: float
    notes: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()


def write_bag(
    video: Path,
    narrations: Path,
    video_id: str,
    out: Path,
    options: BagOptions | None = None,
    progress: Callable[[float, float], None] | None = None,
) -> BagSummary:
    """Converts one video with its narrations.

    Args:
        video: Video file, or folder of ``frame_0000000001.jpg`` … (frame 1 is second 0; if there
            is a frame 0, that one is).
        narrations: EPIC-KITCHENS csv. An additional column ``object_names`` (a list in Python or
            JSON form) gives the candidate objects of each action.
        video_id: Rows with this ``video_id`` are taken, for example ``P01_107``.
        out: Folder of the new bag.
        options: Range, rate and form of the images.
        progress: Called with the second that was written last, and the last one.

    Returns:
        What was written, and what could not be.

    Raises:
        BagError: The video has no readable frame in the range, is damaged (unless what is left is
            wanted), `out` exists, or the disk is full.
        NarrationError: The csv lacks a column or the video id, or a row is malformed.
    """
    options = options or BagOptions()
    if out.exists():
        raise BagError(f"{out} exists; remove it or choose another path")
    account = Account(refuse=options.on_error == "refuse")
    actions = read_actions(narrations, video_id)
    calibration = read_calibration(options.camera_info) if options.camera_info else None
    footage = open_footage(video, video_id, narrations, account, fps=options.fps, stop=options.stop)
    frames = footage.frames(options.start, options.stop)
    if footage.timed:
        frames = thinned(frames, options.fps)
    if progress is not None:
        frames = _telling(frames, progress, min(footage.end, options.stop or footage.end))
    out.parent.mkdir(parents=True, exist_ok=True)
    # The bag's file names repeat the folder's name, so the unfinished bag already carries it.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        unfinished = Path(folder) / out.name
        try:
            written = _write(unfinished, frames, actions, options, calibration)
        except (OSError, sqlite3.OperationalError) as error:
            if isinstance(error, OSError) and error.errno not in _FULL:
                raise
            raise BagError(
                f"{out}: cannot be written ({error}); free space, or choose another place. Nothing "
                "of it is left"
            ) from error
        if not written.frames:
            raise BagError(
                f"{video}: no frame from second {options.start} to {options.stop or 'the end'}"
            )
        _tell_sizes(written, account)
        _tell_actions_outside(actions, written, footage.rate, options, account)
        shutil.move(unfinished, out)
    return BagSummary(
        out,
        written.frames,
        written.actions,
        written.last - written.first,
        tuple(account.notes),
        tuple(account.losses),
    )


def _telling(
    frames: Iterator[Frame], progress: Callable[[float, float], None], end: float
) -> Iterator[Frame]:
    for frame in frames:
        yield frame
        progress(frame.time, end)


@dataclass
class _Written:
    """What is in a bag: frames, seconds of the first and last one, actions, sizes of pictures.

    A size, width and height, leads to the second where it is met first.
    """

    frames: int = 0
    first: float = 0.0
    last: float = 0.0
    actions: int = 0
    sizes: dict[tuple[int, int], float] = field(default_factory=dict)


def _write(
    path: Path,
    frames: Iterator[Frame],
    actions: Sequence[TimedAction],
    options: BagOptions,
    calibration: Calibration | None,
) -> _Written:
    written = _Written()
    with Writer(path, version=9, storage_plugin=_PLUGINS[options.storage]) as writer:
        out = _Messages(writer, options, calibration)
        events = iter(narration_events(actions, options.start, options.stop))
        event = next(events, None)
        for frame in frames:
            while event is not None and event.time <= frame.time:
                out.narration(event.time, event.action)
                event = next(events, None)
            written.sizes.setdefault(out.image(frame), frame.time)
            written.first = written.first if written.frames else frame.time
            written.frames, written.last = written.frames + 1, frame.time
        # The end of the last action belongs to the bag if it falls on the video's last frame.
        while written.frames and event is not None and event.time <= written.last + _TAIL:
            if event.action is None or event.action.start <= written.last:
                out.narration(event.time, event.action)
            event = next(events, None)
        written.actions = len(out.seen)
    return written


def _tell_sizes(written: _Written, account: Account) -> None:
    """Tells that pictures are not all of one size, which a node takes for another camera."""
    if len(written.sizes) > 1:
        shown = ", ".join(
            f"{width}x{height} from second {time:.2f}"
            for (width, height), time in list(written.sizes.items())[:3]
        )
        account.note(
            f"pictures have {len(written.sizes)} sizes ({shown}), and a node starts anew where "
            "they change; `--size WIDTH HEIGHT` makes them alike"
        )


def _tell_actions_outside(
    actions: Sequence[TimedAction],
    written: _Written,
    rate: float | None,
    options: BagOptions,
    account: Account,
) -> None:
    """Tells which actions of the table the video does not show."""
    # What the user cut off is no loss; what begins behind the video's last frame is one.
    inside = [
        action
        for action in actions
        if action.stop > options.start and (options.stop is None or action.start < options.stop)
    ]
    if len(inside) < len(actions):
        account.note(f"{len(actions) - len(inside)} actions lie outside the seconds chosen")
    end = written.last + (1 / rate if rate else 0.0)
    beyond = [action for action in inside if action.start >= end]
    if beyond:
        names = " … ".join(dict.fromkeys((beyond[0].narration_id, beyond[-1].narration_id)))
        account.lose(
            f"{len(beyond)} of {len(actions)} actions ({names}) begin at second "
            f"{beyond[0].start:.2f} or later, but the last frame is at {written.last:.2f}"
        )
    cut = [action for action in inside if action.start < end and action.stop > end + _TAIL]
    if cut and options.stop is None:
        account.note(f"{len(cut)} actions go on behind the video's end")


class _Messages:
    """Fills and writes the messages of one bag."""

    def __init__(
        self, writer: Writer, options: BagOptions, calibration: Calibration | None
    ) -> None:
        self.seen: set[str] = set()
        self._writer = writer
        self._options = options
        self._calibration = calibration
        self._store = typestore()
        image = (
            (IMAGE_TOPIC, "sensor_msgs/msg/Image")
            if options.raw
            else (COMPRESSED_TOPIC, "sensor_msgs/msg/CompressedImage")
        )
        self._connections = {
            topic: writer.add_connection(topic, kind, typestore=self._store)
            for topic, kind in (
                image,
                (CAMERA_INFO_TOPIC, "sensor_msgs/msg/CameraInfo"),
                (NARRATION_TOPIC, "std_msgs/msg/String"),
                (ACTION_TOPIC, "actiseg_msgs/msg/ActionNarration"),
            )
        }

    def _type(self, name: str) -> Any:
        return self._store.types[name]

    def _put(self, topic: str, time: float, message: Any) -> None:
        connection = self._connections[topic]
        raw = self._store.serialize_cdr(message, connection.msgtype)
        self._writer.write(connection, _nanoseconds(time), raw)

    def _header(self, time: float) -> Any:
        seconds, nanoseconds = divmod(_nanoseconds(time), 10**9)
        stamp = self._type("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
        return self._type("std_msgs/msg/Header")(stamp=stamp, frame_id=FRAME_ID)

    def image(self, frame: Frame) -> tuple[int, int]:
        """Writes a frame; returns its width and height in the bag."""
        header = self._header(frame.time)
        bgr = _resized(frame.bgr, self._options.size)
        height, width = (int(side) for side in bgr.shape[:2])
        if self._options.raw:
            message = self._type("sensor_msgs/msg/Image")(
                header=header,
                height=height,
                width=width,
                encoding="bgr8",
                is_bigendian=0,
                step=width * 3,
                data=np.ascontiguousarray(bgr).reshape(-1),
            )
            self._put(IMAGE_TOPIC, frame.time, message)
        else:
            unchanged = frame.jpeg if bgr is frame.bgr else None
            data = unchanged or _encode(bgr, self._options.quality)
            message = self._type("sensor_msgs/msg/CompressedImage")(
                header=header, format="jpeg", data=np.frombuffer(data, np.uint8)
            )
            self._put(COMPRESSED_TOPIC, frame.time, message)
        info = camera_info(self._store, header, width, height, self._calibration)
        self._put(CAMERA_INFO_TOPIC, frame.time, info)
        return width, height

    def narration(self, time: float, action: TimedAction | None) -> None:
        text = action.narration if action else ""
        self._put(NARRATION_TOPIC, time, self._type("std_msgs/msg/String")(data=text))
        start, stop = (action.start, action.stop) if action else (time, time)
        seconds, nanoseconds = divmod(round((stop - start) * 1e9), 10**9)
        message = self._type("actiseg_msgs/msg/ActionNarration")(
            header=self._header(start),
            narration=text,
            object_names=list(action.object_names) if action else [],
            target_name=action.target if action else "",
            duration=self._type("builtin_interfaces/msg/Duration")(
                sec=seconds, nanosec=nanoseconds
            ),
        )
        self._put(ACTION_TOPIC, time, message)
        if action:
            self.seen.add(action.narration_id)


def _nanoseconds(time: float) -> int:
    return max(1, round(time * 1e9))


def _resized(bgr: npt.NDArray[np.uint8], size: tuple[int, int] | None) -> npt.NDArray[np.uint8]:
    if size is None or (bgr.shape[1], bgr.shape[0]) == size:
        return bgr
    return np.asarray(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA), np.uint8)


def _encode(bgr: npt.NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise BagError(f"an image of {bgr.shape[1]}x{bgr.shape[0]} cannot be written as JPEG")
    return data.tobytes()
