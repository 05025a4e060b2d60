"""Frames of a video file: upright, in one running time, and nothing missing without a word."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import av
import numpy as np
import numpy.typing as npt

from actiseg_ros.bags import orientation
from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.orientation import UPRIGHT, Orientation

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream
    from typing_extensions import Buffer

ROUNDING = 1e-6
"""Seconds by which a computed time may miss the one that is meant."""
_NO_TIMESTAMPS, _TS_DISCONT = 0x0080, 0x0200
"""FFmpeg's flags of a format: frames have no times; the time may start anew."""
_JUMP = 10.0
"""Seconds ahead that mean another clock, in formats whose clock may start anew (FFmpeg's own)."""
_JITTER = 0.5
"""Seconds back that are careless stamps; more means that the time starts anew."""
_GAP = 1.0
"""Seconds between two frames that are told."""
_MISSING = 0.25
"""Seconds that a container may promise and not hold; writers estimate durations."""
_DEFAULT_PERIOD = 1 / 30
_RUN_UP = 1.0
"""Seconds before the wanted start at which reading begins."""


@dataclass(frozen=True)
class VideoFrameRead:
    """One frame.

    Attributes:
        number: Its place among the frames that were read, from 1.
        time: Seconds from the video's beginning.
        bgr: Pixels [H, W, 3], upright.
    """

    number: int
    time: float
    bgr: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Survey:
    """What a video holds, found by reading it through without decoding.

    Attributes:
        packets: Coded frames.
        promised: Coded frames of its index; 0 if it has none.
        beyond: Coded frames of the index that lie behind the file's end.
        end: Second at which the last packet of any stream ends, from the first one's begin.
        stamped_end: The same by the stamps themselves, which need not begin at 0.
        duration: Seconds by the container's word; None if it says none.
        restarts: Whether the time starts anew somewhere.
        rate: Frames a second by the stream's header, None if it says none.
        raw: Whether the format has no time stamps.
    """

    packets: int
    promised: int
    beyond: int
    end: float
    stamped_end: float
    duration: float | None
    restarts: bool
    rate: float | None
    raw: bool


def survey(video: Path) -> Survey:
    """Reads a video through without decoding it.

    Raises:
        BagError: It cannot be opened or has no video stream.
    """
    try:
        with av.open(str(video)) as container:
            return _survey(container, _stream(container, video), video)
    except av.error.FFmpegError as error:
        raise _unreadable(video, error) from error


def _survey(container: InputContainer, stream: VideoStream, video: Path) -> Survey:
    raw = bool(container.format.flags & _NO_TIMESTAMPS)
    rate = stream.codec_context.framerate if raw else stream.average_rate
    size = video.stat().st_size
    beyond = sum(entry.pos + entry.size > size for entry in stream.index_entries)
    jumping = _may_jump(container)
    begin = (container.start_time or 0) / av.time_base
    packets, end, last, restarts = 0, 0.0, 0.0, False
    for packet in container.demux():
        stamp = packet.pts if packet.pts is not None else packet.dts
        if packet.size and packet.stream_index == stream.index:
            packets += 1
        if stamp is None or packet.time_base is None:
            continue
        end = max(end, float((stamp + (packet.duration or 0)) * packet.time_base))
        if packet.stream_index == stream.index and packet.dts is not None:
            decoded = float(packet.dts * packet.time_base)
            restarts |= packets > 1 and (
                decoded < last - _JITTER or (jumping and decoded > last + _JUMP)
            )
            last = decoded
    # The end of a stream whose clock jumps is guessed from its last stamps: no promise.
    duration = container.duration
    promised_end = None if duration is None or jumping or raw else duration / av.time_base
    if container.format.name == "avi" and stream.frames and rate:
        # FFmpeg shortens its duration to the file; the header's count is the promise.
        promised_end = float(stream.frames / rate)
    return Survey(
        packets,
        stream.frames,
        beyond,
        end - begin,
        end,
        promised_end,
        restarts,
        float(rate) if rate else None,
        raw,
    )


def check_complete(video: Path, found: Survey, stop: float | None, account: Account) -> None:
    """Tells if a video is shorter than its container says.

    Args:
        video: The file, for the message.
        found: What it holds.
        stop: Second that is read up to, None for all; what lies behind does not matter.
        account: Told of the damage.

    Raises:
        BagError: It is shorter, and damage is refused.
    """
    if found.restarts or (stop is not None and stop <= found.end):
        return
    # Some containers count their duration from time 0, some from their begin.
    held = max(found.end, found.stamped_end)
    missing = (found.duration or 0.0) - held
    if found.beyond:
        account.damage(
            f"{video}: is cut short: its index promises {found.promised or found.beyond} frames, "
            f"of which {found.packets} up to second {found.end:.2f} are there"
        )
    elif missing > max(_MISSING, 1.5 / (found.rate or 30.0)):
        account.damage(
            f"{video}: is cut short: it promises {found.duration:.2f} s and holds {held:.2f} s"
        )


def read_video(
    video: Path,
    found: Survey,
    account: Account,
    *,
    start: float = 0.0,
    stop: float | None = None,
    rate: float | None = None,
    seek: bool = True,
) -> Iterator[VideoFrameRead]:
    """Decodes the frames of a video in order of time.

    Args:
        video: Video file.
        found: Its survey.
        account: Told of turned pictures, gaps, jumps of time and frames that cannot be decoded.
        start: First second wanted.
        stop: Seconds to stop before.
        rate: Frames a second of a stream without time stamps.
        seek: Whether frames far before `start` may be skipped unread; they are not counted then.

    Raises:
        BagError: It cannot be read, has no time stamps and `rate` is not given, or is damaged
            and damage is refused.
    """
    if found.raw and rate is None:
        told = f"; its header says {found.rate:g}" if found.rate else ""
        raise BagError(
            f"{video}: is a raw stream without time stamps; give its frame rate with --fps{told}"
        )
    try:
        with av.open(str(video)) as container:
            stream = _stream(container, video)
            stream.thread_type = "AUTO"
            decoder = _Decoder(container, stream, video, found, account, rate)
            if seek and start > _RUN_UP and not found.restarts and not found.raw:
                decoder.seek(start - _RUN_UP)
            yield from decoder.frames(start, stop)
    except av.error.FFmpegError as error:
        raise _unreadable(video, error) from error


class _Decoder:
    """Decodes one stream and keeps its time running."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        video: Path,
        found: Survey,
        account: Account,
        rate: float | None,
    ) -> None:
        self._container, self._stream, self._video = container, stream, video
        self._account, self._raw_rate = account, rate if found.raw else None
        self._base = float(stream.time_base or 0)
        # As in a player: second 0 is where the first of picture and sound begins. (The container's
        # time is rounded to microseconds.)
        first = (container.start_time or 0) / av.time_base
        own = float((stream.start_time or 0) * self._base)
        self._origin = own if abs(own - first) < 1e-5 else first
        self._period = 1 / found.rate if found.rate else _DEFAULT_PERIOD
        self._jumping = _may_jump(container)
        # AVI stores no presentation times; frames come out in the order of display, one for each
        # time slot.
        self._slotted = container.format.name == "avi"
        self._slots: deque[int] = deque()
        self._shift, self._last, self._number = 0.0, -1.0, 0
        self._damaged, self._damaged_from = 0, 0.0
        self._orientation: Orientation | None = None

    def seek(self, time: float) -> None:
        """Goes to the key frame before a second of the video."""
        self._container.seek(
            round((time + self._origin) / self._base), stream=self._stream, backward=True
        )

    def frames(self, start: float, stop: float | None) -> Iterator[VideoFrameRead]:
        """Decodes from `start` to before `stop`."""
        for frame in self._decoded(start):
            time = self._time(frame)
            self._number += 1
            if stop is not None and time >= stop - ROUNDING:
                break
            if time < start - ROUNDING:
                continue
            if frame.is_corrupt:
                self._damage(start)
                continue
            yield VideoFrameRead(self._number, time, self._upright(frame))
        if self._damaged:
            self._account.lose(
                f"{self._video}: about {self._damaged} frames from second {self._damaged_from:.2f} "
                "on are damaged and left out"
            )

    def _decoded(self, start: float) -> Iterator[VideoFrame]:
        for packet in self._container.demux(self._stream):
            if self._slotted and packet.size and packet.dts is not None:
                self._slots.append(packet.dts)
            try:
                yield from packet.decode()
            except av.error.InvalidDataError:
                if self._slots:
                    self._slots.popleft()
                self._damage(start)

    def _damage(self, start: float) -> None:
        """Counts a damaged frame; before the start it does not matter."""
        if self._last < start - _RUN_UP:
            return
        if not self._damaged:
            self._damaged_from = max(self._last, 0.0)
            self._account.refuse(
                f"{self._video}: a frame at about second {self._damaged_from:.2f} is damaged"
            )
        self._damaged += 1

    def _time(self, frame: VideoFrame) -> float:
        """Seconds of a frame from the beginning of the video, always growing."""
        if self._raw_rate is not None:
            return self._number / self._raw_rate
        stamp = self._slots.popleft() if self._slots else frame.pts
        if stamp is None:
            raise BagError(f"{self._video}: a frame has no presentation time")
        time = stamp * self._base - self._origin + self._shift
        last = self._last
        if self._number:
            step = time - last
            if step < -_JITTER or (self._jumping and step > _JUMP):
                self._account.lose(
                    f"{self._video}: the time jumps from second {last:.2f} to {time:.2f}, as in "
                    "recordings that were joined; it was taken to go on without a break"
                )
                self._shift += last + self._period - time
                time = last + self._period
            elif step <= 0:
                time = last + self._period / 100
            elif step > _GAP + self._period:
                self._account.note(f"no frame between the seconds {last:.2f} and {time:.2f}")
        self._last = time
        return time

    def _upright(self, frame: VideoFrame) -> npt.NDArray[np.uint8]:
        # The matrix belongs to the stream; it is looked at once.
        if self._orientation is None:
            try:
                self._orientation = _orientation(frame, self._stream)
            except BagError as error:
                raise BagError(f"{self._video}: {error}") from error
            if self._orientation != UPRIGHT:
                self._account.note(f"pictures are {self._orientation}, as the video says")
        bgr = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        return self._orientation.upright(bgr)


def _orientation(frame: VideoFrame, stream: VideoStream) -> Orientation:
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is not None:
        return orientation.of_display_matrix(bytes(cast("Buffer", matrix)))
    tag = {name.lower(): value for name, value in stream.metadata.items()}.get("rotate")
    return orientation.of_rotate_tag(tag) if tag else UPRIGHT


def _stream(container: InputContainer, video: Path) -> VideoStream:
    stream = container.streams.best("video")
    if stream is None:
        raise BagError(f"{video}: has no video stream")
    return stream  # type: ignore[return-value]


def _may_jump(container: InputContainer) -> bool:
    return bool(container.format.flags & _TS_DISCONT)


def _unreadable(video: Path, error: Exception) -> BagError:
    return BagError(f"{video}: cannot be decoded ({error}); is the file complete?")
