"""Pictures, narrations and decisions of a bag."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.cameras import DECISION, RAW, camera_topic, listed
from actiseg_ros.bags.orientation import UPRIGHT, of_picture
from actiseg_ros.bags.playback import stamp_of
from actiseg_ros.bags.recording import Recorded, Recording, Topic, open_recording
from actiseg_ros.errors import ImageError
from actiseg_ros.vision.compressed import decode_compressed
from actiseg_ros.vision.images import decode_raw
from training.data.recordings.choice import Doubt, choose
from training.data.recordings.narrations import Narration, Said, heard
from training.data.recordings.source import Choice, Frames, Picture, Progress, shown

_ACTION, _TEXT = "actiseg_msgs/msg/ActionNarration", "std_msgs/msg/String"
_SAME_CLOCK = 3600.0
"""Seconds that an action may have begun before it was last said."""
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True)
class BagTopics:
    """Topics of a bag that are used; empty names are found.

    Attributes:
        images: Camera images, raw or compressed.
        narration: `std_msgs/String`, what is being done.
        action: `actiseg_msgs/ActionNarration`.
        decisions: `actiseg_msgs/GraspDecision`.
    """

    images: str = ""
    narration: str = ""
    action: str = ""
    decisions: str = ""


class BagSource:
    """A bag as `ros2 bag record` leaves it; see `Source`. A context manager.

    Args:
        bag: Its folder or file.
        topics: Topics to use.
        video_id: Name of the recording; the bag's own without one.
        choice: Which frames are taken.
        hold: Seconds that a narration without a duration holds.
        account: Told of choices and damage.

    Raises:
        BagError: It cannot be read, or it is not clear which topics are meant.
    """

    def __init__(
        self,
        bag: Path,
        topics: BagTopics,
        video_id: str,
        choice: Choice,
        hold: float,
        account: Account,
    ) -> None:
        self.account, self.frames = account, Frames()
        self._choice, self._hold = choice, hold
        self._bag = open_recording(bag)
        try:
            for note in self._bag.notes:
                account.note(note)
            for loss in self._bag.losses:
                account.lose(loss)
            self.video_id = video_id or _name_of(bag)
            self._images = camera_topic(self._bag, topics.images, "--topic")
            self._narration = _one_of(self._bag, _TEXT, topics.narration, "--narration-topic",
                                      re.compile(r"(^|/)narration$"))  # fmt: skip
            self._action = _one_of(self._bag, _ACTION, topics.action, "--action-topic")
            self._decisions = _one_of(self._bag, DECISION, topics.decisions, "--decisions")
            if choice.favour == "uncertain" and self._decisions is None:
                raise BagError(
                    f"{bag}: holds no decisions ({DECISION}) that would say where the node was "
                    f"unsure; record /segment/grasp too, or leave out --favour. It holds "
                    f"{listed(self._bag.topics.values())}"
                )
        except BaseException:
            self._bag.close()
            raise
        files = sorted(bag.iterdir()) if bag.is_dir() else [bag]
        used = (self._narration, self._action, self._decisions)
        self.identity: dict[str, Any] = {
            "kind": "bag",
            "bag": str(bag.resolve()),
            "files": {file.name: file.stat().st_size for file in files if file.is_file()},
            "topic": self._images.name,
            "type": self._images.type,
            "narration_topics": [topic.name for topic in used[:2] if topic],
            "decisions": self._decisions.name if self._decisions else None,
            "start_ns": self._bag.start_ns,
        }
        self._said: list[Said] = []
        self._end = 0.0

    def __enter__(self) -> BagSource:
        return self

    def __exit__(self, *error: object) -> None:
        self._bag.close()

    def pictures(self, progress: Progress) -> Iterator[Picture]:
        """Reads the bag twice: to choose, without decoding a picture, and to take."""
        stamps, recorded, doubts = self._survey(progress)
        first, last = self._span(recorded)
        degrees = [
            doubts[stamp].degree if stamp in doubts else math.nan for stamp in stamps[first:last]
        ]
        favoured = degrees if self._choice.favour == "uncertain" else None
        if favoured is not None:
            judged = sum(not math.isnan(degree) for degree in degrees)
            if not judged:
                raise BagError(
                    f"{self._bag.path}: no decision of {self.identity['decisions']} belongs to an "
                    f"image of {self._images.name} (their stamps differ)"
                )
            self.account.note(f"the node judged {judged} of {len(degrees)} images")
        every_ns = max(1, round(self._choice.every * 1e9))
        chosen = {first + place for place in choose(recorded[first:last], every_ns, favoured)}
        for index, message in enumerate(self._messages([self._images])):
            if index >= last:
                break
            if index in chosen:
                yield self._picture(index, message, doubts.get(stamps[index]))

    def _span(self, recorded: list[int]) -> tuple[int, int]:
        """Places of the first frame wanted and behind the last one."""
        choice = self._choice
        times = [(time_ns - self._bag.start_ns) / 1e9 for time_ns in recorded]
        inside = [
            place
            for place, time in enumerate(times)
            if time >= choice.start and (choice.stop is None or time < choice.stop)
        ]
        if not inside:
            raise BagError(
                f"{self._bag.path}: no image of {self._images.name} from second {choice.start} to "
                f"{choice.stop or 'the end'}"
            )
        return inside[0], inside[-1] + 1

    def _survey(self, progress: Progress) -> tuple[list[int], list[int], dict[int, Doubt]]:
        """Stamps and times of all images, and the decision about each stamp."""
        stamps: list[int] = []
        recorded: list[int] = []
        doubts: dict[int, Doubt] = {}
        length = (self._bag.end_ns - self._bag.start_ns) / 1e9
        used = [self._images, self._narration, self._action, self._decisions]
        for message in self._messages([topic for topic in used if topic is not None]):
            time = self._seconds(message.time_ns)
            self._end = max(self._end, time)
            progress(time, length)
            if message.topic.name == self._images.name:
                stamps.append(_stamp(message))
                # Unindexed bags may hold messages slightly out of order.
                recorded.append(max([message.time_ns, *recorded[-1:]]))
                self.frames.numbers.append(len(stamps))
                self.frames.times.append(self._seconds(recorded[-1]))
                continue
            try:
                said = self._bag.decode(message)
            except BagError as error:
                self.account.damage(f"at {time:.2f} s: {error}")
                continue
            if message.topic.type == DECISION:
                self._judge(said, doubts)
            else:
                self._hear(message.topic, said, time)
        return stamps, recorded, doubts

    def _seconds(self, time_ns: int) -> float:
        return (time_ns - self._bag.start_ns) / 1e9

    def _messages(self, topics: list[Topic]) -> Iterator[Recorded]:
        try:
            yield from self._bag.messages([topic.name for topic in topics])
        except BagError as error:
            self.account.damage(str(error))

    def _judge(self, decision: Any, doubts: dict[int, Doubt]) -> None:
        stamp = decision.header.stamp.sec * 10**9 + decision.header.stamp.nanosec
        doubt = Doubt(
            bool(decision.go),
            decision.target,
            tuple(decision.reasons),
            *(
                float(getattr(decision, name))
                for name in ("p_uncertainty", "n_uncertainty", "p_limit", "n_limit")
            ),
        )
        known = doubts.get(stamp)
        # The heartbeat repeats decisions; what it says later may be that the image is old.
        if stamp and (known is None or (math.isnan(known.degree) and not math.isnan(doubt.degree))):
            doubts[stamp] = doubt

    def _hear(self, topic: Topic, said: Any, time: float) -> None:
        if topic.type == _TEXT:
            self._said.append(Said(time, said.data.strip()))
            return
        stamp = self._seconds(said.header.stamp.sec * 10**9 + said.header.stamp.nanosec)
        # A stamp of another clock says nothing about the bag's time.
        start = stamp if -1.0 <= time - stamp <= _SAME_CLOCK else None
        self._said.append(
            Said(
                time,
                said.narration.strip(),
                start,
                said.duration.sec + said.duration.nanosec / 1e9 or None,
                said.target_name.strip(),
                tuple(said.object_names),
            )
        )

    def _picture(self, index: int, message: Recorded, doubt: Doubt | None) -> Picture:
        origin: dict[str, Any] = {
            "message_index": index,
            "stamp_ns": _stamp(message),
            "recorded_ns": message.time_ns,
        }
        if doubt is not None:
            origin["decision"] = doubt.record()
        time = self._seconds(message.time_ns)
        try:
            image = self._bag.decode(message)
        except BagError as error:
            told = str(error)

            def refuse() -> npt.NDArray[np.uint8]:
                raise ImageError(told)

            return Picture(index + 1, time, origin, None, refuse)
        if self._images.type == RAW:

            def decode_plain() -> npt.NDArray[np.uint8]:
                return decode_raw(
                    image.encoding, image.height, image.width, image.step, image.is_bigendian,
                    image.data.data,
                )  # fmt: skip

            return Picture(index + 1, time, origin, None, decode_plain)
        data = image.data.tobytes()
        orientation = of_picture(data)
        if orientation != UPRIGHT:
            self.account.note(f"pictures are {orientation}, as their EXIF data say")

        def decode() -> npt.NDArray[np.uint8]:
            return orientation.upright(decode_compressed(data))

        upright_jpeg = data.startswith(_JPEG) and orientation == UPRIGHT
        return Picture(index + 1, time, origin, data if upright_jpeg else None, decode)

    def narrations(self) -> list[Narration]:
        """What was heard in the seconds that were chosen."""
        end = self._end if self._choice.stop is None else min(self._end, self._choice.stop)
        actions = heard(self._said, self._hold, end)
        if not actions:
            texts = [topic for topic in self._bag.topics.values() if topic.type == _TEXT]
            choice = f", or choose one with --narration-topic: {listed(texts)}" if texts else ""
            self.account.note(f"no narration was heard; record `narration` or `action` too{choice}")
        chosen = [action for action in actions if action.stop > self._choice.start]
        return shown(chosen, self.frames, self.account)


def _stamp(message: Recorded) -> int:
    """Stamp of an image, nanoseconds; 0, which is none, if it is cut short before that."""
    try:
        return stamp_of(message.raw)
    except BagError:
        return 0


def _name_of(bag: Path) -> str:
    name = bag.resolve().stem if bag.is_file() else bag.resolve().name
    return re.sub(r"[^A-Za-z0-9-]+", "_", name).strip("_") or "recording"


def _one_of(
    bag: Recording, kind: str, wanted: str, option: str, usual: re.Pattern[str] | None = None
) -> Topic | None:
    """The topic of a type: the one that was asked for, or the only one there is, if any.

    Args:
        bag: The bag.
        kind: Message type.
        wanted: Name that was asked for; empty without one.
        option: The option that chooses.
        usual: What its name looks like, for a type that is used for other things too.
    """
    found = {name: topic for name, topic in bag.topics.items() if topic.type == kind}
    if wanted:
        name = "/" + wanted.lstrip("/")
        if name not in found:
            raise BagError(f"{bag.path}: has no {kind} on {name}; it has {listed(found.values())}")
        return found[name]
    if usual is not None:
        found = {name: topic for name, topic in found.items() if usual.search(name)}
    if len(found) > 1:
        raise BagError(
            f"{bag.path}: has more than one topic of {kind}; choose one with {option}: "
            f"{listed(found.values())}"
        )
    return next(iter(found.values()), None)
