"""EPIC-KITCHENS video and narrations → rosbag2 (mcap).

Bag time is video time: a frame's stamp is its presentation time, an action's stamp its
``start_timestamp`` from the csv. (A frame at exactly 0 gets 1 ns, because ROS reads a zero stamp
as "not set".) Narrations are repeated once a second while they last, since a message that was
sent once is lost to whoever starts listening, or seeks, later.
"""

from __future__ import annotations

import csv
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import numpy.typing as npt
from rosbags.rosbag2 import StoragePlugin, Writer

from actiseg_ros.bags.epic_actions import Action, narration_events, read_actions
from actiseg_ros.bags.type_store import typestore
from actiseg_ros.errors import RobotError

IMAGE_TOPIC = "/image"
COMPRESSED_TOPIC = "/image/compressed"
NARRATION_TOPIC = "/narration"
ACTION_TOPIC = "/action"
FRAME_ID = "camera_optical_frame"

_FRAME_NAME = re.compile(r"frame_(\d+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
_VIDEO_INFO = "EPIC_100_video_info.csv"


class BagError(RobotError):
    """A video, its narrations or the output path of a bag cannot be used."""


@dataclass(frozen=True)
class BagOptions:
    """What goes into the bag, and how.

    Attributes:
        start: First second of the video.
        stop: Seconds of the video to stop before; None is its end.
        fps: For a folder of frames: its frame rate. For a video: frames per second to keep.
        size: Width and height of the images; None keeps the video's.
        quality: JPEG quality, 1 to 100.
        raw: Whether to write `sensor_msgs/Image` (bgr8) instead of JPEG.
    """

    start: float = 0.0
    stop: float | None = None
    fps: float | None = None
    size: tuple[int, int] | None = None
    quality: int = 90
    raw: bool = False

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
            BagError: A value is outside its range.
        """
        if self.start < 0 or (self.stop is not None and self.stop <= self.start):
            raise BagError(f"start {self.start} and stop {self.stop} do not enclose any video")
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise BagError(f"fps is {self.fps}, it must be above 0 and at most 1000")
        if self.size is not None and not all(0 < side <= 16384 for side in self.size):
            raise BagError(f"size is {self.size}, both sides must be from 1 to 16384")
        if not 1 <= self.quality <= 100:
            raise BagError(f"quality is {self.quality}, it must be from 1 to 100")


@dataclass(frozen=True)
class BagSummary:
    """What `write_bag` wrote.

    Attributes:
        path: Folder of the bag.
        frames: Number of images.
        actions: Number of distinct actions.
        duration: Seconds from the first to the last image.
    """

    path: Path
    frames: int
    actions: int
    duration: float


@dataclass(frozen=True)
class Frame:
    """One frame: its time in seconds, and either its pixels (BGR) or its JPEG file's bytes."""

    time: float
    bgr: npt.NDArray[np.uint8] | None = None
    jpeg: bytes | None = None


def write_bag(
    video: Path, narrations: Path, video_id: str, out: Path, options: BagOptions | None = None
) -> BagSummary:
    """Converts one video with its narrations.

    Args:
        video: Video file, or folder of ``frame_0000000001.jpg`` … (frame 1 is second 0).
        narrations: EPIC-KITCHENS csv. An additional column ``object_names`` (a list in Python or
            JSON form) gives the candidate objects of each action.
        video_id: Rows with this ``video_id`` are taken, for example ``P01_107``.
        out: Folder of the new bag.
        options: Range, rate and form of the images.

    Returns:
        Counts of what was written.

    Raises:
        BagError: The video has no readable frame in the range, the csv lacks a column or the
            video id, or `out` exists.
    """
    options = options or BagOptions()
    if out.exists():
        raise BagError(f"{out} exists; remove it or choose another path")
    actions = read_actions(narrations, video_id)
    frames = read_frames(video, video_id, narrations, options)
    out.parent.mkdir(parents=True, exist_ok=True)
    # The bag's file names repeat the folder's name, so the unfinished bag already carries it.
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        unfinished = Path(folder) / out.name
        summary = _write(unfinished, frames, actions, options, video)
        shutil.move(unfinished, out)
    return BagSummary(out, *summary)


def _write(
    path: Path,
    frames: Iterator[Frame],
    actions: Sequence[Action],
    options: BagOptions,
    video: Path,
) -> tuple[int, int, float]:
    times: list[float] = []
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        out = _Messages(writer, options)
        events = iter(narration_events(actions, options.start, options.stop))
        event = next(events, None)
        for frame in frames:
            while event is not None and event.time <= frame.time:
                out.narration(event.time, event.action)
                event = next(events, None)
            out.image(frame)
            times.append(frame.time)
        if not times:
            raise BagError(
                f"{video}: no frame from second {options.start} to {options.stop or 'the end'}"
            )
        # The end of the last action belongs to the bag if it falls on the video's last frame.
        while event is not None and event.time <= times[-1] + 1.0:
            out.narration(event.time, event.action)
            event = next(events, None)
    return len(times), len(out.seen), times[-1] - times[0]


class _Messages:
    """Fills and writes the messages of one bag."""

    def __init__(self, writer: Writer, options: BagOptions) -> None:
        self.seen: set[str] = set()
        self._writer = writer
        self._options = options
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

    def image(self, frame: Frame) -> None:
        if not self._options.raw:
            data = frame.jpeg or _encode(_pixels(frame, self._options), self._options.quality)
            message = self._type("sensor_msgs/msg/CompressedImage")(
                header=self._header(frame.time),
                format="jpeg",
                data=np.frombuffer(data, np.uint8),
            )
            self._put(COMPRESSED_TOPIC, frame.time, message)
            return
        bgr = _pixels(frame, self._options)
        message = self._type("sensor_msgs/msg/Image")(
            header=self._header(frame.time),
            height=bgr.shape[0],
            width=bgr.shape[1],
            encoding="bgr8",
            is_bigendian=0,
            step=bgr.shape[1] * 3,
            data=np.ascontiguousarray(bgr).reshape(-1),
        )
        self._put(IMAGE_TOPIC, frame.time, message)

    def narration(self, time: float, action: Action | None) -> None:
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


def _pixels(frame: Frame, options: BagOptions) -> npt.NDArray[np.uint8]:
    bgr = frame.bgr
    if bgr is None:
        assert frame.jpeg is not None
        bgr = np.asarray(cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR))
    if options.size is not None and (bgr.shape[1], bgr.shape[0]) != options.size:
        bgr = np.asarray(cv2.resize(bgr, options.size, interpolation=cv2.INTER_AREA), np.uint8)
    return bgr


def _encode(bgr: npt.NDArray[np.uint8], quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise BagError(f"an image of {bgr.shape[1]}x{bgr.shape[0]} cannot be written as JPEG")
    return data.tobytes()


def read_frames(
    video: Path, video_id: str, narrations: Path, options: BagOptions
) -> Iterator[Frame]:
    """Reads the frames of a video file or of a folder of frames, in order of time.

    Raises:
        BagError: Nothing readable is there, or a folder's frame rate is not known.
    """
    if video.is_dir():
        fps = options.fps or _listed_fps(narrations.parent / _VIDEO_INFO, video_id)
        if fps is None:
            raise BagError(
                f"{video}: the frame rate of a folder of frames is not known; give --fps, or put "
                f"{_VIDEO_INFO} with a row for {video_id} beside {narrations.name}"
            )
        return _folder_frames(video, fps, options)
    if not video.is_file():
        raise BagError(f"{video}: there is no such video file or folder of frames")
    return _video_frames(video, options)


def _listed_fps(info: Path, video_id: str) -> float | None:
    """Frame rate of a video by the data set's list, None if it is not listed."""
    if not info.is_file():
        return None
    with info.open(newline="", encoding="utf-8") as stream:
        for row in csv.DictReader(stream):
            if row.get("video_id") == video_id:
                return float(row["fps"])
    return None


def _inside(time: float, options: BagOptions) -> bool:
    return time >= options.start and (options.stop is None or time < options.stop)


def _folder_frames(folder: Path, fps: float, options: BagOptions) -> Iterator[Frame]:
    numbered = sorted(
        (int(match[1]), path)
        for path in folder.iterdir()
        if (match := _FRAME_NAME.fullmatch(path.name))
    )
    for number, path in numbered:
        time = (number - 1) / fps
        if not _inside(time, options):
            continue
        data = path.read_bytes()
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
        if bgr is None:
            raise BagError(f"{path}: no readable image, perhaps cut short; extract it again")
        # A JPEG of the right size goes into the bag as it is: coding it again would only hurt it.
        unchanged = path.suffix.lower() != ".png" and (
            options.size is None or options.size == (bgr.shape[1], bgr.shape[0])
        )
        yield Frame(time, np.asarray(bgr, np.uint8), data if unchanged else None)


def _video_frames(video: Path, options: BagOptions) -> Iterator[Frame]:
    spacing = 1.0 / options.fps if options.fps else 0.0
    due = -1.0
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise BagError(f"{video}: has no video stream")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            if options.start > 1.0:
                container.seek(int((options.start - 1.0) * av.time_base))
            origin = float((stream.start_time or 0) * (stream.time_base or 0))
            for decoded in container.decode(stream):
                if decoded.time is None:
                    raise BagError(f"{video}: a frame has no presentation time")
                time = decoded.time - origin
                if options.stop is not None and time >= options.stop:
                    break
                # Half a millisecond of slack: container time bases round presentation times.
                if time < options.start or time < due - 5e-4:
                    continue
                due = time + spacing
                yield Frame(time, np.asarray(decoded.to_ndarray(format="bgr24"), np.uint8))
    except av.error.FFmpegError as error:
        raise BagError(f"{video}: cannot be decoded ({error}); is the file complete?") from error
