"""Bags as people have them: unfinished, split, of other formats, with unknown types beside ours."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
from pathlib import Path

import pytest
from mcap.writer import CompressionType
from mcap.writer import Writer as McapWriter
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import get_types_from_msg

from actiseg_ros.bags.account import BagError
from actiseg_ros.bags.recording import is_outdated, open_recording
from actiseg_ros.bags.type_store import typestore
from tests.actiseg_ros.bags import bags
from tests.actiseg_ros.bags.bags import START, STEP

IMAGES, SAID = "/camera/image/compressed", "/narration"
STORAGES = pytest.mark.parametrize("storage", [StoragePlugin.MCAP, StoragePlugin.SQLITE3])


def contents(path: Path, *topics: str) -> list[tuple[int, str]]:
    """Step and text (or format) of each message."""
    with open_recording(path) as recording:
        found = []
        for message in recording.messages(topics):
            decoded = recording.decode(message)
            text = decoded.data if message.topic.name == SAID else decoded.format
            found.append(((message.time_ns - START) // STEP, text))
        return found


def whole(count: int = 10, begin: int = 0) -> list[tuple[int, str]]:
    return [(i, text) for i in range(begin, begin + count) for text in ("jpeg", f"cut {i}")]


@STORAGES
def test_a_finished_bag_is_read_as_folder_and_as_file(
    tmp_path: Path, storage: StoragePlugin
) -> None:
    path = bags.write(tmp_path / "bag", storage=storage)
    (file,) = (file for file in path.iterdir() if file.suffix in (".mcap", ".db3"))
    for place in (path, file):
        assert contents(place) == whole()
        with open_recording(place) as recording:
            assert recording.notes == []
            assert recording.topics[IMAGES].count == recording.topics[SAID].count == 10
            assert (recording.start_ns, recording.end_ns) == (START, START + 9 * STEP)
            chosen = list(recording.messages([SAID], START + 7 * STEP))
            assert [recording.decode(message).data for message in chosen] == [
                "cut 7", "cut 8", "cut 9"
            ]  # fmt: skip


@STORAGES
@pytest.mark.parametrize("metadata", [None, "", "rosbag2_bagfile_information: {version: 5"])
def test_a_bag_without_its_metadata_is_read(
    tmp_path: Path, storage: StoragePlugin, metadata: str | None
) -> None:
    path = bags.write(tmp_path / "bag", storage=storage)
    (path / "metadata.yaml").unlink()
    if metadata is not None:
        (path / "metadata.yaml").write_text(metadata)
    assert contents(path) == whole()
    with open_recording(path) as recording:
        assert "its files are read themselves" in recording.notes[0]


@STORAGES
def test_the_files_of_a_split_bag_follow_their_numbers(
    tmp_path: Path, storage: StoragePlugin
) -> None:
    folder = tmp_path / "split"
    folder.mkdir()
    for part in range(12):
        one = bags.write(tmp_path / f"p{part}", 2, storage, begin=2 * part)
        (file,) = (file for file in one.iterdir() if file.suffix in (".mcap", ".db3"))
        shutil.copy(file, folder / f"split_{part}{file.suffix}")
    assert contents(folder) == whole(24)


LATCHED = """- history: 1
  depth: 1
  reliability: 1
  durability: 1
  deadline: {sec: 9223372036, nsec: 854775807}
  lifespan: {sec: 9223372036, nsec: 854775807}
  liveliness: 1
  liveliness_lease_duration: {sec: 9223372036, nsec: 854775807}
  avoid_ros_namespace_conventions: false
"""


def unindexed(path: Path, count: int = 40, *, chunked: bool = True, finish: bool = False) -> Path:
    """An mcap file as rosbag2 writes it, up to the moment when the recorder is killed."""
    types = bags.store()
    with path.open("wb") as stream:
        writer = McapWriter(
            stream, chunk_size=400, compression=CompressionType.ZSTD, use_chunking=chunked
        )
        writer.start(profile="ros2")
        definition, _ = types.generate_msgdef("std_msgs/msg/String", ros_version=2)
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", definition.encode())
        profiles = {"offered_qos_profiles": LATCHED}
        channel = writer.register_channel(SAID, "cdr", schema, metadata=profiles)
        for index in range(count):
            text = types.types["std_msgs/msg/String"](f"cut {index}")
            # A recorder's queue may put messages slightly out of order.
            time_ns = START + (index ^ 1) * STEP
            writer.add_message(
                channel, time_ns, bytes(types.serialize_cdr(text, "std_msgs/msg/String")), time_ns
            )
        if finish:
            writer.finish()
        stream.flush()
    return path


@pytest.mark.parametrize("chunked", [True, False])
def test_an_mcap_file_without_an_index_is_read_as_far_as_it_goes(
    tmp_path: Path, chunked: bool
) -> None:
    path = unindexed(tmp_path / "killed_0.mcap", chunked=chunked)
    for place in (path, tmp_path):
        with open_recording(place) as recording:
            said = [recording.decode(message).data for message in recording.messages()]
            assert said == [f"cut {i}" for i in range(len(said))]
            assert 20 < len(said) <= 40 and recording.topics[SAID].count == len(said)
            assert recording.topics[SAID].latched
            assert any("is unfinished" in loss for loss in recording.losses)
    # Wherever it breaks off, what comes before is there.
    data, counts = path.read_bytes(), []
    for share in range(3, 10):
        path.write_bytes(data[: len(data) * share // 10])
        try:
            with open_recording(path) as recording:
                counts.append(len(list(recording.messages())))
        except BagError as error:
            assert "holds no message" in str(error) or "cannot be read" in str(error)
    assert counts == sorted(counts) and counts[-1] > 20


def test_a_finished_file_without_chunks_is_no_problem(tmp_path: Path) -> None:
    path = unindexed(tmp_path / "fast.mcap", chunked=False, finish=True)
    with open_recording(path) as recording:
        assert len(list(recording.messages())) == 40
        assert not any("unfinished" in loss for loss in recording.losses)


def test_a_download_of_a_bag_that_broke_off_is_told(tmp_path: Path) -> None:
    path = bags.write(tmp_path / "bag", 400)
    file = path / "bag.mcap"
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * 0.7)])
    try:
        with open_recording(path) as recording:
            assert any("promises 800 messages, it" in loss for loss in recording.losses)
    except BagError as error:
        assert "cannot be read" in str(error)


def test_a_database_that_breaks_off_is_told(tmp_path: Path) -> None:
    path = bags.write(tmp_path / "bag", 400, StoragePlugin.SQLITE3)
    file = path / "bag.db3"
    data = bytearray(file.read_bytes())
    half = len(data) // 2 // 4096 * 4096
    for broken in (data[:half], data[:half] + bytes(len(data) - half)):
        file.write_bytes(broken)
        with pytest.raises(BagError, match=r"cannot be read as a bag .*malformed.*\.recover"):
            open_recording(path)


def test_a_bag_that_is_damaged_in_its_middle_is_told(tmp_path: Path) -> None:
    path = unindexed(tmp_path / "hurt.mcap", finish=True)
    data = bytearray(path.read_bytes())
    place = data.index(b"zstd", 700) + 30
    data[place : place + 8] = bytes(8)
    with open_recording(path) as recording:
        assert (recording.topics[SAID].latched, recording.notes) == (True, [])
    path.write_bytes(data)
    with pytest.raises(BagError, match=r"breaks off after \d+ messages .*recover"), \
            open_recording(path) as recording:  # fmt: skip
        list(recording.messages())


def test_messages_that_still_lie_in_the_log_of_a_database_are_told(tmp_path: Path) -> None:
    path = bags.write(tmp_path / "bag", 4, StoragePlugin.SQLITE3)
    (path / "metadata.yaml").unlink()
    database = sqlite3.connect(path / "bag.db3")
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("INSERT INTO messages (topic_id, timestamp, data) VALUES (2, 1, x'00')")
    database.commit()
    copy = tmp_path / "copy"
    shutil.copytree(path, copy)
    database.close()
    assert (copy / "bag.db3-wal").stat().st_size
    with open_recording(copy) as recording:
        assert any("PRAGMA wal_checkpoint" in loss for loss in recording.losses)


@pytest.mark.parametrize("name", ["r.bag", "renamed.mcap"])
def test_a_bag_of_ros_1_is_refused_with_the_command(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    bags.write_ros1(tmp_path / "written.bag").rename(path)
    for place in (path, tmp_path) if name.endswith(".bag") else (path,):
        with pytest.raises(BagError, match=r"bag of ROS 1; .*convert it with `rosbags-c") as told:
            open_recording(place)
    if name == "renamed.mcap":
        path.rename(path.with_suffix(".bag"))
    command = str(told.value).split("`")[1].split()
    subprocess.run(command, check=True)
    assert contents(Path(command[command.index("--dst") + 1])) == whole()


def test_what_is_no_bag_is_told(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "empty.mcap").write_bytes(b"")
    (tmp_path / "text.mcap").write_text("no magic" * 20)
    (tmp_path / "text.db3").write_text("no magic" * 20)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "picture.jpg").write_bytes(b"")
    for path, told in (
        (tmp_path / "none", "there is no such bag"),
        (folder, "no file of type .mcap or .db3 to read"),
        (tmp_path / "notes.txt", "cannot be read as a bag"),
        (tmp_path / "empty.mcap", "cannot be read as a bag"),
        (tmp_path / "text.mcap", "cannot be read as a bag"),
        (tmp_path / "text.db3", "cannot be read as a bag"),
        (bags.write(tmp_path / "bare", 0), "holds no message"),
    ):
        with pytest.raises(BagError, match=told):
            open_recording(path)


@STORAGES
@pytest.mark.parametrize("mode", [CompressionMode.FILE, CompressionMode.MESSAGE])
def test_compressed_bags_are_read(
    tmp_path: Path, storage: StoragePlugin, mode: CompressionMode
) -> None:
    path = tmp_path / "bag"
    types = bags.store()
    writer = Writer(path, version=9, storage_plugin=storage)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        connection = writer.add_connection(SAID, "std_msgs/msg/String", typestore=types)
        text = types.types["std_msgs/msg/String"]("cut 0")
        writer.write(connection, START, types.serialize_cdr(text, connection.msgtype))
    assert contents(path) == [(0, "cut 0")]


def test_definitions_that_nobody_understands_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "bag"
    types = bags.store()
    with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        said = writer.add_connection(SAID, "std_msgs/msg/String", typestore=types)
        odd = writer.add_connection(
            "/odd", "odd_msgs/msg/Odd", msgdef="what? is ( this", rihs01="x"
        )
        text = types.types["std_msgs/msg/String"]("cut 0")
        writer.write(said, START, types.serialize_cdr(text, said.msgtype))
        writer.write(odd, START + 1, b"\0\1\0\0")
    assert contents(path, SAID) == [(0, "cut 0")]
    with open_recording(path) as recording:
        (message,) = recording.messages(["/odd"])
        with pytest.raises(BagError, match=r"/odd \(odd_msgs/msg/Odd\) cannot be decoded"):
            recording.decode(message)


def test_a_topic_with_two_types_and_other_encodings_are_left_out(tmp_path: Path) -> None:
    types = bags.store()
    with Writer(tmp_path / "two", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        for kind in ("std_msgs/msg/String", "std_msgs/msg/Bool"):
            connection = writer.add_connection("/mixed", kind, typestore=types)
            writer.write(connection, START, b"\0\1\0\0\0\0\0\0")
        connection = writer.add_connection(
            "/json", "std_msgs/msg/String", typestore=types, serialization_format="json"
        )
        writer.write(connection, START, b"{}")
        connection = writer.add_connection(SAID, "std_msgs/msg/String", typestore=types)
        text = types.types["std_msgs/msg/String"]("cut 0")
        writer.write(connection, START, types.serialize_cdr(text, connection.msgtype))
    with open_recording(tmp_path / "two" / "two.mcap") as recording:
        assert list(recording.topics) == [SAID]
        assert any("/mixed was recorded with more than one type" in n for n in recording.notes)
        assert any("/json is encoded as json" in n for n in recording.notes)


def test_our_own_messages_of_another_version_are_known(tmp_path: Path) -> None:
    name = "actiseg_msgs/msg/GraspDecision"
    older = bags.store()
    older.register(get_types_from_msg("std_msgs/Header header\nbool go\n", name))
    for types, outdated in ((typestore(), False), (older, True)):
        path = tmp_path / f"bag{outdated}"
        with Writer(path, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
            connection = writer.add_connection("/segment/grasp", name, typestore=types)
            writer.write(connection, START, b"\0\1\0\0" + bytes(64))
        with open_recording(path) as recording:
            assert is_outdated(recording.topics["/segment/grasp"]) is outdated
