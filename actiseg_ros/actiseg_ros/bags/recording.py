"""Bags as people have them: whole, unfinished, in one file or several, with more in them than ours.

Messages are handed out as the bytes that were recorded, with a decoder that takes the definition in
the bag. A recorder that was killed leaves an MCAP file without its index, or a folder without
``metadata.yaml``; both are read as far as they go.
"""

from __future__ import annotations

import re
import struct
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import yaml
from mcap.records import Channel, Header, Message, Schema
from mcap.stream_reader import StreamReader
from rosbags.interfaces import MessageDefinitionFormat, QosDurability
from rosbags.rosbag2 import Reader, ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import (
    Stores,
    TypesysError,
    get_types_from_idl,
    get_types_from_msg,
    get_typestore,
)

from actiseg_ros.bags.account import Account, BagError
from actiseg_ros.bags.type_store import PACKAGE, typestore

_ROS1_MAGIC = b"#ROSBAG V"
_STORAGES = (".mcap", ".db3")
_IDL_SEPARATOR = "=" * 80 + "\n"


@dataclass(frozen=True)
class Topic:
    """One topic of a bag.

    Attributes:
        name: For example ``/camera/image_raw``.
        type: For example ``sensor_msgs/msg/Image``.
        count: Number of its messages.
        latched: Whether a publisher offered its last messages to late subscribers.
        encoding: How its messages are serialised; ``cdr`` is ROS 2's way.
        definition: Text of the message definition; empty if the bag has none.
        idl: Whether the definition is IDL rather than ``.msg`` text.
    """

    name: str
    type: str
    count: int
    latched: bool = False
    encoding: str = "cdr"
    definition: str = ""
    idl: bool = False


@dataclass(frozen=True)
class Recorded:
    """One message: its topic, when it was recorded (nanoseconds), and its CDR bytes."""

    topic: Topic
    time_ns: int
    raw: bytes


class _File(Protocol):
    """One readable part of a bag."""

    topics: list[Topic]
    start_ns: int
    end_ns: int

    def messages(self, names: Collection[str], start_ns: int | None) -> Iterator[Recorded]:
        """Messages of these topics in the order of time."""


class Recording:
    """An open bag.

    Attributes:
        path: Its folder or file.
        topics: What it holds, by name. What was recorded with two types, or is not encoded as
            ROS 2 does, is left out.
        start_ns: When its first message was recorded, nanoseconds.
        end_ns: When its last one was.
        notes: What a user should know about its state, one line each.
        losses: What was recorded and is not there, one line each.
    """

    def __init__(self, path: Path, files: list[_File], account: Account, stack: ExitStack) -> None:
        self.path, self.notes, self.losses = path, account.notes, account.losses
        self._files, self._stack = files, stack
        self._types: dict[str, Any] = {}
        self.topics: dict[str, Topic] = {}
        left_out: dict[str, str] = {}
        for topic in (topic for file in files for topic in file.topics):
            known = self.topics.get(topic.name)
            if known is not None and known.type != topic.type:
                left_out[topic.name] = "was recorded with more than one type"
            if topic.encoding != "cdr":
                left_out[topic.name] = f"is encoded as {topic.encoding}, not as cdr"
            total = topic.count + (known.count if known else 0)
            latched = topic.latched or (known is not None and known.latched)
            self.topics[topic.name] = replace(topic, count=total, latched=latched)
        for name, reason in sorted(left_out.items()):
            del self.topics[name]
            account.note(f"{name} {reason}, and is left out")
        self.start_ns = min((file.start_ns for file in files), default=0)
        self.end_ns = max((file.end_ns for file in files), default=0)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes its files."""
        self._stack.close()

    @property
    def count(self) -> int:
        """Number of messages."""
        return sum(topic.count for topic in self.topics.values())

    def messages(
        self, names: Collection[str] = (), start_ns: int | None = None
    ) -> Iterator[Recorded]:
        """Reads messages in the order in which they were recorded.

        Args:
            names: Topics wanted; all without any.
            start_ns: Time of the first message wanted, nanoseconds.

        Raises:
            BagError: The bag is damaged at some place.
        """
        wanted = set(names or self.topics) & set(self.topics)
        read = 0
        try:
            for file in self._files:
                for message in file.messages(wanted, start_ns):
                    read += 1
                    yield message
        except Exception as error:  # whatever the libraries raise on damaged bytes
            raise BagError(
                f"{self.path}: breaks off after {read} messages ({_told(error)}); "
                "try `ros2 bag reindex` or `mcap recover`"
            ) from error

    def decode(self, message: Recorded) -> Any:
        """Decodes a message by the definition in the bag, else by ROS 2's own.

        Raises:
            BagError: Its type is not known, or its bytes do not fit.
        """
        topic = message.topic
        try:
            store = self._types.get(topic.type) or self._types.setdefault(
                topic.type, _store_of(topic)
            )
            return store.deserialize_cdr(message.raw, topic.type)
        except (SerdeError, TypesysError, KeyError, ValueError, struct.error, IndexError) as error:
            raise BagError(
                f"{self.path}: a message of {topic.name} ({topic.type}) cannot be decoded "
                f"({_told(error)})"
            ) from error


def open_recording(path: Path) -> Recording:
    """Opens a bag: a folder, or one of its files.

    Raises:
        BagError: It is not there, is of ROS 1, or holds nothing that can be read.
    """
    if not path.exists():
        raise BagError(f"{path}: there is no such bag folder or file")
    _refuse_ros1(path)
    stack = ExitStack()
    account = Account(refuse=False)
    try:
        try:
            files: list[_File] = [_Indexed(path, stack)]
        except Exception as error:
            files = _open_parts(path, stack, account, _told(error))
        recording = Recording(path, files, account, stack)
        if not recording.count:
            raise BagError(f"{path}: holds no message")
    except BaseException:
        stack.close()
        raise
    return recording


def _refuse_ros1(path: Path) -> None:
    candidates = sorted(path.glob("*.bag")) if path.is_dir() else [path]
    for file in candidates:
        with file.open("rb") as stream:
            if stream.read(len(_ROS1_MAGIC)) == _ROS1_MAGIC:
                named = "" if file.suffix == ".bag" else "name it .bag, "
                source = file.with_suffix(".bag")
                raise BagError(
                    f"{file}: is a bag of ROS 1; {named}convert it with `rosbags-convert --src "
                    f"{source} --dst {file.with_suffix('')} --dst-storage mcap` and use that folder"
                )


def _open_parts(path: Path, stack: ExitStack, account: Account, reason: str) -> list[_File]:
    """Opens each file of a bag by itself, as it cannot be opened as a whole for a reason."""
    parts = _storage_files(path)
    if not parts:
        raise BagError(
            f"{path}: cannot be read as a bag ({reason}), and there is no file of type "
            f"{' or '.join(_STORAGES)} to read itself"
        )
    if path.is_dir():
        account.note(f"{path}: its files are read themselves, for the folder as a whole: {reason}")
    files: list[_File] = []
    problems = []
    for part in parts:
        try:
            files.append(_open_part(part, stack, account))
        except BagError as error:
            problems.append(str(error))
    if not files:
        raise BagError("; ".join(problems))
    for problem in problems:
        account.lose(problem)
    promised = _promised(path)
    held_now = sum(topic.count for file in files for topic in file.topics)
    if promised is not None and promised > held_now:
        account.lose(f"{path}: its metadata.yaml promises {promised} messages, it holds {held_now}")
    return files


def _open_part(part: Path, stack: ExitStack, account: Account) -> _File:
    pending = [part.with_name(part.name + suffix) for suffix in ("-wal", "-journal")]
    pending = [file for file in pending if file.is_file() and file.stat().st_size]
    merge = f"merge it with `sqlite3 {part} 'PRAGMA wal_checkpoint(TRUNCATE)'`"
    if pending:
        account.lose(f"{pending[0]}: has messages that are not in {part.name} yet; {merge}")
    try:
        return _Indexed(part, stack)
    except Exception as error:
        if part.suffix != ".mcap":
            remedy = merge if pending else f"try `sqlite3 {part} .recover`"
            raise BagError(f"{part}: cannot be read as a bag ({_told(error)}); {remedy}") from error
    return _Stream(part, account)


def _storage_files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in _STORAGES else []
    files = [file for file in path.iterdir() if file.suffix in _STORAGES and file.is_file()]

    def natural(file: Path) -> list[int | str]:
        # rosbag2 numbers the files of a split bag without leading zeros.
        return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", file.name)]

    return sorted(files, key=natural)


def _promised(path: Path) -> int | None:
    """Number of messages by a folder's metadata.yaml, None if that is not to be had."""
    try:
        record = yaml.safe_load((path / "metadata.yaml").read_text(encoding="utf-8"))
        return int(record["rosbag2_bagfile_information"]["message_count"])
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return None


class _Indexed:
    """A bag or a file of one that rosbags reads by its index."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        reader = Reader(path)
        reader.open()
        stack.callback(reader.close)
        parts = getattr(reader.storage, "storages", None) or [reader.storage]
        if any(getattr(part, "chunks", True) == [] for part in parts):
            # Without chunks, messages stand in the order in which they came in.
            raise ReaderError(f"{path}: has no index")
        self._reader = reader
        self.topics = [
            Topic(
                connection.topic,
                connection.msgtype,
                connection.msgcount,
                any(
                    profile.durability == QosDurability.TRANSIENT_LOCAL
                    for profile in getattr(connection.ext, "offered_qos_profiles", ())
                ),
                getattr(connection.ext, "serialization_format", "cdr"),
                connection.msgdef.data,
                connection.msgdef.format == MessageDefinitionFormat.IDL,
            )
            for connection in reader.connections
        ]
        self.start_ns, self.end_ns = reader.start_time, reader.end_time - 1

    def messages(self, names: Collection[str], start_ns: int | None) -> Iterator[Recorded]:
        topics = {topic.name: topic for topic in self.topics}
        chosen = [one for one in self._reader.connections if one.topic in names]
        if chosen:
            for connection, time_ns, raw in self._reader.messages(chosen, start=start_ns):
                yield Recorded(topics[connection.topic], time_ns, bytes(raw))


class _Stream:
    """An MCAP file without an index, read from its beginning as far as it goes."""

    def __init__(self, path: Path, account: Account) -> None:
        self._path = path
        counts: Counter[int] = Counter()
        times: list[int] = []
        channels: dict[int, Topic] = {}
        for channel, topic, message in self._read():
            channels[channel] = topic
            if message is not None:
                counts[channel] += 1
                times = [min([message.log_time, *times]), max([message.log_time, *times])]
        self.topics = [replace(topic, count=counts[key]) for key, topic in channels.items()]
        self.start_ns, self.end_ns = (times[0], times[-1]) if times else (0, 0)
        total = sum(counts.values())
        if not channels:
            raise BagError(f"{path}: cannot be read as a bag ({self._end or 'no topics'})")
        if self._end:
            account.lose(
                f"{path}: is unfinished ({self._end}), as a recorder leaves it that was stopped "
                f"hard; {total} messages up to there are read"
            )

    def messages(self, names: Collection[str], start_ns: int | None) -> Iterator[Recorded]:
        for _, topic, message in self._read():
            if message is None or topic.name not in names:
                continue
            if start_ns is None or message.log_time >= start_ns:
                yield Recorded(topic, message.log_time, message.data)

    def _read(self) -> Iterator[tuple[int, Topic, Message | None]]:
        """Each channel once, without a message, and each message."""
        self._end = ""
        schemas: dict[int, Schema] = {}
        channels: dict[int, Topic] = {}
        with self._path.open("rb") as stream:
            try:
                for record in StreamReader(stream, validate_crcs=True).records:
                    if isinstance(record, Header) and record.profile not in ("ros2", ""):
                        raise BagError(f"{self._path}: is of {record.profile!r}, not of ROS 2")
                    if isinstance(record, Schema):
                        schemas[record.id] = record
                    elif isinstance(record, Channel) and record.id not in channels:
                        topic = channels[record.id] = _topic(record, schemas.get(record.schema_id))
                        yield record.id, topic, None
                    elif isinstance(record, Message) and record.channel_id in channels:
                        yield record.channel_id, channels[record.channel_id], record
            except BagError:
                raise
            except Exception as error:
                # Where the recorder stopped writing; what comes before is whole.
                self._end = _told(error)


def _topic(channel: Channel, schema: Schema | None) -> Topic:
    definition = schema.data.decode(errors="replace") if schema else ""
    latched = re.search(
        r"durability:\s*['\"]?(?:1\b|transient_local)",
        channel.metadata.get("offered_qos_profiles", ""),
    )
    return Topic(
        channel.topic,
        schema.name if schema else "",
        0,
        latched is not None,
        channel.message_encoding,
        definition,
        bool(schema and "idl" in schema.encoding),
    )


def _store_of(topic: Topic) -> Any:
    """Type store that decodes a topic's messages."""
    if topic.definition:
        store = get_typestore(Stores.EMPTY)
        try:
            store.register(dict(_types_of(topic)))
            return store
        except (TypesysError, ValueError, AssertionError):
            pass  # a definition that rosbags does not understand
    return typestore()


def _types_of(topic: Topic) -> Mapping[str, Any]:
    if not topic.idl:
        return get_types_from_msg(topic.definition, topic.type)
    if not topic.definition.startswith(f"{_IDL_SEPARATOR}IDL: "):
        return get_types_from_idl(topic.definition)
    found: dict[str, Any] = {}
    for part in topic.definition.split(_IDL_SEPARATOR)[1:]:
        found.update(get_types_from_idl(part.partition("\n")[2]))
    return found


def is_outdated(topic: Topic) -> bool:
    """Whether one of the project's own messages was recorded with another definition than today's.

    Its bytes would be taken for other fields.
    """
    if not topic.type.startswith(f"{PACKAGE}/") or not topic.definition:
        return False
    try:
        recorded = _store_of(topic).hash_rihs01(topic.type)
        return bool(recorded != typestore().hash_rihs01(topic.type))
    except (KeyError, TypesysError):
        return True


def _told(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__
